//! What can be wanted of a workspace, as values with one meaning each. How it is written is the
//! business of `read` and hopbox.yaml(5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::env::Env;

/// A `hopbox.yaml`: what the laptop keeps to itself, and what a server is asked for. The variables
/// of `.env` files are not in it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub host: Option<String>,
    pub editor: Editor,
    pub desired: Desired,
}

/// What a server is asked for, complete once the variables of files are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Part of the names of units and containers.
    pub workspace: String,
    /// For services, scripts and hooks; a service's own win.
    pub env: Env,
    pub services: BTreeMap<String, Service>,
    pub bridges: Bridges,
    pub scripts: BTreeMap<String, String>,
    pub hooks: Hooks,
    pub backup: Option<Backup>,
    /// Listeners appear on the laptop by themselves.
    pub auto_ports: bool,
    /// Those in network namespaces of the login's own, too.
    pub sandboxed_ports: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Editor {
    pub kind: Option<String>,
    /// On the server.
    pub path: Option<String>,
    pub extensions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub kind: Kind,
    /// Over the workspace's.
    pub env: Env,
    pub ports: Vec<Port>,
    /// Its ports are open to the internet, too.
    pub public: bool,
    /// By which the server's nginx answers for the first of its ports.
    pub domains: Vec<String>,
    pub health: Option<Health>,
    pub limits: Limits,
    pub depends_on: BTreeMap<String, Condition>,
    pub data: Vec<Data>,
    pub snapshot: Snapshot,
    /// Of a native one alone; a container has its engine for that.
    pub mounts: Vec<Mount>,
    pub restart: Restart,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
}

impl Service {
    /// A container whose port is published there, too, for the server's nginx.
    pub fn is_on_loopback(&self) -> bool {
        !self.domains.is_empty() && !self.public && matches!(self.kind, Kind::Container(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Native { command: Command, workdir: Option<String> },
    Container(Container),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub image: String,
    /// In place of the image's; never read by a shell of ours.
    pub command: Vec<String>,
    pub entrypoint: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For `sh -c`.
    Shell(String),
    /// A program and its arguments; never empty.
    Words(Vec<String>),
}

/// TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// On the tunnel's address.
    pub published: u16,
    /// Where the service listens; the same for a native one.
    pub target: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub probe: Probe,
    /// Between two probes until the first success.
    pub interval: Duration,
    /// For all of that.
    pub timeout: Duration,
    /// Between two probes from then on.
    pub steady: Duration,
    /// Failures in a row, from then on, that make it unhealthy.
    pub retries: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// 2xx and 3xx are healthy. A port of a container is a published one.
    Http {
        port: u16,
        path: String,
    },
    Tcp {
        port: u16,
    },
    /// Inside of the container; exit status 0 is healthy.
    Exec(Command),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// Of one CPU.
    pub cpu_percent: Option<u32>,
    pub pids: Option<u32>,
}

/// What another service must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Started,
    Healthy,
    /// Ended with exit status 0.
    Completed,
}

/// A directory that is kept: what a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Absolute, or below `~/`.
    pub host: String,
    /// Where a container sees it.
    pub container: Option<String>,
    pub read_only: bool,
}

/// For `sh -c`, around the moment at which data is read for a snapshot: a service with a `pre`
/// makes what is read whole by itself, and is not ended for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub pre: Option<String>,
    /// After that, also where it failed.
    pub post: Option<String>,
}

/// A directory that is mounted for the service, from its start until it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Below `~/`, without that.
    pub path: String,
    pub what: Mounted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// In memory, empty.
    Tmpfs { bytes: u64 },
    /// A directory that the server's administrator has listed.
    Volume { source: String, read_only: bool },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    Always,
    /// Exit status 0 is the end.
    #[default]
    OnFailure,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bridge {
    Cdp,
    Clipboard,
    Notifications,
    XdgOpen,
}

pub type Bridges = BTreeSet<Bridge>;

/// For `sh -c`, with the workspace's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Once for a workspace and this text.
    pub setup: Option<String>,
    /// Each time.
    pub start: Option<String>,
}

/// Through restic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub target: String,
    /// The variable that holds the repository's password.
    pub password_env: String,
    pub schedule: Option<Schedule>,
    pub keep: Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    Hourly,
    Daily,
    Weekly,
}

/// How many of each are kept; all where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    pub last: Option<u32>,
    pub hourly: Option<u32>,
    pub daily: Option<u32>,
    pub weekly: Option<u32>,
    pub monthly: Option<u32>,
    pub yearly: Option<u32>,
}
