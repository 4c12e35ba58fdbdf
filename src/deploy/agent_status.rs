//! What an agent says of itself over SSH: the answer of `hop-agent status --json`, of any version.
//! Whatever one does not say is taken as nothing; what it says in sentences is for people alone.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::base::json::{Fields, ReadError};
use crate::rpc::types::Message;
use crate::rpc::types::firewall::{Effective, Opened};

/// More laptops than any agent has.
const PEERS: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStatus {
    /// Of the program that runs, else of the one that is installed.
    pub version: Option<String>,
    pub state: AgentState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// Why, in words.
    Stopped(String),
    Running(Counters),
}

/// What a running agent has counted since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub pid: u64,
    pub interface: Option<String>,
    pub listen_port: Option<u16>,
    /// Datagrams that it refused, and those of them that were handshakes from before the last one.
    pub refused_datagrams: u64,
    pub old_timestamps: u64,
    /// What the server makes of the tunnel's port, where it tells.
    pub effective: Option<Effective>,
    peers: Vec<Peer>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Peer {
    address: Option<Ipv4Addr>,
    rx_bytes: u64,
    last_handshake_unix_us: Option<u64>,
}

impl AgentStatus {
    pub fn read(value: Value) -> Result<AgentStatus, ReadError> {
        let mut fields = Fields::of(value, "")?;
        let mut version = |key: &str| text(&mut fields, key);
        let version = version("hop_version").or(version("installed"));
        let state = match fields.bool("running")? {
            true => AgentState::Running(Counters::read(&mut fields)?),
            false => AgentState::Stopped(text(&mut fields, "why").unwrap_or("it ended".to_owned())),
        };
        Ok(AgentStatus { version, state })
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, AgentState::Running(_))
    }
}

impl Counters {
    fn read(fields: &mut Fields) -> Result<Counters, ReadError> {
        let firewall = fields.opt_object("firewall").ok().flatten();
        let opened = firewall.and_then(|mut firewall| Opened::read(&mut firewall).ok());
        let effective = match opened {
            Some(Opened::Is(effective)) => Some(effective),
            Some(Opened::Not(_)) | None => None,
        };
        let mut drops = fields.opt_object("drops").ok().flatten();
        let old = drops.as_mut().and_then(|drops| number(drops, "old_timestamp"));
        Ok(Counters {
            old_timestamps: old.unwrap_or_default(),
            pid: number(fields, "pid").unwrap_or_default(),
            interface: text(fields, "interface"),
            listen_port: number(fields, "listen_port").and_then(|port| port.try_into().ok()),
            refused_datagrams: number(fields, "refused_datagrams").unwrap_or_default(),
            effective,
            peers: fields.objects("peers", PEERS)?.into_iter().map(Peer::read).collect(),
        })
    }

    /// What came from the laptop that has this address.
    pub fn received(&self, laptop: Ipv4Addr) -> u64 {
        self.of(laptop).map(|peer| peer.rx_bytes).sum()
    }

    /// Its last handshake, as the agent's clock has it.
    pub fn handshake(&self, laptop: Ipv4Addr) -> Option<u64> {
        self.of(laptop).filter_map(|peer| peer.last_handshake_unix_us).max()
    }

    fn of(&self, laptop: Ipv4Addr) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(move |peer| peer.address == Some(laptop))
    }
}

impl Peer {
    fn read(mut fields: Fields) -> Peer {
        Peer {
            address: text(&mut fields, "address").and_then(|text| text.parse().ok()),
            rx_bytes: number(&mut fields, "rx_bytes").unwrap_or_default(),
            last_handshake_unix_us: number(&mut fields, "last_handshake_unix_us"),
        }
    }
}

fn text(fields: &mut Fields, key: &str) -> Option<String> {
    fields.take(key)?.as_str().map(str::to_owned)
}

fn number(fields: &mut Fields, key: &str) -> Option<u64> {
    fields.take(key)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_state_decides_and_no_sentence() {
        let read = |value| AgentStatus::read(value).unwrap();
        for why in ["no agent answers on its socket", "", "running", "true", "es läuft nicht"] {
            let status = read(json!({"running": false, "why": why, "installed": "0.1.0"}));
            assert_eq!(status.version.as_deref(), Some("0.1.0"));
            assert!(!status.is_running(), "{why}");
            let status = read(json!({"running": true, "why": why, "hop_version": "0.2.0",
                "installed": "0.1.0", "interface": why, "listen_port": 70000, "pid": "7"}));
            assert_eq!(status.version.as_deref(), Some("0.2.0"));
            let AgentState::Running(counters) = status.state else { panic!("{why}") };
            assert_eq!((counters.pid, counters.listen_port), (0, None));
        }
        for none in [json!({}), json!([]), json!({"running": "yes"}), json!({"installed": "1"})] {
            assert!(AgentStatus::read(none.clone()).is_err(), "{none}");
        }
    }
}
