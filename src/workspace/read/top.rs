//! The whole of a manifest, and of what a server is sent: the same keys, but for the laptop's own.

use std::collections::{BTreeMap, BTreeSet};

use super::keys;
use super::reader::{At, Map, Reader};
use super::service::{self, SERVICES, env};
use crate::base::yaml::{self, NOWHERE, Node, Value};
use crate::workspace::manifest::{
    Backup, Bridge, Bridges, Condition, Desired, Editor, Hooks, Keep, Manifest, Schedule, Service,
};
use crate::workspace::wrong::{Refusal, Wrong};
use crate::workspace::{check, verify};

const SCRIPTS: usize = 256;
const EXTENSIONS: usize = 256;
const BRIDGES: usize = 16;
const KEPT: std::ops::RangeInclusive<u32> = 1..=100_000;

pub const BRIDGE_TYPES: [(&str, Bridge); 4] = [
    ("clipboard", Bridge::Clipboard),
    ("xdg-open", Bridge::XdgOpen),
    ("notifications", Bridge::Notifications),
    ("cdp", Bridge::Cdp),
];
pub const SCHEDULES: [(&str, Schedule); 3] =
    [("hourly", Schedule::Hourly), ("daily", Schedule::Daily), ("weekly", Schedule::Weekly)];

/// Reads a `hopbox.yaml`. All that is wrong is told, as far as the text can be read at all.
pub fn manifest(text: &str) -> Result<Manifest, Vec<Wrong>> {
    whole(text, Reader::default())
}

/// The same for what the laptop keeps to itself: which host, which editor. That needs no name yet.
pub fn local(text: &str) -> Result<(Option<String>, Editor), Vec<Wrong>> {
    let reader = Reader { needs_name: false, ..Reader::default() };
    whole(text, reader).map(|manifest| (manifest.host, manifest.editor))
}

fn whole(text: &str, mut reader: Reader) -> Result<Manifest, Vec<Wrong>> {
    let (root, wrong) = yaml::read(text.strip_prefix('\u{feff}').unwrap_or(text));
    wrong.into_iter().for_each(|wrong| reader.refuse_text(wrong));
    let Some(root) = root else { return reader.finish(None) };
    let at = At { node: &root, path: String::new() };
    let Some(map) = reader.map(&at, keys::MANIFEST) else { return reader.finish(None) };
    let host = map.get("host").and_then(|at| name(&mut reader, &at, check::host));
    let editor = map.get("editor").map(|at| editor(&mut reader, &at)).unwrap_or_default();
    let desired = common(&mut reader, &map);
    reader.finish(desired.map(|desired| Manifest { host, editor, desired }))
}

/// Reads what a server was sent, as strictly.
pub fn desired(json: &serde_json::Value) -> Result<Desired, Vec<Wrong>> {
    let mut reader = Reader::default();
    let nothing = Node { at: NOWHERE, value: Value::List(Vec::new()) };
    let root = yaml::of_json(json).unwrap_or(nothing);
    let at = At { node: &root, path: String::new() };
    let Some(map) = reader.map(&at, keys::DESIRED) else { return reader.finish(None) };
    let desired = common(&mut reader, &map);
    reader.finish(desired)
}

fn common(reader: &mut Reader, map: &Map<'_>) -> Option<Desired> {
    let workspace = match reader.needs_name {
        true => reader.need(map, "name", "write what the workspace is called: name: my-app"),
        false => map.get("name"),
    };
    let workspace = workspace.and_then(|at| name(reader, &at, check::name));
    let services = map.get("services").map(|at| services(reader, &at)).unwrap_or_default();
    let (auto_ports, sandboxed_ports) =
        map.get("ports").map_or((true, true), |at| ports(reader, &at));
    let desired = Desired {
        env: map.get("env").map(|at| env(reader, &at)).unwrap_or_default(),
        bridges: map.get("bridges").map(|at| bridges(reader, &at)).unwrap_or_default(),
        scripts: map.get("scripts").map(|at| scripts(reader, &at)).unwrap_or_default(),
        hooks: map.get("hooks").map(|at| hooks(reader, &at)).unwrap_or_default(),
        backup: map.get("backup").and_then(|at| backup(reader, &at)),
        auto_ports,
        sandboxed_ports,
        // What is missing was told.
        workspace: workspace.unwrap_or_default(),
        services,
    };
    reader.is_clean().then_some(desired)
}

fn name(
    reader: &mut Reader,
    at: &At<'_>,
    check: impl Fn(&str) -> Result<(), Refusal>,
) -> Option<String> {
    reader.meant(at, |text| check(text).map(|()| text.to_owned()))
}

