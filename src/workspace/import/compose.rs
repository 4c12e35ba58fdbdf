//! docker compose's files. Read leniently, with anchors; each service becomes a container.

mod depends;
mod environment;
mod from;
mod health;
mod limits;
mod ports;
mod service;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{self, Draft, Fields, Imported};
use super::names::{label, service_name};
use super::note::below;
use crate::base::yaml::{self, Entry, Node, Value};
use crate::workspace::check;
use crate::workspace::wrong::{Refusal, Wrong, quoted};
use from::From;
use service::Built;

/// As many as a manifest may have.
const SERVICES: usize = 64;
/// How far one service is made from another.
const EXTENDS: usize = 8;

/// `from` is how the file is called, `name` the workspace where the file has none.
pub fn compose(text: &str, from: &str, name: &str) -> Result<Imported, Wrong> {
    let root = yaml::parse_foreign(text.strip_prefix('\u{feff}').unwrap_or(text));
    let root = root.map_err(|error| {
        let fix = "docker compose config shows what docker makes of it";
        Refusal::new(error.why, fix).at(error.at, "")
    })?;
    let Value::Map(top) = &root.value else {
        return Err(Refusal::new("is no file of docker compose", "").at(root.at, ""));
    };
    let mut ctx = From::new(name);
    others(&mut ctx, top);
    let mut keys = Fields::default();
    keys.put("name", Draft::text(ctx.workspace.as_str()));
    let services = services(&mut ctx, &root)?;
    keys.put("services", services);
    Ok(draft::finish(from, keys, ctx.notes.told()))
}

fn others(ctx: &mut From, top: &[Entry]) {
    for Entry { key, node, .. } in top {
        match key.as_str() {
            "name" => {
                if let Some(name) = ctx.value(node, "name") {
                    ctx.workspace = label(&name);
                }
            }
            // The first says nothing any more, the second is read for its own sake.
            "version" | "services" => {}
            key if key.starts_with("x-") => {}
            "volumes" => volumes::definitions(ctx, node),
            "networks" => ctx.note(node, key, "networks are not carried over"),
            "secrets" | "configs" => {
                ctx.note(node, key, "put them into .env.local, or into a directory of data");
            }
            "include" => ctx.note(node, key, "other files are not read: run hop init for each"),
            key => ctx.note(node, key, "is not carried over"),
        }
    }
}

fn services(ctx: &mut From, root: &Node) -> Result<Draft, Wrong> {
    let none = |at| Refusal::new("has no services", "name a file of docker compose").at(at, "");
    let found = root.get("services").ok().flatten().ok_or_else(|| none(root.at))?;
    let Value::Map(entries) = &found.value else { return Err(none(found.at)) };
    if entries.len() > SERVICES {
        let why = format!("has more than {SERVICES} services");
        return Err(Refusal::new(why, "split the file").at(found.at, "services"));
    }
    let wanted: Vec<&Entry> = entries.iter().filter(|entry| is_wanted(ctx, entry)).collect();
    ctx.names = names(ctx, &wanted);
    let mut built: Vec<(String, Built)> = Vec::new();
    for entry in wanted {
        let path = below("services", &entry.key);
        let Some(name) = ctx.names.get(&entry.key).cloned() else { continue };
        let layers = layers(ctx, entries, &entry.node, &path, EXTENDS);
        if let Some(one) = service::service(ctx, &name, &layers, &path) {
            built.push((name, one));
        }
    }
    let known: BTreeMap<_, _> = built.iter().map(|(name, one)| (name.clone(), one.known)).collect();
    let mut all = Fields::default();
    for (name, one) in built {
        all.put(&name, one.finish(ctx, &known));
    }
    Ok(all.map())
}

fn is_wanted(ctx: &mut From, entry: &Entry) -> bool {
    let path = below("services", &entry.key);
    let profiles = entry.node.get("profiles").ok().flatten();
    match profiles.map(|node| (node, &node.value)) {
        // An empty name is that of what is started without one.
        Some((node, Value::List(list))) if list.iter().any(|name| name.text() == Ok("")) => {
            ctx.note(node, &below(&path, "profiles"), "not carried over: it is always started");
        }
        Some((node, Value::List(list))) if !list.is_empty() => {
            ctx.note(node, &path, "left out: it is started only with one of its profiles");
            return false;
        }
        Some((_, Value::List(_))) | None => {}
        Some((node, _)) => ctx.note(node, &below(&path, "profiles"), "should be a list"),
    }
    true
}

/// How each is called here; no two alike.
fn names(ctx: &mut From, wanted: &[&Entry]) -> BTreeMap<String, String> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut names = BTreeMap::new();
    for entry in wanted {
        let mut name = entry.key.clone();
        if check::service(&name).is_err() {
            name = service_name(&name);
        }
        let mut unique = name.clone();
        for number in 2..=SERVICES + 1 {
            if taken.insert(unique.clone()) {
                break;
            }
            unique = format!("{}-{number}", name.get(..60).unwrap_or(&name));
        }
        if unique != entry.key {
            let what = format!("is called {unique} here");
            ctx.note(&entry.node, &below("services", &entry.key), what);
        }
        names.insert(entry.key.clone(), unique);
    }
    names
}

/// What a service is made of: those that it extends come first.
fn layers<'n>(
    ctx: &mut From,
    all: &'n [Entry],
    own: &'n Node,
    path: &str,
    deeper: usize,
) -> Vec<&'n Node> {
    let mut layers = Vec::new();
    if let Some(extends) = own.get("extends").ok().flatten() {
        let path = below(path, "extends");
        let base = match &extends.value {
            Value::Map(_) => extends.get("service").ok().flatten(),
            _ => Some(extends),
        };
        let file = extends.get("file").ok().flatten();
        let name = base.and_then(|node| ctx.value(node, &path));
        let base = all.iter().find(|entry| Some(&entry.key) == name.as_ref());
        match (file, base, deeper.checked_sub(1)) {
            (Some(file), ..) => ctx.note(file, &path, "other files are not read"),
            (None, Some(base), Some(deeper)) => {
                layers = self::layers(ctx, all, &base.node, &below("services", &base.key), deeper);
            }
            (None, ..) => {
                let what = format!("cannot be followed to {}", quoted(&name.unwrap_or_default()));
                ctx.note(extends, &path, what);
            }
        }
    }
    layers.push(own);
    layers
}

#[cfg(test)]
mod tests;
