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
    "health",
    "limits",
    "depends_on",
    "data",
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
    "health",
    "limits",
    "depends_on",
    "data",
    "restart",
    "stop_timeout",
];
pub const HEALTH: &[&str] =
    &["http", "tcp", "exec", "interval", "timeout", "steady_interval", "retries"];
pub const LIMITS: &[&str] = &["memory", "cpu", "pids"];
pub const NATIVE_DATA: &[&str] = &["host"];
pub const DATA: &[&str] = &["host", "container", "read_only"];
pub const BRIDGE: &[&str] = &["type"];
pub const HOOKS: &[&str] = &["setup", "start"];
pub const BACKUP: &[&str] = &["backend", "target", "password_env", "schedule", "keep"];
pub const KEEP: &[&str] = &["last", "hourly", "daily", "weekly", "monthly", "yearly"];
pub const EDITOR: &[&str] = &["type", "path", "extensions"];
pub const PORTS: &[&str] = &["auto"];

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
