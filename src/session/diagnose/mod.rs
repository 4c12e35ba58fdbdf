//! What is wrong with a host: facts are gathered, then judged. Gathering looks and measures and
//! decides nothing; judging is a pure function of the facts, so that every verdict can be tested
//! by a table.
//!
//! Reading order: this file (the facts) → `judge` → `gather` → `path` (what it sends).

mod gather;
mod judge;
mod path;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use gather::{gather, knock};
pub use judge::judge;

use super::elsewhere::Elsewhere;
use crate::base::failure::Failure;
use crate::helper::guards::{Guard, Lack};
use crate::host::config::HostConfig;
use crate::session::path_mtu::PathMtu;
use crate::session::ping::Train;
use crate::session::transport::Told;
use crate::text::fix::Fix;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, such as `helper`.
    pub what: &'static str,
    /// The name of the fault, for programs; `None` when there is none.
    pub fault: Option<&'static str>,
    /// The cause in words; of a check that is fine what was found.
    pub cause: String,
    pub evidence: String,
    /// One command.
    pub fix: Fix,
}

impl Check {
    pub fn fine(what: &'static str, found: impl Into<String>) -> Check {
        let (evidence, fix) = (String::new(), Fix::from(""));
        Check { what, fault: None, cause: found.into(), evidence, fix }
    }

    pub fn fault(
        what: &'static str,
        fault: &'static str,
        cause: impl Into<String>,
        evidence: impl Into<String>,
        fix: impl Into<Fix>,
    ) -> Check {
        let (cause, evidence, fix) = (cause.into(), evidence.into(), fix.into());
        Check { what, fault: Some(fault), cause, evidence, fix }
    }
}

/// Everything that the verdict depends on.
pub struct Facts {
    pub host: String,
    pub config: Result<HostConfig, Failure>,
    pub key: Result<(), Failure>,
    pub paths: Files,
    pub helper: Result<Serving, HelperFault>,
    pub session: Session,
    /// The variable that sends programs here to an HTTP proxy, and for which name.
    pub http_proxy: Option<(&'static str, String)>,
    /// `None` when the host file could not be read.
    pub net: Option<Net>,
}

/// Where things lie, for the fixes.
pub struct Files {
    pub host: PathBuf,
    pub key: PathBuf,
    pub log: PathBuf,
    /// Why nothing can be written there, if so, and what helps.
    pub state: Option<(PathBuf, String, Fix)>,
    /// A file of ours that is younger than now, by this much.
    pub future: Option<(PathBuf, Duration)>,
}

/// A helper that serves this user.
pub struct Serving {
    pub version: String,
    /// What it could not put around the tunnels that there are.
    pub missing: Vec<(Guard, Lack)>,
}

pub struct HelperFault {
    pub fault: &'static str,
    pub why: String,
    pub fix: Fix,
}

pub enum Session {
    /// None, and how the last one ended, if that is remembered and was not asked for.
    None {
        ended: Option<String>,
    },
    /// It was up, and nothing took it down.
    Lost,
    /// There is one, and it cannot be asked from here.
    Elsewhere(Elsewhere),
    /// It is there and does not answer.
    Hung(String),
    Starting,
    /// Its interface, and whether the agent answers it.
    Live {
        interface: String,
        handshake_age: Option<Duration>,
        /// Another machine seems to use this machine's key.
        rival: bool,
        transport: Option<Told>,
        path_mtu: Option<PathMtu>,
    },
}

/// What was found by looking outside.
pub struct Net {
    pub resolved: Result<Vec<IpAddr>, String>,
    /// The source address for packets to the endpoint, and the tunnel-like interface that has it.
    pub to_endpoint: Option<Result<(IpAddr, Option<String>), String>>,
    /// The same for the address inside the tunnel.
    pub to_peer: Result<(IpAddr, Option<String>), String>,
    pub interface: Option<Result<(), String>>,
    pub outer: Option<Outer>,
    /// Only where no session is: did a handshake of our own succeed.
    pub handshake: Option<Handshake>,
    /// Only where that got no answer and SSH may stand in: whether it does, or why not.
    pub over_ssh: Option<Result<(), Failure>>,
    /// Through the session's tunnel, or that of the handshake; `None` where there was neither.
    pub agent: Option<Agent>,
    /// What the system makes of the name; `None` where no session is.
    pub name: Option<Result<Vec<IpAddr>, String>>,
    /// How much of a train of packets comes back; `None` where it was not measured.
    pub train: Option<Train>,
    /// Largest packet inside the tunnel that passes whole; `None` where it was not measured.
    pub mtu: Option<u16>,
}

/// What the endpoint does with datagrams that are not WireGuard's.
pub struct Outer {
    pub to: SocketAddr,
    /// The port of the tunnel, and one beside it that nobody should have.
    pub port: Reply,
    pub beside: Reply,
    /// It answers ping; `None` when that may not be asked.
    pub ping: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Silent,
    /// An error came back: nobody listens there.
    Closed,
    /// This machine would not send it.
    Refused(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    Done,
    /// Datagrams came back and none was good; the reason that was counted.
    Rejected(String),
    Silent,
    NotTried(String),
}

pub enum Agent {
    /// Its version, and whether it took the token.
    Healthy {
        version: String,
        token: Result<(), String>,
    },
    Silent(String),
}
