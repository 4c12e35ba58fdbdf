//! The agent's file, `agent.json`, and its private key beside it. Strict, as the laptop's files.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Failure, USAGE};
use crate::host::config::{key, token, unicast};
use crate::host::keys::{self, KEY_BYTES, Secret};
use crate::host::{HostError, atomic};
use crate::rpc::read::{Fields, ReadError};
use crate::tunnel::{self, PeerConfig};

const SCHEMA: u32 = 1;
const LISTEN_PORT: u16 = 51820;
const STATE_DIR: &str = "/var/lib/hopbox-agent";
const KEY_FILE: &str = "agent.key";
/// Laptops of one VPS; the tunnel holds no more peers (`wg::consts`).
const PEERS: usize = 64;

/// Everything the agent is told. Holds the token and keys, so it has no `Debug`.
pub struct AgentConfig {
    /// `None`: `wg0` if that is free, else a name of the helper's choice.
    pub interface: Option<String>,
    pub address: Ipv4Addr,
    pub listen_port: u16,
    pub mtu: u16,
    pub api_port: u16,
    pub token: Zeroizing<String>,
    /// For what outlives a restart.
    pub state_dir: PathBuf,
    first: Peer,
    others: Vec<Peer>,
    private_key: Secret,
}

struct Peer {
    public_key: [u8; KEY_BYTES],
    preshared_key: Option<Secret>,
    address: Ipv4Addr,
}

/// Reads the file and the key beside it.
pub fn load(path: &Path) -> Result<AgentConfig, Failure> {
    let text = atomic::read_private(path).map_err(refuse)?;
    let private_key = keys::load(&path.with_file_name(KEY_FILE)).map_err(refuse)?;
    parse(&text, private_key).map_err(|error| {
        let what = format!("{} is not valid", path.display());
        Failure::new(USAGE, &what, error.to_string(), &format!("sudoedit {}", path.display()))
    })
}

fn refuse(error: HostError) -> Failure {
    Failure::new(USAGE, &error.what, error.why, &error.next)
}

fn parse(text: &str, private_key: Secret) -> Result<AgentConfig, ReadError> {
    let mut fields = Fields::parse(text)?;
    fields.int::<u32>("version", SCHEMA..=SCHEMA)?;
    let mut peers = Vec::new();
    for peer in fields.objects("peers", PEERS)? {
        peers.push(parse_peer(peer)?);
    }
    let mut peers = peers.into_iter();
    let first = peers.next().ok_or_else(|| fields.error("peers", "must have an entry"))?;
    let config = AgentConfig {
        interface: fields.opt_meant("interface", interface)?,
        address: fields.meant("address", unicast)?,
        listen_port: fields.opt_int("listen_port", 1..=65535)?.unwrap_or(LISTEN_PORT),
        mtu: fields.opt_int("mtu", 576..=9200)?.unwrap_or(crate::host::config::MTU),
        api_port: fields.opt_int("api_port", 1..=65535)?.unwrap_or(crate::rpc::API_PORT),
        token: fields.meant("token", token)?,
        state_dir: fields.opt_meant("state_dir", directory)?.unwrap_or(STATE_DIR.into()),
        first,
        others: peers.collect(),
        private_key,
    };
    config.check(&fields)?;
    fields.finish()?;
    Ok(config)
}

fn parse_peer(mut fields: Fields) -> Result<Peer, ReadError> {
    // For people who read the file; nothing here uses it.
    fields.opt_string("name")?;
    let peer = Peer {
        public_key: fields.meant("public_key", |text| key(text).map(|key| *key))?,
        preshared_key: fields.opt_meant("preshared_key", key)?,
        address: fields.meant("address", unicast)?,
    };
    fields.finish()?;
    Ok(peer)
}

fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("must be an absolute path".to_owned()) }
}

