//! A workspace as JSON, under the keys of `hopbox.yaml`: what is not set is not written, keys are
//! sorted, numbers with a unit carry the smallest. Equal values give equal texts.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::env::Env;
use super::manifest::{
    Backup, Bridge, Command, Condition, Container, Data, Desired, Health, Hooks, Keep, Kind,
    Limits, Mount, Mounted, Port, Probe, Restart, Schedule, Service, Snapshot,
};

#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn opt(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// But for an empty one.
    fn some(&mut self, key: &str, value: Value) {
        let empty = match &value {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !empty {
            self.set(key, value);
        }
    }
}

pub fn desired(desired: &Desired) -> Value {
    let mut all = Object::default();
    all.set("name", desired.workspace.as_str());
    all.some("env", env(&desired.env));
    let services = desired.services.iter().map(|(name, one)| (name.clone(), service(one)));
    all.some("services", Value::Object(services.collect()));
    let bridges = desired.bridges.iter().map(|one| json!({"type": bridge(*one)}));
    all.some("bridges", bridges.collect());
    all.some("scripts", json!(desired.scripts));
    all.some("hooks", hooks(&desired.hooks));
    all.opt("backup", desired.backup.as_ref().map(backup));
    let ports = [("auto", desired.auto_ports), ("sandboxes", desired.sandboxed_ports)];
    let off =
        ports.into_iter().filter(|(_, on)| !on).map(|(key, _)| (key.to_owned(), json!(false)));
    all.some("ports", Value::Object(off.collect()));
    Value::Object(all.0)
}

pub fn service(service: &Service) -> Value {
    let mut all = run(service);
    all.opt("health", service.health.as_ref().map(health));
    let needs = service.depends_on.iter().map(|(on, wanted)| (on.clone(), condition(*wanted)));
    all.some("depends_on", Value::Object(needs.collect()));
    let Snapshot { pre, post } = &service.snapshot;
    let mut hooks = Object::default();
    hooks.opt("pre", pre.as_deref());
    hooks.opt("post", post.as_deref());
    all.some("snapshot", Value::Object(hooks.0));
    if service.public {
        all.set("public", true);
    }
    match &service.domains[..] {
        [] => {}
        [one] => all.set("domain", one.as_str()),
        more => all.set("domain", json!(more)),
    }
    Value::Object(all.0)
}

/// What the running thing was made of.
pub fn run_part(service: &Service) -> Value {
    let mut all = run(service);
    // Another address is another container.
    if service.public && matches!(service.kind, Kind::Container(_)) {
        all.set("public", true);
    }
    if service.is_on_loopback() {
        all.set("domain", true);
    }
    Value::Object(all.0)
}

fn run(service: &Service) -> Object {
    let mut all = Object::default();
    match &service.kind {
        Kind::Native { command: line, workdir } => {
            all.set("type", "native");
            all.set("command", command(line));
            all.opt("workdir", workdir.as_deref());
        }
        Kind::Container(Container { image, command, entrypoint, workdir, user }) => {
            all.set("type", "container");
            all.set("image", image.as_str());
            all.some("command", json!(command));
            all.some("entrypoint", json!(entrypoint));
            all.opt("workdir", workdir.as_deref());
            all.opt("user", user.as_deref());
        }
    }
    all.some("env", env(&service.env));
    all.some("ports", service.ports.iter().map(port).collect());
    all.some("limits", limits(&service.limits));
    all.some("data", service.data.iter().map(data).collect());
    let (tmpfs, volumes): (Vec<&Mount>, Vec<&Mount>) =
        service.mounts.iter().partition(|mount| matches!(mount.what, Mounted::Tmpfs { .. }));
    all.some("tmpfs", tmpfs.into_iter().map(Mount::to_json).collect());
    all.some("volumes", volumes.into_iter().map(Mount::to_json).collect());
    all.set("restart", restart(service.restart));
    all.set("stop_timeout", time(service.stop_timeout));
    all
}

pub fn env(env: &Env) -> Value {
    Value::Object(env.iter().map(|(key, value)| (key.to_owned(), value.into())).collect())
}

fn command(command: &Command) -> Value {
    match command {
        Command::Shell(text) => json!(text),
        Command::Words(words) => json!(words),
    }
}

fn port(port: &Port) -> Value {
    format!("{}:{}", port.published, port.target).into()
}

fn health(health: &Health) -> Value {
    let (key, value) = match &health.probe {
        Probe::Http { port, path } => ("http", json!(format!("http://localhost:{port}{path}"))),
        Probe::Tcp { port } => ("tcp", json!(format!("localhost:{port}"))),
        Probe::Exec(line) => ("exec", command(line)),
    };
    json!({
        key: value, "interval": time(health.interval), "timeout": time(health.timeout),
        "steady_interval": time(health.steady), "retries": health.retries,
    })
}

fn limits(limits: &Limits) -> Value {
    let mut all = Object::default();
    all.opt("memory", limits.memory_bytes.map(|bytes| format!("{bytes}B")));
    let cpu = |percent: u32| format!("{}.{:02}", percent / 100, percent % 100);
    all.opt("cpu", limits.cpu_percent.map(cpu));
    all.opt("pids", limits.pids);
    Value::Object(all.0)
}

fn data(data: &Data) -> Value {
    let mut all = Object::default();
    all.set("host", data.host.as_str());
    all.opt("container", data.container.as_deref());
    if data.read_only {
        all.set("read_only", true);
    }
    Value::Object(all.0)
}

impl Mount {
    pub fn to_json(&self) -> Value {
        let path = format!("~/{}", self.path);
        match &self.what {
            Mounted::Tmpfs { bytes } => json!({"path": path, "size": format!("{bytes}B")}),
            Mounted::Volume { source, read_only } => {
                json!({"path": path, "source": source, "read_only": read_only})
            }
        }
    }
}

fn time(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn condition(condition: Condition) -> Value {
    let word = match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    };
    word.into()
}

fn restart(restart: Restart) -> &'static str {
    match restart {
        Restart::Always => "always",
        Restart::OnFailure => "on-failure",
        Restart::Never => "never",
    }
}

fn bridge(bridge: Bridge) -> &'static str {
    match bridge {
        Bridge::Cdp => "cdp",
        Bridge::Clipboard => "clipboard",
        Bridge::Notifications => "notifications",
        Bridge::XdgOpen => "xdg-open",
    }
}

fn hooks(hooks: &Hooks) -> Value {
    let mut all = Object::default();
    all.opt("setup", hooks.setup.as_deref());
    all.opt("start", hooks.start.as_deref());
    Value::Object(all.0)
}

fn backup(backup: &Backup) -> Value {
    let mut all = Object::default();
    all.set("backend", "restic");
    all.set("target", backup.target.as_str());
    all.set("password_env", backup.password_env.as_str());
    let schedule = backup.schedule.map(|schedule| match schedule {
        Schedule::Hourly => "hourly",
        Schedule::Daily => "daily",
        Schedule::Weekly => "weekly",
    });
    all.opt("schedule", schedule);
    let Keep { last, hourly, daily, weekly, monthly, yearly } = backup.keep;
    let mut kept = Object::default();
    let all_kept = [
        ("last", last),
        ("hourly", hourly),
        ("daily", daily),
        ("weekly", weekly),
        ("monthly", monthly),
        ("yearly", yearly),
    ];
    all_kept.into_iter().for_each(|(key, number)| kept.opt(key, number));
    all.some("keep", Value::Object(kept.0));
    Value::Object(all.0)
}
