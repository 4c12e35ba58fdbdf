//! One service of a file of docker compose.

use std::collections::BTreeMap;

use super::from::{From, last};
use super::{depends, environment, health, limits, ports, volumes};
use crate::base::yaml::{Node, Value};
use crate::workspace::check;
use crate::workspace::import::draft::{Draft, Fields};
use crate::workspace::import::note::below;
use crate::workspace::manifest::Condition;
use crate::workspace::words::{self, WORDS};
use crate::workspace::wrong::quoted;

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
    pub known: Known,
    depends_on: Vec<(String, Condition, Node, String)>,
}

/// What matters to those that depend on it.
#[derive(Clone, Copy)]
pub struct Known {
    has_check: bool,
    has_ports: bool,
    is_restarted: bool,
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
    keys.put("env", environment::environment(ctx, layers, path));
    let published = ports::ports(ctx, layers, path);
    let has_ports = !published.is_empty();
    keys.put("ports", Draft::texts(published));
    keys.put("data", volumes::data(ctx, layers, path));
    let health = last(layers, "healthcheck");
    let health = health.and_then(|node| health::health(ctx, node, &below(path, "healthcheck")));
    let has_check = health.is_some();
    keys.opt("health", health);
    keys.put("limits", limits::limits(ctx, layers, path));
    let restart = limits::restart(ctx, layers, path);
    keys.opt("restart", restart.map(Draft::text));
    if let Some(node) = last(layers, "stop_grace_period") {
        let path = below(path, "stop_grace_period");
        let time = ctx.meant(node, &path, |text| check::duration(text).map(|_| text.to_owned()));
        keys.opt("stop_timeout", time.map(Draft::text));
    }
    let depends_on = depends::depends(ctx, layers, path);
    let known = Known { has_check, has_ports, is_restarted: restart == Some("always") };
    Some(Built { keys, known, depends_on })
}

impl Built {
    /// With whom it waits for, as far as those are there.
    pub fn finish(mut self, ctx: &mut From, known: &BTreeMap<String, Known>) -> Draft {
        let mut all = Fields::default();
        for (on, wanted, node, path) in self.depends_on {
            let name = ctx.names.get(&on).cloned().unwrap_or_default();
            let Some(of) = known.get(&name) else {
                ctx.note(&node, &path, format!("left out: {} is not there", quoted(&on)));
                continue;
            };
            if wanted != Condition::Completed && !of.has_ports {
                let what =
                    format!("{name} is reached by others only at ports of its own: it has none");
                ctx.note(&node, &path, what);
            }
            let word = match wanted {
                Condition::Healthy if !of.has_check => {
                    let what = format!("waits until {name} is started: it has no check");
                    ctx.note(&node, &path, what);
                    "started"
                }
                Condition::Completed if of.is_restarted => {
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
