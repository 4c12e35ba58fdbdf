//! One service.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys;
use super::reader::{At, Map, Reader, below};
use crate::base::yaml::Value;
use crate::workspace::check;
use crate::workspace::env::{Env, VARIABLES};
use crate::workspace::manifest::{
    Command, Condition, Container, Data, Health, Kind, Limits, Mount, Mounted, Port, Probe,
    Restart, Service, Snapshot,
};
use crate::workspace::words::{self, WORDS};
use crate::workspace::wrong::Refusal;

const PORTS: usize = 64;
const DATA: usize = 64;
const DOMAINS: usize = 8;
/// What hop-helper-server mounts for a user at most.
const MOUNTS: usize = 16;
pub const SERVICES: usize = 64;
const PIDS: std::ops::RangeInclusive<u32> = 1..=4_194_304;
const RETRIES: std::ops::RangeInclusive<u32> = 1..=100;

pub const CONDITIONS: [(&str, Condition); 3] = [
    ("started", Condition::Started),
    ("healthy", Condition::Healthy),
    ("completed", Condition::Completed),
];
pub const RESTARTS: [(&str, Restart); 3] =
    [("always", Restart::Always), ("on-failure", Restart::OnFailure), ("never", Restart::Never)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Native,
    Container,
}

/// `None` where so much is wrong that nothing can stand for it.
pub fn service(reader: &mut Reader, at: &At<'_>) -> Option<Service> {
    // Which keys there are is known once the type is.
    let of = kind(reader, at)?;
    let known = if of == Of::Native { keys::NATIVE } else { keys::CONTAINER };
    let map = reader.map(at, known)?;
    let kind = match of {
        Of::Native => native(reader, &map),
        Of::Container => container(reader, &map),
    };
    let public = map.get("public").and_then(|at| reader.boolean(&at)).unwrap_or(false);
    let ports = map.get("ports").map(|at| ports(reader, &at, of)).unwrap_or_default();
    if let (true, true, Some(at)) = (public, ports.is_empty(), map.get("public")) {
        let fix = "list its ports, or remove it";
        reader.refuse(&at, Refusal::new("opens the service's ports, and it has none", fix));
    }
    let domains = map.get("domain").map(|at| domains(reader, &at)).unwrap_or_default();
    if let (true, Some(at)) = (ports.is_empty(), map.get("domain")) {
        let fix = "list its ports: nginx asks the first of them";
        reader.refuse(&at, Refusal::new("needs a port of the service's, and it has none", fix));
    }
    Some(Service {
        env: map.get("env").map(|at| env(reader, &at)).unwrap_or_default(),
        health: map.get("health").and_then(|at| health(reader, &at)),
        limits: map.get("limits").map(|at| limits(reader, &at)).unwrap_or_default(),
        depends_on: map.get("depends_on").map(|at| depends(reader, &at)).unwrap_or_default(),
        data: map.get("data").map(|at| data(reader, &at, of)).unwrap_or_default(),
        snapshot: map.get("snapshot").map(|at| snapshot(reader, &at)).unwrap_or_default(),
        mounts: mounts(reader, &map),
        restart: map
            .get("restart")
            .and_then(|at| reader.one_of(&at, &RESTARTS))
            .unwrap_or_default(),
        stop_timeout: time(reader, &map, "stop_timeout", Duration::from_secs(10)),
        kind: kind?,
        ports,
        public,
        domains,
    })
}

/// `post` undoes what `pre` did.
fn snapshot(reader: &mut Reader, at: &At<'_>) -> Snapshot {
    let Some(map) = reader.map(at, keys::SNAPSHOT) else { return Snapshot::default() };
    let pre = reader.need(&map, "pre", "write what makes the data whole, such as a dump");
    let mut text = |at: Option<At<'_>>| at.and_then(|at| reader.meant(&at, check::shell));
    Snapshot { pre: text(pre), post: text(map.get("post")) }
}

fn kind(reader: &mut Reader, at: &At<'_>) -> Option<Of> {
    let Value::Map(entries) = &at.node.value else {
        // Says what it must be.
        return reader.map(at, &[]).and(None);
    };
    let form = "write type: native or type: container";
    let Some(entry) = entries.iter().find(|entry| entry.key == "type") else {
        let mut at = at.clone();
        at.path = below(&at.path, "type");
        reader.refuse(&at, Refusal::new("is missing", form));
        return None;
    };
    let at = At { node: &entry.node, path: below(&at.path, "type") };
    reader.one_of(&at, &[("native", Of::Native), ("container", Of::Container)])
}

fn native(reader: &mut Reader, map: &Map<'_>) -> Option<Kind> {
    let command = reader.need(map, "command", "write what is to run, such as npm run dev");
    let command = command.and_then(|at| command_line(reader, &at));
    let workdir = map.get("workdir").and_then(|at| reader.meant(&at, check::server_path));
    Some(Kind::Native { command: command?, workdir })
}

