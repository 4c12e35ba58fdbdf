//! One service of a file of docker compose.

use std::collections::BTreeMap;

use super::from::{From, all, last, word};
use super::{health, ports, volumes};
use crate::base::yaml::{Node, Value};
use crate::workspace::check;
use crate::workspace::env::VARIABLES;
use crate::workspace::import::draft::{Draft, Fields};
use crate::workspace::import::note::below;
use crate::workspace::import::variables;
use crate::workspace::manifest::Condition;
use crate::workspace::words::{self, WORDS};
use crate::workspace::wrong::{Refusal, quoted};

/// What has its own place here.
const READ: &[&str] = &[
    "image",
    "command",
    "entrypoint",
    "working_dir",
    "user",
    "environment",
    "ports",
    "volumes",
    "healthcheck",
    "deploy",
    "mem_limit",
    "cpus",
    "pids_limit",
    "depends_on",
    "restart",
    "stop_grace_period",
    "extends",
    "profiles",
    "build",
    "env_file",
];
/// What has none, and what can be done about it.
const UNREAD: &[(&str, &str)] = &[
    ("networks", "networks are not carried over"),
    ("container_name", "not carried over: containers are named by workspace and service"),
    ("labels", "labels are not carried over"),
    ("logging", "not carried over: hop logs keeps and rotates what it writes"),
    ("expose", "not carried over: list it in ports where it is to be reached"),
    ("secrets", "not carried over: put them into .env.local, or a directory of data"),
    ("configs", "not carried over: put them into a directory of data"),
    ("tmpfs", "not carried over"),
    ("hostname", "not carried over"),
    ("pull_policy", "not carried over"),
];

pub struct Built {
    keys: Fields,
    pub is_checked: bool,
    pub is_restarted: bool,
    depends_on: Vec<(String, Condition, Node, String)>,
}

pub fn service(ctx: &mut From, name: &str, layers: &[&Node], path: &str) -> Option<Built> {
    if let Some(odd) = layers.iter().find(|layer| !matches!(layer.value, Value::Map(_))) {
        ctx.note(odd, path, "left out: it should be a map");
        return None;
    }
    unread(ctx, layers, path);
    let mut keys = Fields::default();
    keys.put("type", Draft::text("container"));
    keys.put("image", image(ctx, name, layers, path));
    for key in ["command", "entrypoint"] {
        if let Some(node) = last(layers, key) {
            keys.opt(key, command(ctx, node, &below(path, key)));
        }
    }
    if let Some(node) = last(layers, "working_dir") {
        let dir = ctx.meant(node, &below(path, "working_dir"), check::container_path);
        keys.opt("workdir", dir.map(Draft::text));
    }
    if let Some(node) = last(layers, "user") {
        keys.opt("user", ctx.meant(node, &below(path, "user"), check::user).map(Draft::text));
    }
    keys.put("env", environment(ctx, layers, path));
    keys.put("ports", ports::ports(ctx, layers, path));
    keys.put("data", volumes::data(ctx, layers, path));
    let health = last(layers, "healthcheck");
    let health = health.and_then(|node| health::health(ctx, node, &below(path, "healthcheck")));
    let is_checked = health.is_some();
    keys.opt("health", health);
    keys.put("limits", limits(ctx, layers, path));
    let restart = restart(ctx, layers, path);
    keys.opt("restart", restart.map(Draft::text));
    if let Some(node) = last(layers, "stop_grace_period") {
        let path = below(path, "stop_grace_period");
        let time = ctx.meant(node, &path, |text| check::duration(text).map(|_| text.to_owned()));
        keys.opt("stop_timeout", time.map(Draft::text));
    }
    let depends_on = depends(ctx, layers, path);
    Some(Built { keys, is_checked, is_restarted: restart == Some("always"), depends_on })
}

