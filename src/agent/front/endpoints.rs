//! Where the laptops with a session were last seen, kept over a restart of the agent.
//!
//! A laptop behind NAT has no address that could be configured, and it does not notice by itself
//! that the agent it talks to is a new process: only after 15 s without an answer (R67). An agent
//! that remembers the endpoint shakes hands at once. The file is a convenience: what it says may be
//! out of date, and one that cannot be read or written costs that wait and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::field::key;
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, KEY_BYTES};
use crate::tunnel::{self, PeerState};

/// Below the directory of the agent's state.
pub const FILE: &str = "agent.endpoints";
/// A session of this age has ended (R52, R53), and its laptop has gone.
const SESSION: Duration = Duration::from_secs(180);

/// Laptops by their public keys.
type Places = BTreeMap<[u8; KEY_BYTES], SocketAddr>;

/// The file, and what it says.
pub struct Endpoints {
    path: PathBuf,
    kept: Places,
}

impl Endpoints {
    pub fn open(state_dir: &Path) -> Endpoints {
        let path = state_dir.join(FILE);
        let text = file::read_private(&path).unwrap_or_default();
        let kept = parse(&text).unwrap_or_default();
        Endpoints { path, kept }
    }

    /// Tells a tunnel that is to be started where its peers were. False if there are none.
    pub fn tell(&self, config: &mut tunnel::Config) -> bool {
        for peer in &mut config.peers {
            peer.endpoint = self.kept.get(&peer.public_key).copied();
        }
        config.peers.iter().any(|peer| peer.endpoint.is_some())
    }

    /// Writes down where they are now, if that is something else than before.
    pub fn keep(&mut self, peers: &[PeerState]) {
        let lives = |age: Option<Duration>| age.is_some_and(|age| age < SESSION);
        let here = peers.iter().filter(|peer| lives(peer.last_handshake_age));
        let now: Places = here.filter_map(|peer| Some((peer.public_key, peer.endpoint?))).collect();
        if now == self.kept {
            return;
        }
        let entry = |(key, at): (&[u8; KEY_BYTES], &SocketAddr)| {
            (key::encode(key).to_string(), Value::String(at.to_string()))
        };
        let peers: Map<String, Value> = now.iter().map(entry).collect();
        let text = format!("{}\n", json!({"version": 1, "endpoints": peers}));
        // Tried again when something changes.
        let _ = file::replace(&self.path, text.as_bytes());
        self.kept = now;
    }
}

fn parse(text: &str) -> Result<Places, ReadError> {
    let mut fields = Fields::parse(text)?;
    fields.int::<u32>("version", 1..=1)?;
    let Some(Value::Object(peers)) = fields.take("endpoints") else { return Ok(Places::new()) };
    let entry = |(public, at): (&String, &Value)| {
        Some((*key(public).ok()?, at.as_str()?.parse::<SocketAddr>().ok()?))
    };
    Ok(peers.iter().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::PeerConfig;

    #[test]
    fn the_next_agent_knows_who_was_there() {
        let dir = std::env::temp_dir().join(format!("hopbox-endpoints-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let peer = |n: u8, age_s: Option<u64>| PeerState {
            public_key: [n; 32],
            endpoint: Some(SocketAddr::from(([203, 0, 113, n], 4000))),
            last_handshake_age: age_s.map(Duration::from_secs),
            ..PeerState::default()
        };
        let mut config = tunnel::Config::default();
        for n in 1..=3 {
            config.peers.push(PeerConfig { public_key: [n; 32], ..PeerConfig::default() });
        }
        assert!(!Endpoints::open(&dir).tell(&mut config), "nothing is known at first");
        let peers = [peer(1, Some(5)), peer(2, Some(181)), peer(3, None)];
        Endpoints::open(&dir).keep(&peers);
        assert!(Endpoints::open(&dir).tell(&mut config));
        let known: Vec<_> = config.peers.iter().map(|peer| peer.endpoint.is_some()).collect();
        assert_eq!(known, [true, false, false], "the others had no session");

        for damaged in ["", "x", "{}", "{\"version\":1,\"endpoints\":{\"x\":3}}"] {
            file::replace(&dir.join(FILE), damaged.as_bytes()).unwrap();
            assert!(!Endpoints::open(&dir).tell(&mut config), "{damaged}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
