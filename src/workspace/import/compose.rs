//! docker compose's files. Read leniently, with anchors; each service becomes a container.

mod depends;
mod dotenv;
mod environment;
mod files;
mod from;
mod given;
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
use files::Files;
pub use files::Named;
use from::From;
use given::Read;
use service::Built;

/// As many as a manifest may have.
const SERVICES: usize = 64;
/// How far one service is made from another.
const EXTENDS: usize = 8;

/// `name` is the workspace where no file has one.
pub fn compose(named: &[Named], name: &str, read: Read) -> Result<Imported, Wrong> {
    let mut files = Files::of(named, read)?;
    let mut ctx = From::new(name, files.dirs(), files.given());
    std::mem::take(&mut files.notes).into_iter().for_each(|note| ctx.notes.push(note));
    let files::Visit { order, wrong, .. } = files.in_order();
    for (root, is_named) in &order {
        others(&mut ctx, root, *is_named);
    }
    for (node, why) in wrong {
        ctx.note(node, "include", format!("left out: {why}"));
    }
    set_by_variables(&mut ctx);
    let mut keys = Fields::default();
    keys.put("name", Draft::text(ctx.workspace.as_str()));
    let services = services(&mut ctx, &files, order.iter().map(|(root, _)| *root).collect())?;
    keys.put("services", services);
    let from: Vec<&str> = named.iter().map(|named| named.path.as_str()).collect();
    Ok(draft::finish(&from.join(", "), keys, ctx.notes.told(&files.names(named))))
}

/// What docker compose itself is told in `.env`.
fn set_by_variables(ctx: &mut From) {
    let Some(given) = ctx.root_given() else { return };
    for (name, value) in given.values.iter().filter(|(name, _)| name.starts_with("COMPOSE_")) {
        match name {
            "COMPOSE_PROJECT_NAME" => ctx.workspace = label(value),
            "COMPOSE_PROFILES" => ctx.profiles = value.split(',').map(str::to_owned).collect(),
            "COMPOSE_FILE" => {
                ctx.notes.push(given::note(name, "not read: name its files with --from-compose"));
            }
            _ => ctx.notes.push(given::note(name, "not carried over")),
        }
    }
}

fn others(ctx: &mut From, root: &Node, is_named: bool) {
    let Value::Map(top) = &root.value else { return };
    for Entry { key, node, .. } in top {
        match key.as_str() {
            "name" if is_named => {
                if let Some(name) = ctx.value(node, "name") {
                    ctx.workspace = label(&name);
                }
            }
            // What says nothing, or is read for its own sake.
            "name" | "version" | "services" => {}
            key if key.starts_with("x-") => {}
            "volumes" => volumes::definitions(ctx, node),
            "networks" => ctx.note(node, key, "networks are not carried over"),
            "secrets" | "configs" => {
                ctx.note(node, key, "put them into .env.local, or into a directory of data");
            }
            "include" => include(ctx, node),
            key => ctx.note(node, key, "is not carried over"),
        }
    }
}

/// What is said of a file beside its path.
fn include(ctx: &mut From, node: &Node) {
    let Value::List(items) = &node.value else {
        return ctx.note(node, "include", "left out: it should be a list");
    };
    for item in items {
        let Value::Map(keys) = &item.value else { continue };
        for Entry { key, node, .. } in keys.iter().filter(|entry| entry.key != "path") {
            ctx.note(node, &below("include", key), "not carried over");
        }
    }
}

/// A service, and what each file that has it says of it.
struct Found<'n> {
    key: &'n str,
    nodes: Vec<&'n Node>,
}

fn services(ctx: &mut From, files: &Files, order: Vec<&Node>) -> Result<Draft, Wrong> {
    let none = |at| Refusal::new("has no services", "name a file of docker compose").at(at, "");
    let mut all: Vec<Found> = Vec::new();
    for entry in order.iter().flat_map(|root| files::services(root)) {
        match all.iter_mut().find(|found| found.key == entry.key) {
            Some(found) => found.nodes.push(&entry.node),
            None => all.push(Found { key: &entry.key, nodes: vec![&entry.node] }),
        }
        if all.len() > SERVICES {
            let why = format!("has more than {SERVICES} services");
            return Err(Refusal::new(why, "split the file").at(entry.at, "services"));
        }
    }
    if all.is_empty() {
        return Err(none(order.last().map_or(yaml::START, |root| root.at)));
    }
    let wanted: Vec<&Found> = all.iter().filter(|found| is_wanted(ctx, found)).collect();
    ctx.names = names(ctx, &wanted);
    let mut built: Vec<(String, Built)> = Vec::new();
    for found in wanted {
        let path = below("services", found.key);
        let Some(name) = ctx.names.get(found.key).cloned() else { continue };
        let mut layers = Vec::new();
        for node in &found.nodes {
            layers.extend(self::layers(ctx, files, &all, node, &path, EXTENDS));
        }
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

fn is_wanted(ctx: &mut From, found: &Found) -> bool {
    let path = below("services", found.key);
    let profiles = from::last(&found.nodes, "profiles");
    match profiles.map(|node| (node, &node.value)) {
        // An empty name is that of what is started without one.
        Some((node, Value::List(list))) if list.iter().any(|name| name.text() == Ok("")) => {
            ctx.note(node, &below(&path, "profiles"), "not carried over: it is always started");
        }
        Some((_, Value::List(list))) if list.iter().any(|name| ctx.is_active(name)) => {}
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
fn names(ctx: &mut From, wanted: &[&Found]) -> BTreeMap<String, String> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut names = BTreeMap::new();
    for found in wanted {
        let mut name = found.key.to_owned();
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
        if let (true, Some(node)) = (unique != found.key, found.nodes.last()) {
            let what = format!("is called {unique} here");
            ctx.note(node, &below("services", found.key), what);
        }
        names.insert(found.key.to_owned(), unique);
    }
    names
}

/// What a service is made of: those that it extends come first.
fn layers<'n>(
    ctx: &mut From,
    files: &'n Files,
    all: &[Found<'n>],
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
        let name = base.and_then(|node| ctx.value(node, &path)).unwrap_or_default();
        let elsewhere = || all.iter().find(|found| found.key == name)?.nodes.last().copied();
        let base = match files.service(extends, file, &name) {
            Ok(None) if file.is_none() => Ok(elsewhere()),
            found => found,
        };
        match (base, deeper.checked_sub(1)) {
            (Ok(Some(base)), Some(deeper)) => {
                let path = below("services", &name);
                layers = self::layers(ctx, files, all, base, &path, deeper);
            }
            (Err(why), _) => ctx.note(extends, &path, format!("left out: {why}")),
            _ => ctx.note(extends, &path, format!("cannot be followed to {}", quoted(&name))),
        }
    }
    layers.push(own);
    layers
}

#[cfg(test)]
mod tests;
