//! What a service may use, and when it is started again; both have an old and a new form.

use std::collections::BTreeMap;

use super::from::{From, all, last};
use crate::base::yaml::{Node, Value};
use crate::workspace::check;
use crate::workspace::import::draft::{Draft, Fields};
use crate::workspace::import::note::below;
use crate::workspace::wrong::{Refusal, quoted};

pub fn limits(ctx: &mut From, layers: &[&Node], path: &str) -> Draft {
    let mut found: BTreeMap<&str, Draft> = BTreeMap::new();
    let olds = [("mem_limit", "memory"), ("cpus", "cpu"), ("pids_limit", "pids")];
    for (old, key) in olds {
        if let Some(node) = last(layers, old) {
            limit(ctx, &mut found, key, node, &below(path, old));
        }
    }
    for deploy in all(layers, "deploy") {
        let path = below(path, "deploy");
        let Value::Map(entries) = &deploy.value else {
            ctx.note(deploy, &path, "left out: it should be a map");
            continue;
        };
        for entry in entries.iter().filter(|entry| entry.key != "restart_policy") {
            let path = below(&path, &entry.key);
            let given = entry.node.get("limits").ok().flatten();
            if entry.key != "resources" || given.is_none() {
                ctx.note(&entry.node, &path, "not carried over");
            } else if let Some(node) = entry.node.get("reservations").ok().flatten() {
                ctx.note(node, &below(&path, "reservations"), "not carried over");
            }
            let Some(Value::Map(limits)) = given.map(|node| &node.value) else { continue };
            for entry in limits {
                let path = below(&path, &entry.key);
                let key = if entry.key == "cpus" { "cpu" } else { entry.key.as_str() };
                match olds.iter().find(|(_, known)| *known == key) {
                    Some((_, key)) => limit(ctx, &mut found, key, &entry.node, &path),
                    None => ctx.note(&entry.node, &path, "not carried over"),
                }
            }
        }
    }
    let mut keys = Fields::default();
    for key in ["memory", "cpu", "pids"] {
        keys.opt(key, found.remove(key));
    }
    keys.map()
}

fn limit(
    ctx: &mut From,
    found: &mut BTreeMap<&str, Draft>,
    key: &'static str,
    node: &Node,
    path: &str,
) {
    let read = |text: &str| match key {
        "memory" => {
            let bytes = text.bytes().all(|byte| byte.is_ascii_digit());
            let text = if bytes { format!("{text}B") } else { text.to_owned() };
            check::memory(&text).map(|_| Draft::Text(text))
        }
        "cpu" => check::cpu(text).map(|_| Draft::Plain(text.to_owned())),
        _ => match text.parse::<u32>() {
            Ok(number) if number > 0 => Ok(Draft::Plain(number.to_string())),
            _ => Err(Refusal::new(format!("{} is no limit", quoted(text)), "")),
        },
    };
    if let Some(value) = ctx.meant(node, path, read) {
        found.insert(key, value);
    }
}

pub fn restart(ctx: &mut From, layers: &[&Node], path: &str) -> Option<&'static str> {
    let policy = last(layers, "deploy").and_then(|node| node.get("restart_policy").ok().flatten());
    let condition = policy.and_then(|node| node.get("condition").ok().flatten());
    let node = last(layers, "restart").or(condition)?;
    let text = ctx.value(node, &below(path, "restart"))?;
    let (word, count) = text.split_once(':').unwrap_or((&text, ""));
    if !count.is_empty() {
        ctx.note(node, &below(path, "restart"), "how often is not carried over");
    }
    match word {
        "no" | "false" | "none" => Some("never"),
        "always" | "unless-stopped" | "any" => Some("always"),
        "on-failure" => Some("on-failure"),
        _ => {
            ctx.note(node, &below(path, "restart"), "left out: it is not known");
            None
        }
    }
}
