//! Health checks. They run inside of the container, here as there.

use std::time::Duration;

use super::from::From;
use crate::base::yaml::{Node, Value};
use crate::workspace::check;
use crate::workspace::import::draft::{Draft, Fields};
use crate::workspace::import::note::below;

/// Until the first success, where a manifest says nothing.
const USUAL: Duration = Duration::from_secs(60);

pub fn health(ctx: &mut From, node: &Node, path: &str) -> Option<Draft> {
    let get = |key: &str| node.get(key).ok().flatten();
    if get("disable").and_then(Node::boolean) == Some(true) {
        return None;
    }
    let Some(test) = get("test") else {
        ctx.note(node, path, "left out: the image's own check is not known here");
        return None;
    };
    let mut keys = Fields::default();
    keys.put("exec", exec(ctx, test, &below(path, "test"))?);
    let known = ["test", "interval", "retries", "start_period", "start_interval", "disable"];
    if let Value::Map(entries) = &node.value {
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let what = match entry.key.as_str() {
                "timeout" => {
                    "not carried over: it is of one check; here it is until the first success"
                }
                _ => "not carried over",
            };
            ctx.note(&entry.node, &below(path, &entry.key), what);
        }
    }
    let mut time = |key: &str| {
        let node = get(key)?;
        let read = |text: &str| check::duration(text).map(|time| (time, text.to_owned()));
        ctx.meant(node, &below(path, key), read)
    };
    let (first, steady, start) = (time("start_interval"), time("interval"), time("start_period"));
    keys.opt("interval", first.map(|(_, text)| Draft::Text(text)));
    let interval = steady.as_ref().map_or(Duration::from_secs(30), |(time, _)| *time);
    keys.opt("steady_interval", steady.map(|(_, text)| Draft::Text(text)));
    let mut tries = 3;
    if let Some(node) = get("retries") {
        let path = below(path, "retries");
        if let Some(text) = ctx.value(node, &path) {
            match text.parse::<u32>() {
                Ok(number) if (1..=100).contains(&number) => {
                    tries = number;
                    keys.put("retries", Draft::Plain(number.to_string()));
                }
                _ => ctx.note(node, &path, "left out: it is no number from 1 to 100"),
            }
        }
    }
    // There it has that long, and so many tries more.
    let most = start.map_or(Duration::ZERO, |(time, _)| time) + interval * tries;
    if most > USUAL {
        let most = most.as_secs().min(86_400);
        keys.put("timeout", Draft::Text(format!("{most}s")));
    }
    Some(keys.map())
}

fn exec(ctx: &mut From, test: &Node, path: &str) -> Option<Draft> {
    let Value::List(list) = &test.value else {
        return ctx.meant(test, path, check::shell).map(Draft::Text);
    };
    let mut words = Vec::new();
    for item in list {
        words.push(ctx.meant(item, path, check::word)?);
    }
    let (kind, rest) = words.split_first()?;
    match (kind.as_str(), rest) {
        // What the image has is turned off.
        ("NONE", _) => None,
        ("CMD-SHELL", [line]) if !line.trim().is_empty() => Some(Draft::text(line.as_str())),
        ("CMD", [program, ..]) if !program.is_empty() => Some(Draft::texts(rest)),
        _ => {
            ctx.note(test, path, "left out: it begins with neither CMD nor CMD-SHELL");
            None
        }
    }
}
