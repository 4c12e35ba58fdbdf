//! All keys there are. The reader takes no others, and the JSON Schema for editors has the same.

/// A `hopbox.yaml`; the first two are the laptop's own.
pub const MANIFEST: &[&str] = &[
    "host", "editor", "name", "env", "services", "bridges", "scripts", "hooks", "backup", "ports",
];
/// What a server is sent.
pub const DESIRED: &[&str] =
    &["name", "env", "services", "bridges", "scripts", "hooks", "backup", "ports"];

pub const NATIVE: &[&str] = &[
    "type",
    "command",
    "workdir",
    "env",
    "ports",
    "public",
    "domain",
    "health",
    "limits",
    "depends_on",
    "data",
    "snapshot",
    "tmpfs",
    "volumes",
    "restart",
    "stop_timeout",
];
pub const CONTAINER: &[&str] = &[
    "type",
    "image",
    "command",
    "entrypoint",
    "workdir",
    "user",
    "env",
    "ports",
    "public",
    "domain",
    "health",
    "limits",
    "depends_on",
    "data",
    "snapshot",
    "restart",
    "stop_timeout",
];
pub const HEALTH: &[&str] =
    &["http", "tcp", "exec", "interval", "timeout", "steady_interval", "retries"];
pub const LIMITS: &[&str] = &["memory", "cpu", "pids"];
pub const NATIVE_DATA: &[&str] = &["host"];
pub const DATA: &[&str] = &["host", "container", "read_only"];
pub const SNAPSHOT: &[&str] = &["pre", "post"];
pub const TMPFS: &[&str] = &["path", "size"];
pub const VOLUMES: &[&str] = &["path", "source", "read_only"];
pub const BRIDGE: &[&str] = &["type"];
pub const HOOKS: &[&str] = &["setup", "start"];
pub const BACKUP: &[&str] = &["backend", "target", "password_env", "schedule", "keep"];
pub const KEEP: &[&str] = &["last", "hourly", "daily", "weekly", "monthly", "yearly"];
pub const EDITOR: &[&str] = &["type", "path", "extensions"];
pub const PORTS: &[&str] = &["auto", "sandboxes"];

/// What is asked for elsewhere, and what to write here.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("packages", "hooks.setup runs what a workspace needs, such as its package manager"),
    ("version", "remove it"),
    ("environment", "write env"),
    ("env_file", "variables come from .env and .env.local beside this file"),
    ("volumes", "write data: [{host: /srv/x, container: /x}]"),
    ("healthcheck", "write health"),
    ("build", "build the image in hooks.setup, and name it in image"),
    ("working_dir", "write workdir"),
    ("stop_grace_period", "write stop_timeout"),
    ("deploy", "write limits: {memory: 512M, cpu: 1.5, pids: 200}"),
    ("mem_limit", "write limits: {memory: 512M}"),
    ("cpus", "write limits: {cpu: 1.5}"),
    ("pids_limit", "write limits: {pids: 200}"),
    ("container_name", "remove it: containers are named by workspace and service"),
    ("networks", "remove it: services meet on localhost and the published ports"),
    ("secrets", "put secrets into .env.local beside this file"),
    ("session", "remove it"),
    ("start_period", "write timeout"),
    ("test", "write exec"),
];

