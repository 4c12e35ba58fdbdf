//! The agent's file, `agent.json`, and its private keys beside it. Strict, as the laptop's files.
//!
//! Version 2 gives each laptop a token of its own, and names the public key of ours that it knows.
//! Version 1, with one token and one key for all, is read, and written as version 2.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::names::{self, Names};
use super::{location, read_checked};
use crate::base::address_plan::{LISTEN_PORT, MTU};
use crate::base::failure::{Failure, Fault};
use crate::base::field::{self, key, token, unicast};
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, KEY_BYTES, Secret};
use crate::fix;
use crate::rpc::types::{Gone, Pair, PeerView};
use crate::sys::process;
use crate::tunnel::{self, PathMtu, PeerConfig};

const SCHEMA: u32 = 2;
pub const KEY_FILE: &str = "agent.key";
/// The key before the last rotation, which laptops that were not there may still know.
pub const OLD_KEY_FILE: &str = "agent.key.bak";
/// The key of a rotation that no laptop has confirmed yet.
pub const NEW_KEY_FILE: &str = "agent.key.new";
/// Laptops of one VPS.
pub const PEERS: usize = 64;
/// All of them are in one /24 with the agent.
pub const PREFIX: u8 = 24;

/// Everything the agent is told. Holds tokens and keys, so it has no `Debug`.
#[derive(Clone)]
pub struct AgentConfig {
    /// `None`: `wg0` if that is free, else a name of the helper's choice.
    pub interface: Option<String>,
    pub address: Ipv4Addr,
    pub listen_port: u16,
    /// One more that is listened at, for networks that let out no other.
    pub second_port: Option<u16>,
    pub mtu: u16,
    pub api_port: u16,
    /// Where the files are, and what outlives a restart.
    pub state_dir: PathBuf,
    pub peers: Vec<Peer>,
    /// What laptops call this server, by their addresses.
    pub names: Names,
    /// What is in `agent.key`, and whichever of the other key files there are.
    pub keys: Keys,
}

/// One laptop.
#[derive(Clone)]
pub struct Peer {
    pub name: String,
    pub public_key: [u8; KEY_BYTES],
    pub preshared_key: Option<Secret>,
    pub address: Ipv4Addr,
    pub token: Zeroizing<String>,
    /// Our public key, as this laptop knows it.
    pub agent_key: [u8; KEY_BYTES],
    /// The peer that this one takes the place of once it has been heard: a rotation under way.
    pub replaces: Option<[u8; KEY_BYTES]>,
}

/// Our key pairs, the current one first.
#[derive(Clone, Default)]
pub struct Keys(Vec<(Secret, [u8; KEY_BYTES])>);

impl Keys {
    pub fn new(current: Secret) -> Keys {
        let mut keys = Keys(Vec::with_capacity(3));
        keys.push(current);
        keys
    }

    pub fn push(&mut self, private: Secret) {
        let public = tunnel::public_key(&private);
        if !self.has(&public) {
            self.0.push((private, public));
        }
    }

    /// The public key of what is in `agent.key`.
    pub fn current(&self) -> [u8; KEY_BYTES] {
        self.0.first().map(|(_, public)| *public).unwrap_or_default()
    }

    fn has(&self, public: &[u8; KEY_BYTES]) -> bool {
        self.0.iter().any(|(_, known)| known == public)
    }
}

/// Reads the file and the keys beside it: the agent what is its own or root's; root what is
/// anybody's.
pub fn load(path: &Path) -> Result<AgentConfig, Failure> {
    let own = Some(process::uid()).filter(|_| !process::is_root());
    let (text, owner) = read_checked::read(path, own).map_err(refuse)?;
    let key = |name: &str| read_checked::key(&path.with_file_name(name), own.unwrap_or(owner));
    let invalid = |error: ReadError| {
        let what = format!("{} is not valid", path.display());
        Failure::new(Fault::Usage, &what, error.to_string(), fix!("sudo ${EDITOR:-vi} {}", path))
    };
    let mut keys = Keys::new(key(KEY_FILE).map_err(refuse)?);
    let (current, mut others) = (keys.current(), Vec::new());
    for name in [NEW_KEY_FILE, OLD_KEY_FILE] {
        match key(name) {
            Ok(key) => keys.push(key),
            Err(error) if error.fault == Fault::NotFound => {}
            Err(error) => others.push(error),
        }
    }
    let mut config = parse(&text, current).map_err(invalid)?;
    config.state_dir = location::state_of(path);
    config.names = names::load(&config.state_dir, own.unwrap_or(owner));
    // Of the laptops that there are.
    let peers = &config.peers;
    config.names.retain(|address, _| peers.iter().any(|peer| peer.address == *address));
    // A damaged key matters if a laptop still needs it.
    if let Some(lost) = config.peers.iter().find(|peer| !keys.has(&peer.agent_key)) {
        return Err(match others.pop() {
            Some(error) => refuse(error),
            None => {
                let what = format!("no key file has the key that {} knows", lost.name);
                let why = format!("{} names a key that is gone", path.display());
                let next = fix!("sudo ${EDITOR:-vi} {}", path);
                Failure::new(Fault::Usage, &what, why, next)
            }
        });
    }
    let used = |public: &[u8; KEY_BYTES]| config.peers.iter().any(|p| p.agent_key == *public);
    keys.0.retain(|(_, public)| *public == current || used(public));
    config.keys = keys;
    Ok(config)
}