impl Built {
    /// With whom it waits for, as far as those are there: each with a check and always restarted?
    pub fn finish(mut self, ctx: &mut From, known: &BTreeMap<String, (bool, bool)>) -> Draft {
        let mut all = Fields::default();
        for (on, wanted, node, path) in self.depends_on {
            let name = ctx.names.get(&on).cloned().unwrap_or_default();
            let Some((is_checked, is_restarted)) = known.get(&name) else {
                ctx.note(&node, &path, format!("left out: {} is not there", quoted(&on)));
                continue;
            };
            let word = match wanted {
                Condition::Healthy if !is_checked => {
                    ctx.note(
                        &node,
                        &path,
                        format!("waits until {name} is started: it has no check"),
                    );
                    "started"
                }
                Condition::Completed if *is_restarted => {
                    let what = format!("waits until {name} is started: it is always restarted");
                    ctx.note(&node, &path, what);
                    "started"
                }
                Condition::Started => "started",
                Condition::Healthy => "healthy",
                Condition::Completed => "completed",
            };
            all.put(&name, Draft::text(word));
        }
        self.keys.put("depends_on", all.map());
        self.keys.map()
    }
}

fn unread(ctx: &mut From, layers: &[&Node], path: &str) {
    for layer in layers {
        let Value::Map(entries) = &layer.value else { continue };
        for entry in entries {
            let key = entry.key.as_str();
            if READ.contains(&key) || key.starts_with("x-") || entry.node.is_null() {
                continue;
            }
            let known = UNREAD.iter().find(|(known, _)| *known == key);
            let what = known.map_or("not carried over", |(_, what)| what);
            ctx.note(&entry.node, &below(path, key), what);
        }
    }
    for (key, what) in
        [("env_file", "not read: every service sees .env and .env.local beside hopbox.yaml")]
    {
        if let Some(node) = last(layers, key) {
            ctx.note(node, &below(path, key), what);
        }
    }
}

fn image(ctx: &mut From, name: &str, layers: &[&Node], path: &str) -> Draft {
    let build = last(layers, "build");
    let own = format!("localhost/{}-{name}", ctx.workspace);
    if let Some(node) = last(layers, "image") {
        if let Some(image) = ctx.meant(node, &below(path, "image"), check::image) {
            if let Some(build) = build {
                let what = format!("not carried over: let hooks.setup build {image}");
                ctx.note(build, &below(path, "build"), what);
            }
            return Draft::text(image);
        }
    }
    let node = build.or_else(|| layers.last().copied());
    if let Some(node) = node {
        let what = format!("let hooks.setup build the image {own}, or name another one");
        ctx.note(node, &below(path, if build.is_some() { "build" } else { "image" }), what);
    }
    Draft::text(own)
}

/// A text is split as docker compose does; a list is one already.
pub fn command(ctx: &mut From, node: &Node, path: &str) -> Option<Draft> {
    let Value::List(list) = &node.value else {
        let split = |text: &str| {
            if text.trim().is_empty() { Ok(Vec::new()) } else { words::split(text) }
        };
        return ctx.meant(node, path, split).map(Draft::texts);
    };
    let mut words = Vec::new();
    for item in list {
        words.push(ctx.meant(item, path, check::word)?);
    }
    if words.len() > WORDS {
        ctx.note(node, path, format!("left out: more than {WORDS} words"));
        return None;
    }
    match words.first() {
        Some(first) if first.is_empty() => {
            ctx.note(node, path, "left out: it names no program");
            None
        }
        _ => Some(Draft::texts(words)),
    }
}

fn environment(ctx: &mut From, layers: &[&Node], path: &str) -> Draft {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let path = below(path, "environment");
    for node in all(layers, "environment") {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    variable(ctx, &mut values, &entry.key, word(&entry.node), &entry.node, &path);
                }
            }
            Value::List(list) => {
                for item in list {
                    let Some(text) = word(item) else {
                        ctx.note(item, &path, "left out: it should be NAME=value");
                        continue;
                    };
                    match text.split_once('=') {
                        Some((key, value)) => {
                            variable(ctx, &mut values, key, Some(value), item, &path);
                        }
                        None => variable(ctx, &mut values, text, None, item, &path),
                    }
                }
            }
            _ => ctx.note(node, &path, "left out: it should be a map"),
        }
    }
    let mut keys = Fields::default();
    values.into_iter().for_each(|(key, value)| keys.put(&key, Draft::Text(value)));
    keys.map()
}