fn container(reader: &mut Reader, map: &Map<'_>) -> Option<Kind> {
    let image = reader.need(map, "image", "write which, such as postgres:16");
    let image = image.and_then(|at| reader.meant(&at, check::image));
    let container = Container {
        command: map.get("command").map(|at| words(reader, &at)).unwrap_or_default(),
        entrypoint: map.get("entrypoint").map(|at| words(reader, &at)).unwrap_or_default(),
        workdir: map.get("workdir").and_then(|at| reader.meant(&at, check::container_path)),
        user: map.get("user").and_then(|at| reader.meant_word(&at, check::user)),
        image: image?,
    };
    Some(Kind::Container(container))
}

/// A text is for a shell, a list is a program and its arguments.
fn command_line(reader: &mut Reader, at: &At<'_>) -> Option<Command> {
    match &at.node.value {
        Value::List(_) => list_of_words(reader, at).map(Command::Words),
        _ => reader.meant(at, check::shell).map(Command::Shell),
    }
}

/// A text is split into words, which no shell sees.
fn words(reader: &mut Reader, at: &At<'_>) -> Vec<String> {
    let words = match &at.node.value {
        Value::List(_) => list_of_words(reader, at),
        _ => reader.meant(at, |text| check::shell(text).and_then(|text| words::split(&text))),
    };
    words.unwrap_or_default()
}

fn list_of_words(reader: &mut Reader, at: &At<'_>) -> Option<Vec<String>> {
    let items = reader.list(at, WORDS);
    let mut words = Vec::new();
    for item in &items {
        words.push(reader.meant_word(item, check::word)?);
    }
    match words.first() {
        Some(program) if !program.is_empty() => Some(words),
        _ => {
            let fix = "write a program and its arguments";
            reader.refuse(at, Refusal::new("names no program", fix));
            None
        }
    }
}

/// Numbers and truth values are the text that is written.
pub fn env(reader: &mut Reader, at: &At<'_>) -> Env {
    let mut env = Env::default();
    if let Value::List(_) = at.node.value {
        let fix = "write it as a map: NAME: value";
        reader.refuse(at, Refusal::new("must be a map, not a list", fix));
        return env;
    }
    for (key, at) in reader.named(at, VARIABLES, check::env_key) {
        if at.node.is_null() {
            let fix = "write \"\" for the empty text; a secret comes from .env.local";
            reader.refuse(&at, Refusal::new("has no value", fix));
        } else if let Some(value) = reader.meant_word(&at, check::env_value) {
            env.set(key, value);
        }
    }
    env
}

fn ports(reader: &mut Reader, at: &At<'_>, of: Of) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for at in reader.list(at, PORTS) {
        let Some(port) = reader.meant_word(&at, check::port) else { continue };
        if of == Of::Native && port.published != port.target {
            let why = "a native service is published on the port where it listens";
            reader.refuse(&at, Refusal::new(why, format!("write \"{}\"", port.target)));
        } else if ports.iter().any(|other| other.published == port.published) {
            reader.refuse(&at, Refusal::new("is published twice", "remove one of them"));
        } else {
            ports.push(port);
        }
    }
    ports
}

/// One, or a list.
fn domains(reader: &mut Reader, at: &At<'_>) -> Vec<String> {
    let Value::List(items) = &at.node.value else {
        return reader.meant(at, check::domain).into_iter().collect();
    };
    if items.is_empty() {
        reader.refuse(at, Refusal::new("names none", "write it as app.example.org"));
    }
    let mut domains: Vec<String> = Vec::new();
    for at in reader.list(at, DOMAINS) {
        let Some(domain) = reader.meant(&at, check::domain) else { continue };
        match domains.contains(&domain) {
            true => reader.refuse(&at, Refusal::new("occurs twice", "remove one of them")),
            false => domains.push(domain),
        }
    }
    domains
}

fn health(reader: &mut Reader, at: &At<'_>) -> Option<Health> {
    let map = reader.map(at, keys::HEALTH)?;
    let form = "write one of http, tcp, exec";
    let probes: Vec<&str> = ["http", "tcp", "exec"].into_iter().filter(|k| map.has(k)).collect();
    match probes.len() {
        0 => reader.refuse(at, Refusal::new("says not how to ask", form)),
        1 => {}
        _ => reader.refuse(at, Refusal::new(format!("has {}", probes.join(" and ")), form)),
    }
    let mut probe = None;
    if let Some(at) = map.get("http") {
        probe = reader.meant(&at, check::http_probe);
    }
    if let Some(at) = map.get("tcp") {
        probe = reader.meant_word(&at, check::tcp_probe);
    }
    if let Some(at) = map.get("exec") {
        probe = command_line(reader, &at).map(Probe::Exec);
        let docker = |words: &[String]| {
            words
                .first()
                .is_some_and(|first| ["CMD", "CMD-SHELL", "NONE"].contains(&first.as_str()))
        };
        if matches!(&probe, Some(Probe::Exec(Command::Words(words))) if docker(words)) {
            let fix = "write the command alone: a text for a shell, a list without one";
            reader.refuse(&at, Refusal::new("begins with a word of docker compose's", fix));
        }
    }
    let health = Health {
        interval: time(reader, &map, "interval", Duration::from_secs(2)),
        timeout: time(reader, &map, "timeout", Duration::from_secs(60)),
        steady: time(reader, &map, "steady_interval", Duration::from_secs(30)),
        retries: map.get("retries").and_then(|at| reader.number(&at, RETRIES)).unwrap_or(3),
        probe: probe?,
    };
    if health.interval > health.timeout {
        let why = "timeout is shorter than interval";
        reader.refuse(at, Refusal::new(why, "it is the time until the first success"));
    }
    Some(health)
}