/// Files that cannot be used: systemd need not try again.
pub fn refuse(error: Failure) -> Failure {
    Failure { fault: Fault::Config, ..error }
}

fn parse(text: &str, current: [u8; KEY_BYTES]) -> Result<AgentConfig, ReadError> {
    let mut fields = Fields::parse(text)?;
    let version = fields.int::<u32>("version", 1..=SCHEMA)?;
    let shared = if version == 1 { Some(fields.meant("token", token)?) } else { None };
    let mut peers = Vec::new();
    for peer in fields.objects("peers", PEERS)? {
        peers.push(parse_peer(peer, shared.as_ref(), current)?);
    }
    if version == 1 && peers.is_empty() {
        return Err(fields.error("peers", "must have an entry"));
    }
    // Of an older release, which kept its state elsewhere than its files.
    fields.take("state_dir");
    let config = AgentConfig {
        interface: fields.opt_meant("interface", interface)?,
        address: fields.meant("address", unicast)?,
        listen_port: fields.opt_int("listen_port", 1..=65535)?.unwrap_or(LISTEN_PORT),
        second_port: fields.opt_int("second_port", 1..=65535)?,
        mtu: fields.opt_int("mtu", 576..=9200)?.unwrap_or(MTU),
        api_port: fields.opt_int("api_port", 1..=65535)?.unwrap_or(crate::rpc::API_PORT),
        state_dir: location::DIR.into(),
        peers,
        names: Names::new(),
        keys: Keys(Vec::new()),
    };
    config.check(&fields)?;
    fields.finish()?;
    Ok(config)
}

/// Whether [`load`] would take the text.
pub fn check_text(text: &str, current: [u8; KEY_BYTES]) -> Result<(), ReadError> {
    parse(text, current).map(drop)
}