/// The names the helper gives out.
fn interface(text: &str) -> Result<String, String> {
    let number = text.strip_prefix("hopbox").or_else(|| text.strip_prefix("wg")).unwrap_or("");
    let digits =
        (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (number == "0" || !number.starts_with('0')) {
        return Ok(text.to_owned());
    }
    Err("must be wg or hopbox and a number, such as wg0".to_owned())
}

impl AgentConfig {
    /// The peer whose address the interface is given a route to.
    pub fn first_peer(&self) -> Ipv4Addr {
        self.first.address
    }

    pub fn tunnel(&self) -> tunnel::Config {
        let peers = self.peers().map(|peer| PeerConfig {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key.as_ref().map(|key| **key),
            endpoint: None,
            allowed_ips: vec![(peer.address.into(), 32)],
            persistent_keepalive: 0,
        });
        let (private_key, listen_port) = (*self.private_key, self.listen_port);
        let stamps = Some(self.state_dir.join("agent.stamp"));
        tunnel::Config { private_key, listen_port, peers: peers.collect(), stamps }
    }

    fn peers(&self) -> impl Iterator<Item = &Peer> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Addresses and keys must differ: WireGuard would silently take them from the earlier peer.
    fn check(&self, fields: &Fields) -> Result<(), ReadError> {
        for (place, peer) in self.peers().enumerate() {
            let at = format!("peers[{place}]");
            if peer.address == self.address {
                return Err(fields.error(&format!("{at}.address"), "is the agent's own address"));
            }
            for earlier in self.peers().take(place) {
                if earlier.address == peer.address {
                    return Err(fields.error(&format!("{at}.address"), "belongs to another peer"));
                }
                if earlier.public_key == peer.public_key {
                    return Err(fields.error(&format!("{at}.public_key"), "occurs twice"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const A: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const B: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn sample() -> Value {
        json!({
            "version": 1, "address": "10.10.0.2", "token": "t".repeat(64),
            "peers": [{"name": "laptop", "public_key": A, "address": "10.10.0.1"}],
        })
    }

    fn read(value: &Value) -> Result<AgentConfig, ReadError> {
        parse(&value.to_string(), Zeroizing::new([7; 32]))
    }

    #[test]
    fn defaults_and_several_peers() {
        let mut value = sample();
        let second = json!({"public_key": B, "preshared_key": A, "address": "10.10.0.3"});
        value["peers"].as_array_mut().unwrap().push(second);
        let config = read(&value).unwrap();
        assert_eq!((config.listen_port, config.mtu, config.api_port), (51820, 1420, 4200));
        assert_eq!(config.interface, None);
        assert_eq!(config.first_peer(), Ipv4Addr::new(10, 10, 0, 1));
        assert_eq!(config.tunnel().peers.len(), 2);
    }

    #[test]
    fn every_fault_names_its_key() {
        let second = |peer: Value| {
            let mut peers = sample()["peers"].clone();
            peers.as_array_mut().unwrap().push(peer);
            peers
        };
        let table = [
            ("version", json!(2), "version"),
            ("peers", json!([]), "peers"),
            (
                "peers",
                second(json!({"public_key": A, "address": "10.10.0.3"})),
                "peers[1].public_key",
            ),
            ("peers", second(json!({"public_key": B, "address": "10.10.0.1"})), "peers[1].address"),
            ("peers", second(json!({"public_key": B, "address": "10.10.0.2"})), "peers[1].address"),
            (
                "peers",
                second(json!({"public_key": B, "x": 1, "address": "10.10.0.4"})),
                "peers[1].x",
            ),
            ("interface", json!("eth0"), "interface"),
            ("interface", json!("wg00"), "interface"),
            ("address", json!("0.0.0.0"), "address"),
            ("listen_port", json!(0), "listen_port"),
            ("token", json!("short"), "token"),
            ("extra", json!(1), "extra"),
        ];
        for (field, value, expected) in table {
            let mut file = sample();
            file[field] = value.clone();
            let error = read(&file).err().unwrap_or_else(|| panic!("{field} {value} accepted"));
            assert_eq!(error.key, expected, "{field} {value}: {error}");
        }
    }
}