fn time(reader: &mut Reader, map: &Map<'_>, key: &str, usual: Duration) -> Duration {
    let time = map.get(key).and_then(|at| reader.meant_word(&at, check::duration));
    time.unwrap_or(usual)
}

fn limits(reader: &mut Reader, at: &At<'_>) -> Limits {
    let Some(map) = reader.map(at, keys::LIMITS) else { return Limits::default() };
    Limits {
        memory_bytes: map.get("memory").and_then(|at| reader.meant_word(&at, check::memory)),
        cpu_percent: map.get("cpu").and_then(|at| reader.meant_word(&at, check::cpu)),
        pids: map.get("pids").and_then(|at| reader.number(&at, PIDS)),
    }
}

/// `[db, cache]` or `{db: healthy, migrate: completed}`.
fn depends(reader: &mut Reader, at: &At<'_>) -> BTreeMap<String, Condition> {
    let mut all = BTreeMap::new();
    if matches!(at.node.value, Value::List(_)) {
        for at in reader.list(at, SERVICES) {
            let Some(name) = reader.meant_word(&at, |text| Ok(text.to_owned())) else { continue };
            if all.insert(name, Condition::Started).is_some() {
                reader.refuse(&at, Refusal::new("occurs twice", "remove one of them"));
            }
        }
        return all;
    }
    // Names are looked up among the services later.
    for (name, at) in reader.named(at, SERVICES, |_| Ok(())) {
        if let Some(condition) = reader.one_of(&at, &CONDITIONS) {
            all.insert(name.to_owned(), condition);
        }
    }
    all
}

fn data(reader: &mut Reader, at: &At<'_>, of: Of) -> Vec<Data> {
    let mut all: Vec<Data> = Vec::new();
    for at in reader.list(at, DATA) {
        let known = if of == Of::Native { keys::NATIVE_DATA } else { keys::DATA };
        let Some(map) = reader.map(&at, known) else { continue };
        let host = reader.need(&map, "host", "write the directory on the server");
        let host = host.and_then(|at| reader.meant(&at, check::server_path));
        let container = match of {
            Of::Native => None,
            Of::Container => {
                let at = reader.need(&map, "container", "write where the container sees it");
                let Some(path) = at.and_then(|at| reader.meant(&at, check::container_path)) else {
                    continue;
                };
                Some(path)
            }
        };
        let read_only = map.get("read_only").and_then(|at| reader.boolean(&at)).unwrap_or(false);
        let Some(host) = host else { continue };
        let same = |other: &Data| match of {
            Of::Native => other.host == host,
            Of::Container => other.container == container,
        };
        if all.iter().any(same) {
            reader.refuse(map.at(), Refusal::new("occurs twice", "remove one of them"));
        } else {
            all.push(Data { host, container, read_only });
        }
    }
    all
}

/// Keys that a container does not have are not there.
fn mounts(reader: &mut Reader, map: &Map<'_>) -> Vec<Mount> {
    let mut all: Vec<Mount> = Vec::new();
    let list = |reader: &mut Reader, key, known| {
        let at: At<'_> = map.get(key)?;
        let items = reader.list(&at, MOUNTS);
        Some(items.iter().filter_map(|at| reader.map(at, known)).collect::<Vec<_>>())
    };
    let mut add = |reader: &mut Reader, map: &Map<'_>, what: Mounted| {
        let path = reader.need(map, "path", "write where, such as ~/shop/tmp");
        let Some(path) = path.and_then(|at| reader.meant(&at, check::mount_path)) else { return };
        if all.iter().any(|mount| mount.path == path) {
            reader.refuse(map.at(), Refusal::new("occurs twice", "remove one of them"));
        } else {
            all.push(Mount { path, what });
        }
    };
    for map in list(reader, "tmpfs", keys::TMPFS).unwrap_or_default() {
        let size = reader.need(&map, "size", "write how much memory, such as 256M");
        let size = size.and_then(|at| reader.meant_word(&at, check::tmpfs));
        if let Some(bytes) = size {
            add(reader, &map, Mounted::Tmpfs { bytes });
        }
    }
    for map in list(reader, "volumes", keys::VOLUMES).unwrap_or_default() {
        let source = reader.need(&map, "source", "write the directory on the server");
        let source = source.and_then(|at| reader.meant(&at, check::mount_source));
        let read_only = map.get("read_only").and_then(|at| reader.boolean(&at)).unwrap_or(true);
        if let Some(source) = source {
            add(reader, &map, Mounted::Volume { source, read_only });
        }
    }
    all
}
