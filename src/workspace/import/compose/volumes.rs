//! Volumes become directories of the server: those with a name below `~/WORKSPACE/volumes`,
//! relative ones below `~/WORKSPACE`.

use super::from::{From, all, word};
use crate::base::yaml::{Node, Value};
use crate::workspace::check;
use crate::workspace::import::draft::{Draft, Fields};
use crate::workspace::import::names::service_name;
use crate::workspace::import::note::below;

/// As many as a service may have.
const DATA: usize = 64;
/// The system's own: nothing to be kept, and nothing that a snapshot should hold.
const SYSTEM: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/var/run", "/etc/localtime"];

struct Mount<'a> {
    source: &'a str,
    target: &'a str,
    read_only: bool,
}

/// What the file says of volumes with a name.
pub fn definitions(ctx: &mut From, node: &Node) {
    let Value::Map(entries) = &node.value else { return };
    for entry in entries.iter().filter(|entry| !entry.node.is_null()) {
        let empty = matches!(&entry.node.value, Value::Map(map) if map.is_empty());
        if !empty {
            let path = below("volumes", &entry.key);
            ctx.note(&entry.node, &path, "not carried over: it is a plain directory here");
        }
    }
}

pub fn data(ctx: &mut From, layers: &[&Node], path: &str) -> Draft {
    let path = below(path, "volumes");
    let mut found: Vec<(String, Draft)> = Vec::new();
    for node in all(layers, "volumes") {
        let Value::List(list) = &node.value else {
            ctx.note(node, &path, "left out: it should be a list");
            continue;
        };
        for item in list {
            let one = match &item.value {
                Value::Map(_) => long(ctx, item, &path),
                _ => short(ctx, item, &path),
            };
            let Some((target, draft)) = one else { continue };
            // A later one takes the place of another.
            found.retain(|(known, _)| *known != target);
            match found.len() < DATA {
                true => found.push((target, draft)),
                false => ctx.note(item, &path, format!("left out: more than {DATA} volumes")),
            }
        }
    }
    Draft::List(found.into_iter().map(|(_, draft)| draft).collect())
}

/// `name:/x`, `./x:/y:ro`, `/x:/y`, `/y`
fn short(ctx: &mut From, item: &Node, path: &str) -> Option<(String, Draft)> {
    let text = value(ctx, item, path)?;
    let mut parts = text.split(':');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let options: Vec<&str> = parts.flat_map(|part| part.split(',')).collect();
    let Some(target) = second else {
        ctx.note(item, path, "left out: a volume without a name is the image's own business");
        return None;
    };
    // The rest changes nothing on Linux.
    for option in &options {
        if !["ro", "rw", "cached", "delegated", "consistent", ""].contains(option) {
            ctx.note(item, path, format!("{option:.20} is not carried over"));
        }
    }
    mount(ctx, item, path, &Mount { source: first, target, read_only: options.contains(&"ro") })
}

fn long(ctx: &mut From, item: &Node, path: &str) -> Option<(String, Draft)> {
    let get = |key: &str| item.get(key).ok().flatten();
    let kind = get("type").and_then(word).unwrap_or("volume");
    if !["bind", "volume"].contains(&kind) {
        ctx.note(item, path, format!("left out: {kind:.20} is not carried over"));
        return None;
    }
    if let Value::Map(entries) = &item.value {
        let known = ["type", "source", "target", "read_only"];
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            ctx.note(&entry.node, &below(path, &entry.key), "not carried over");
        }
    }
    let Some(source) = get("source") else {
        ctx.note(item, path, "left out: a volume without a name is the image's own business");
        return None;
    };
    let source = value(ctx, source, path)?;
    let target = ctx.value(get("target")?, path)?;
    let read_only = get("read_only").and_then(Node::boolean).unwrap_or(false);
    mount(ctx, item, path, &Mount { source: &source, target: &target, read_only })
}

/// The directory of the file is what `PWD` is for docker compose, as a rule.
fn value(ctx: &mut From, node: &Node, path: &str) -> Option<String> {
    let text = word(node).unwrap_or_default();
    let here = text.strip_prefix("${PWD}").or_else(|| text.strip_prefix("$PWD"));
    match here.filter(|rest| rest.is_empty() || rest.starts_with(['/', ':'])) {
        Some(rest) => {
            let text = Value::Scalar { text: format!(".{rest}"), plain: false };
            ctx.value(&Node { at: node.at, value: text }, path)
        }
        None => ctx.value(node, path),
    }
}

fn mount(ctx: &mut From, item: &Node, path: &str, mount: &Mount<'_>) -> Option<(String, Draft)> {
    let Mount { source, target, read_only } = mount;
    let below_system = |dir: &&str| {
        source.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if SYSTEM.iter().any(below_system) || source.ends_with(".sock") {
        ctx.note(item, path, "left out: it is the system's own");
        return None;
    }
    let host = match directory(&ctx.workspace, ctx.dir(item), source) {
        Some((host, what)) => {
            if let Some(what) = what {
                ctx.note(item, path, what);
            }
            host
        }
        None => {
            ctx.note(item, path, "left out: no directory of the server can be named for it");
            return None;
        }
    };
    let target = match check::container_path(target) {
        Ok(target) => target,
        Err(refusal) => {
            ctx.note(item, path, format!("left out: {}", refusal.why));
            return None;
        }
    };
    let mut keys = Fields::default();
    keys.put("host", Draft::text(host));
    keys.put("container", Draft::text(target.as_str()));
    if *read_only {
        keys.put("read_only", Draft::Plain("true".to_owned()));
    }
    Some((target, keys.map()))
}

/// Where it is on the server, and what is to be said of that.
fn directory(workspace: &str, dir: &str, source: &str) -> Option<(String, Option<String>)> {
    if source.starts_with(['/', '~']) {
        return Some((check::server_path(source).ok()?, None));
    }
    if source == "." || source.starts_with("./") || source.starts_with("../") || source == ".." {
        let mut parts: Vec<&str> = vec![workspace];
        for part in dir.split('/').chain(source.split('/')) {
            match part {
                "" | "." => {}
                // Not above the home directory.
                ".." => drop(parts.pop()?),
                part => parts.push(part),
            }
        }
        let host = check::server_path(&format!("~/{}", parts.join("/"))).ok()?;
        let what = format!("is {host} on the server: bring the files there");
        return Some((host, Some(what)));
    }
    let host =
        check::server_path(&format!("~/{workspace}/volumes/{}", service_name(source))).ok()?;
    let what = format!("is the directory {host} on the server");
    Some((host, Some(what)))
}