fn services(reader: &mut Reader, at: &At<'_>) -> BTreeMap<String, Service> {
    let mut all = BTreeMap::new();
    let mut broken = BTreeSet::new();
    let mut by_list = BTreeSet::new();
    for (name, at) in reader.named(at, SERVICES, check::service) {
        if lists_what_it_needs(&at) {
            by_list.insert(name.to_owned());
        }
        match service::service(reader, &at) {
            Some(service) => drop(all.insert(name.to_owned(), service)),
            None => drop(broken.insert(name.to_owned())),
        }
    }
    // Who is only listed is waited for as far as can be.
    let checked: BTreeSet<String> =
        all.iter().filter(|(_, s)| s.health.is_some()).map(|(name, _)| name.clone()).collect();
    for (_, service) in all.iter_mut().filter(|(name, _)| by_list.contains(*name)) {
        for (_, wanted) in service.depends_on.iter_mut().filter(|(on, _)| checked.contains(*on)) {
            *wanted = Condition::Healthy;
        }
    }
    for (path, refusal) in verify::services(&at.path, &all, &broken) {
        reader.refuse_path(&path, refusal);
    }
    all
}

fn lists_what_it_needs(at: &At<'_>) -> bool {
    let needs = at.node.get("depends_on").ok().flatten();
    needs.is_some_and(|node| matches!(node.value, Value::List(_)))
}

fn bridges(reader: &mut Reader, at: &At<'_>) -> Bridges {
    let mut all = Bridges::new();
    for at in reader.list(at, BRIDGES) {
        let Some(map) = reader.map(&at, keys::BRIDGE) else { continue };
        let Some(kind) = reader.need(&map, "type", "write which, such as clipboard") else {
            continue;
        };
        if let Some(bridge) = reader.one_of(&kind, &BRIDGE_TYPES) {
            if !all.insert(bridge) {
                reader.refuse(&at, Refusal::new("occurs twice", "remove one of them"));
            }
        }
    }
    all
}

fn scripts(reader: &mut Reader, at: &At<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, at) in reader.named(at, SCRIPTS, check::script) {
        if let Some(text) = reader.meant(&at, check::shell) {
            all.insert(name.to_owned(), text);
        }
    }
    all
}

fn hooks(reader: &mut Reader, at: &At<'_>) -> Hooks {
    let Some(map) = reader.map(at, keys::HOOKS) else { return Hooks::default() };
    let mut hook = |key| map.get(key).and_then(|at| reader.meant(&at, check::shell));
    Hooks { setup: hook("setup"), start: hook("start") }
}

fn backup(reader: &mut Reader, at: &At<'_>) -> Option<Backup> {
    let map = reader.map(at, keys::BACKUP)?;
    let backend = reader.need(&map, "backend", "write restic");
    let backend = backend.and_then(|at| reader.one_of(&at, &[("restic", ())]));
    let target = reader.need(&map, "target", "write where: a path on the server, or s3:…");
    let target = target.and_then(|at| reader.meant(&at, check::backup_target));
    let fix = "name the variable of .env.local that holds the password";
    let password_env = reader.need(&map, "password_env", fix);
    let password_env = password_env.and_then(|at| name(reader, &at, check::env_key));
    let schedule = map.get("schedule").and_then(|at| reader.one_of(&at, &SCHEDULES));
    let keep = map.get("keep").map(|at| keep(reader, &at)).unwrap_or_default();
    backend?;
    Some(Backup { target: target?, password_env: password_env?, schedule, keep })
}

fn keep(reader: &mut Reader, at: &At<'_>) -> Keep {
    let Some(map) = reader.map(at, keys::KEEP) else { return Keep::default() };
    let mut kept = |key| map.get(key).and_then(|at| reader.number(&at, KEPT));
    Keep {
        last: kept("last"),
        hourly: kept("hourly"),
        daily: kept("daily"),
        weekly: kept("weekly"),
        monthly: kept("monthly"),
        yearly: kept("yearly"),
    }
}

fn editor(reader: &mut Reader, at: &At<'_>) -> Editor {
    let Some(map) = reader.map(at, keys::EDITOR) else { return Editor::default() };
    let mut extensions = Vec::new();
    if let Some(at) = map.get("extensions") {
        for at in reader.list(&at, EXTENSIONS) {
            extensions.extend(reader.meant(&at, check::extension));
        }
    }
    let kind = map.get("type").and_then(|at| reader.meant(&at, check::line));
    let path = map.get("path").and_then(|at| reader.meant(&at, check::line));
    Editor { kind, path, extensions }
}

/// Whether they appear by themselves, and whether those in sandboxes do.
fn ports(reader: &mut Reader, at: &At<'_>) -> (bool, bool) {
    let Some(map) = reader.map(at, keys::PORTS) else { return (true, true) };
    let mut is_on = |key| map.get(key).and_then(|at| reader.boolean(&at)).unwrap_or(true);
    (is_on("auto"), is_on("sandboxes"))
}