/// Words of docker compose's for words of ours.
pub const SAME: &[(&str, &str)] = &[
    ("no", "never"),
    ("unless-stopped", "always"),
    ("service_started", "started"),
    ("service_healthy", "healthy"),
    ("service_completed_successfully", "completed"),
    ("docker", "container"),
    ("podman", "container"),
    ("command", "native"),
    ("process", "native"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::base::yaml;
    use crate::workspace::manifest::Condition;
    use crate::workspace::read::{service, top};

    const SCHEMA: &str = include_str!("hopbox.schema.json");

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).unwrap()
    }

    /// Of an object in the schema: its keys, and that it takes no others.
    fn keys(schema: &Value, name: &str) -> BTreeSet<String> {
        let object = match name {
            "" => schema,
            name => &schema["definitions"][name],
        };
        assert_eq!(object["additionalProperties"], false, "{name}");
        object["properties"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_schema_for_editors_has_the_readers_keys_and_no_others() {
        let schema = schema();
        let all = [
            ("", MANIFEST),
            ("native", NATIVE),
            ("container", CONTAINER),
            ("health", HEALTH),
            ("limits", LIMITS),
            ("native_data", NATIVE_DATA),
            ("data", DATA),
            ("snapshot", SNAPSHOT),
            ("tmpfs", TMPFS),
            ("volumes", VOLUMES),
            ("bridge", BRIDGE),
            ("hooks", HOOKS),
            ("backup", BACKUP),
            ("keep", KEEP),
            ("editor", EDITOR),
            ("ports", PORTS),
        ];
        for (name, known) in all {
            let known: BTreeSet<String> = known.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(keys(&schema, name), known, "{name}");
        }
        let named: BTreeSet<&str> =
            all.iter().map(|(name, _)| *name).filter(|n| !n.is_empty()).collect();
        let defined = schema["definitions"].as_object().unwrap();
        assert_eq!(defined.keys().map(String::as_str).collect::<BTreeSet<_>>(), named);
    }

    #[test]
    fn the_schemas_words_are_the_readers() {
        let schema = schema();
        let words = |pointer: &str| -> BTreeSet<String> {
            let list = schema.pointer(pointer).and_then(Value::as_array).unwrap();
            list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        fn known<T>(all: &[(&str, T)]) -> BTreeSet<String> {
            all.iter().map(|(word, _)| (*word).to_owned()).collect()
        }
        let of = |name: &str, key: &str| format!("/definitions/{name}/properties/{key}/enum");
        assert_eq!(words(&of("native", "restart")), known(&service::RESTARTS));
        assert_eq!(words(&of("container", "restart")), known(&service::RESTARTS));
        assert_eq!(words(&of("bridge", "type")), known(&top::BRIDGE_TYPES));
        assert_eq!(words(&of("backup", "schedule")), known(&top::SCHEDULES));
        let needs = "/definitions/native/properties/depends_on/oneOf/1/additionalProperties/enum";
        assert_eq!(words(needs), known::<Condition>(&service::CONDITIONS));
    }

    #[test]
    fn the_manual_explains_every_key() {
        let manual = include_str!("../../../man/hopbox.yaml.5");
        let marked = |line: &str| {
            let line = line.strip_prefix(".It ").unwrap_or(line).to_owned();
            line.strip_prefix(".Ic ").or(line.strip_prefix("Ic ")).map(str::to_owned)
        };
        let mut told: BTreeSet<String> = BTreeSet::new();
        for line in manual.lines() {
            let words =
                |line: String| line.split([' ', ',']).map(str::to_owned).collect::<Vec<_>>();
            told.extend(marked(line).map(words).unwrap_or_default());
        }
        for known in [MANIFEST, NATIVE, CONTAINER, HEALTH, LIMITS, HOOKS, BACKUP, KEEP, EDITOR] {
            known.iter().for_each(|key| assert!(told.contains(*key), "{key}: {told:?}"));
        }
        for key in DATA.iter().chain(PORTS) {
            assert!(manual.contains(&format!("{key}:")), "{key}");
        }
    }

    #[test]
    fn the_manuals_example_is_a_manifest() {
        let manual = include_str!("../../../man/hopbox.yaml.5");
        let (_, example) = manual.split_once(".Sh EXAMPLES\n.Bd -literal\n").unwrap();
        let (example, _) = example.split_once(".Ed\n").unwrap();
        let read = crate::workspace::read::manifest(example);
        let services = read.map(|read| read.desired.services.len());
        assert_eq!(services.ok(), Some(2), "{example}");
    }

    fn json(node: &yaml::Node) -> Value {
        match &node.value {
            yaml::Value::Map(map) => {
                map.iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect()
            }
            yaml::Value::List(list) => list.iter().map(json).collect(),
            yaml::Value::Scalar { text, .. } => match (node.int(), node.boolean()) {
                (Some(number), _) => number.into(),
                (_, Some(value)) => value.into(),
                _ => text.as_str().into(),
            },
        }
    }

    /// The ways to every key.
    fn ways(value: &Value, way: &str, found: &mut Vec<String>) {
        if let Value::Object(map) = value {
            for (key, value) in map {
                let way = format!("{way}/{key}");
                ways(value, &way, found);
                found.push(way);
            }
        }
        if let Value::Array(list) = value {
            for (number, value) in list.iter().enumerate() {
                ways(value, &format!("{way}/{number}"), found);
            }
        }
    }

    /// The example has every known key, and without any one of them it means something else.
    #[test]
    fn every_known_key_is_read() {
        let text = include_str!("full.yaml");
        let whole = super::super::manifest(text).unwrap();
        let root = json(&yaml::parse(text).unwrap());
        assert_eq!(super::super::manifest(&root.to_string()).as_ref(), Ok(&whole), "JSON is YAML");
        let mut found = Vec::new();
        ways(&root, "", &mut found);
        let used: BTreeSet<&str> = found.iter().filter_map(|way| way.rsplit('/').next()).collect();
        for known in [
            MANIFEST, NATIVE, CONTAINER, HEALTH, LIMITS, DATA, BRIDGE, HOOKS, BACKUP, KEEP, EDITOR,
            PORTS,
        ] {
            known.iter().for_each(|key| assert!(used.contains(key), "{key}"));
        }
        for way in &found {
            let mut other = root.clone();
            let (parent, key) = way.rsplit_once('/').unwrap();
            other.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            let other = super::super::manifest(&other.to_string()).ok();
            assert_ne!(other.as_ref(), Some(&whole), "{way}");
        }
    }
}