/// Values of variables stay in `.env`: a manifest is for everybody's eyes.
fn variable(
    ctx: &mut From,
    values: &mut BTreeMap<String, String>,
    key: &str,
    text: Option<&str>,
    node: &Node,
    path: &str,
) {
    let path = below(path, key);
    if let Err(refusal) = check::env_key(key) {
        return ctx.note(node, &path, format!("left out: {}", refusal.why));
    }
    if matches!(node.value, Value::List(_) | Value::Map(_)) {
        return ctx.note(node, &path, "left out: it should be a text");
    }
    let Some(text) = text else {
        values.remove(key);
        return ctx.note(node, &path, "comes from .env or .env.local, where it is set");
    };
    if values.len() >= VARIABLES && !values.contains_key(key) {
        return ctx.note(node, &path, format!("left out: more than {VARIABLES} variables"));
    }
    let Some(replaced) = ctx.replaced(node, &path, text) else { return };
    if !replaced.missing.is_empty() {
        values.remove(key);
        let what = match variables::alone(text) == Some(key) {
            true => "comes from .env or .env.local, where it is set".to_owned(),
            false => {
                format!("left out: set it in .env.local (it needs {})", replaced.missing.join(", "))
            }
        };
        return ctx.note(node, &path, what);
    }
    match check::env_value(&replaced.text) {
        Ok(value) => drop(values.insert(key.to_owned(), value)),
        Err(refusal) => ctx.note(node, &path, format!("left out: {}", refusal.why)),
    }
}

fn limits(ctx: &mut From, layers: &[&Node], path: &str) -> Draft {
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

fn restart(ctx: &mut From, layers: &[&Node], path: &str) -> Option<&'static str> {
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

fn depends(ctx: &mut From, layers: &[&Node], path: &str) -> Vec<(String, Condition, Node, String)> {
    let path = below(path, "depends_on");
    let mut all_on: BTreeMap<String, (Condition, Node)> = BTreeMap::new();
    for node in all(layers, "depends_on") {
        let mut found = Vec::new();
        match &node.value {
            Value::List(list) => {
                for item in list {
                    match word(item) {
                        Some(name) => found.push((name.to_owned(), Condition::Started, item)),
                        None => ctx.note(item, &path, "left out: it should be a name"),
                    }
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let condition = condition(ctx, &entry.node, &below(&path, &entry.key));
                    found.push((entry.key.clone(), condition, &entry.node));
                }
            }
            _ => ctx.note(node, &path, "left out: it should be a list"),
        }
        for (on, condition, node) in found {
            all_on.insert(on, (condition, node.clone()));
        }
    }
    let told = |(on, (condition, node)): (String, (Condition, Node))| {
        let path = below(&path, &on);
        (on, condition, node, path)
    };
    all_on.into_iter().map(told).collect()
}

fn condition(ctx: &mut From, node: &Node, path: &str) -> Condition {
    if let Value::Map(entries) = &node.value {
        for entry in entries.iter().filter(|entry| entry.key != "condition") {
            ctx.note(&entry.node, &below(path, &entry.key), "not carried over");
        }
    }
    let Some(wanted) = node.get("condition").ok().flatten() else { return Condition::Started };
    match word(wanted) {
        Some("service_started") => Condition::Started,
        Some("service_healthy") => Condition::Healthy,
        Some("service_completed_successfully") => Condition::Completed,
        _ => {
            ctx.note(wanted, path, "waits until it is started: the condition is not known");
            Condition::Started
        }
    }
}