/// `shared` is the token of version 1, where laptops had none of their own.
fn parse_peer(
    mut fields: Fields,
    shared: Option<&Zeroizing<String>>,
    current: [u8; KEY_BYTES],
) -> Result<Peer, ReadError> {
    let public = |text: &str| key(text).map(|key| *key);
    let address = fields.meant("address", unicast)?;
    let peer = Peer {
        name: fields.opt_meant("name", field::label)?.unwrap_or_else(|| address.to_string()),
        public_key: fields.meant("public_key", public)?,
        preshared_key: fields.opt_meant("preshared_key", key)?,
        address,
        token: match shared {
            Some(token) => token.clone(),
            None => fields.meant("token", token)?,
        },
        agent_key: match shared {
            Some(_) => current,
            None => fields.meant("agent_key", public)?,
        },
        replaces: if shared.is_some() { None } else { fields.opt_meant("replaces", public)? },
    };
    fields.finish()?;
    Ok(peer)
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
    /// A host of the network that is not us: the helper is told a route through it.
    pub fn some_peer(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.address.octets();
        Ipv4Addr::new(a, b, c, if d == 1 { 2 } else { 1 })
    }

    pub fn tunnel(&self) -> tunnel::Config {
        let mut keys = self.keys.0.iter().map(|(private, _)| **private);
        tunnel::Config {
            private_key: keys.next().unwrap_or_default(),
            other_private_keys: keys.collect(),
            listen_port: self.listen_port,
            second_port: self.second_port,
            peers: self.peers.iter().map(|peer| self.in_tunnel(peer)).collect(),
            timestamp_file: Some(self.state_dir.join("agent.stamp")),
            // Laptops are to reach this machine.
            shield: None,
            path: PathMtu::Heed { own: self.address },
        }
    }

    /// A peer as the tunnel is told. One that is to replace another gets its address when it is
    /// heard: an address belongs to one peer.
    pub fn in_tunnel(&self, peer: &Peer) -> PeerConfig {
        let replaces = peer.replaces.filter(|old| self.peer(old).is_some());
        PeerConfig {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key.as_ref().map(|key| **key),
            own_public_key: Some(peer.agent_key),
            endpoint: None,
            inherits: replaces,
            allowed_ips: match replaces {
                Some(_) => Vec::new(),
                None => vec![(peer.address.into(), 32)],
            },
            persistent_keepalive: 0,
        }
    }

    /// The laptops, each with the entry that is to take the place of its own.
    pub fn laptops(&self) -> impl Iterator<Item = (&Peer, Option<&Peer>)> {
        let next = |old: &Peer| self.peers.iter().find(|p| p.replaces == Some(old.public_key));
        let first = |peer: &&Peer| peer.replaces.is_none_or(|old| self.peer(&old).is_none());
        self.peers.iter().filter(first).map(move |peer| (peer, next(peer)))
    }

    /// The laptop that has this key, or is to have it.
    pub fn laptop(&self, public: &[u8; KEY_BYTES]) -> Option<(&Peer, Option<&Peer>)> {
        let has = |peer: &Peer| peer.public_key == *public;
        self.laptops().find(|(peer, next)| has(peer) || next.is_some_and(has))
    }

    pub fn peer(&self, public: &[u8; KEY_BYTES]) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.public_key == *public)
    }

    /// Addresses and keys must differ: WireGuard would silently take them from the earlier peer.
    fn check(&self, fields: &Fields) -> Result<(), ReadError> {
        let net = |ip: Ipv4Addr| u32::from(ip) >> (32 - u32::from(PREFIX));
        for (place, peer) in self.peers.iter().enumerate() {
            let at = format!("peers[{place}]");
            if peer.address == self.address {
                return Err(fields.error(&format!("{at}.address"), "is the agent's own address"));
            }
            if net(peer.address) != net(self.address) {
                let why = format!("must be in the agent's own /{PREFIX}");
                return Err(fields.error(&format!("{at}.address"), why));
            }
            for earlier in self.peers.iter().take(place) {
                if earlier.public_key == peer.public_key {
                    return Err(fields.error(&format!("{at}.public_key"), "occurs twice"));
                }
                let follows = peer.replaces == Some(earlier.public_key);
                if earlier.address == peer.address && !follows {
                    return Err(fields.error(&format!("{at}.address"), "belongs to another peer"));
                }
            }
        }
        Ok(())
    }

    /// The text of the file, in the newest form. Holds secrets.
    pub fn to_text(&self) -> Zeroizing<String> {
        let peers: Vec<Value> = self.peers.iter().map(Peer::to_json).collect();
        let mut value = json!({
            "version": SCHEMA,
            "address": self.address.to_string(),
            "listen_port": self.listen_port,
            "mtu": self.mtu,
            "api_port": self.api_port,
            "peers": peers,
        });
        if let Value::Object(fields) = &mut value {
            if let Some(interface) = &self.interface {
                fields.insert("interface".to_owned(), json!(interface));
            }
            if let Some(port) = self.second_port {
                fields.insert("second_port".to_owned(), json!(port));
            }
        }
        Zeroizing::new(format!("{value:#}\n"))
    }
}

impl Peer {
    /// As it is listed, with the entry that is to take its place.
    pub fn view(&self, next: Option<&Peer>) -> PeerView {
        PeerView {
            name: self.name.clone(),
            public_key: self.public_key,
            next_key: next.map(|next| next.public_key),
            address: self.address,
            agent_key: Some(self.agent_key),
            seen: None,
        }
    }

    pub fn gone(&self) -> Gone {
        Gone { name: self.name.clone(), public_key: self.public_key, address: self.address }
    }

    /// It goes through the tunnel, or over SSH.
    pub fn pair(&self) -> Pair {
        Pair {
            name: self.name.clone(),
            agent_public_key: self.agent_key,
            preshared_key: self.preshared_key.clone(),
            token: self.token.clone(),
            laptop_address: self.address,
        }
    }

    fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |key: &str, text: &str| {
            fields.insert(key.to_owned(), Value::String(text.to_owned()));
        };
        put("name", &self.name);
        put("public_key", &key::encode(&self.public_key));
        put("address", &self.address.to_string());
        put("token", &self.token);
        put("agent_key", &key::encode(&self.agent_key));
        if let Some(key) = &self.preshared_key {
            put("preshared_key", &key::encode(key));
        }
        if let Some(old) = &self.replaces {
            put("replaces", &key::encode(old));
        }
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests;
