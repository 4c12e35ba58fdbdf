//! What methods are told and answer. Between rooms these types are what crosses; JSON is for the
//! wire. A request is read strictly; of an answer what is needed, so that later agents may add.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::base::field;
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, KEY_BYTES, Secret};

pub mod bridge;
pub mod details;
pub mod firewall;
pub mod health;
pub mod logs;
pub mod migration;
pub mod ports;
pub mod run;
pub mod running;
pub mod server;
pub mod services;
pub mod snap;
pub mod workspace;

pub type PublicKey = [u8; KEY_BYTES];

/// More laptops than any agent has.
const PEERS: usize = 1024;

/// Something that crosses as a JSON object.
pub trait Message: Sized {
    fn to_json(&self) -> Value;
    fn read(fields: &mut Fields) -> Result<Self, ReadError>;

    /// As a request is read: nothing is left over.
    fn read_strictly(mut fields: Fields) -> Result<Self, ReadError> {
        let read = Self::read(&mut fields)?;
        fields.finish().map(|()| read)
    }

    /// As an answer is read.
    fn of(value: Value) -> Result<Self, ReadError> {
        Self::read(&mut Fields::of(value, "")?)
    }
}

fn to_list<T: Message>(all: &[T]) -> Vec<Value> {
    all.iter().map(T::to_json).collect()
}

/// Of so many at most.
fn read_list<T: Message>(fields: &mut Fields, key: &str, most: usize) -> Result<Vec<T>, ReadError> {
    fields.objects(key, most)?.into_iter().map(|mut one| T::read(&mut one)).collect()
}

fn public(text: &str) -> Result<PublicKey, String> {
    field::key(text).map(|key| *key)
}

fn shown(key: &PublicKey) -> String {
    key::encode(key).to_string()
}

/// A text with a meaning, or `null`, or nothing.
fn opt_meant<T>(
    fields: &mut Fields,
    name: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, ReadError> {
    match fields.take(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => read(&text).map(Some).map_err(|why| fields.error(name, why)),
        Some(_) => Err(fields.error(name, "must be a string or null")),
    }
}

fn opt_number(fields: &mut Fields, name: &str) -> Result<Option<u64>, ReadError> {
    match fields.take(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(fields.error(name, "must be a whole number or null")),
        },
    }
}

fn any(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nothing;

impl Message for Nothing {
    fn to_json(&self) -> Value {
        json!({})
    }

    fn read(_: &mut Fields) -> Result<Nothing, ReadError> {
        Ok(Nothing)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub version: String,
    /// The process with the login's rights, where it answers. Older agents have none.
    pub work: Option<WorkProcess>,
}

impl Message for Version {
    fn to_json(&self) -> Value {
        json!({"version": self.version, "work": self.work.as_ref().map(WorkProcess::to_json)})
    }

    fn read(fields: &mut Fields) -> Result<Version, ReadError> {
        let work = match fields.take("work") {
            None | Some(Value::Null) => None,
            Some(work) => Some(WorkProcess::of(work)?),
        };
        Ok(Version { version: fields.string("version")?, work })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkProcess {
    pub version: String,
    pub pid: u32,
}

impl Message for WorkProcess {
    fn to_json(&self) -> Value {
        json!({"version": self.version, "pid": self.pid})
    }

    fn read(fields: &mut Fields) -> Result<WorkProcess, ReadError> {
        let pid = fields.int("pid", 1..=u32::MAX)?;
        Ok(WorkProcess { version: fields.string("version")?, pid })
    }
}

/// How often the time is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub interval_ms: u64,
    pub count: u32,
}

impl Message for Clock {
    fn to_json(&self) -> Value {
        json!({"interval_ms": self.interval_ms, "count": self.count})
    }

    fn read(fields: &mut Fields) -> Result<Clock, ReadError> {
        let interval_ms = fields.int("interval_ms", 10..=3_600_000)?;
        Ok(Clock { interval_ms, count: fields.int("count", 1..=u32::MAX)? })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// From 1 on.
    pub n: u32,
    pub unix_ms: u64,
}

impl Message for Tick {
    fn to_json(&self) -> Value {
        json!({"n": self.n, "unix_ms": self.unix_ms})
    }

    fn read(fields: &mut Fields) -> Result<Tick, ReadError> {
        Ok(Tick {
            n: fields.int("n", 1..=u32::MAX)?,
            unix_ms: fields.int("unix_ms", 0..=u64::MAX)?,
        })
    }
}

/// A laptop in a list. No secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    pub name: String,
    pub public_key: PublicKey,
    /// During a rotation, the key that is to take the place of that one.
    pub next_key: Option<PublicKey>,
    pub address: Ipv4Addr,
    /// The agent's key that it knows; no agent of an older release says it.
    pub agent_key: Option<PublicKey>,
    /// What the tunnel knows of it, where one runs.
    pub seen: Option<Seen>,
}

/// What a tunnel knows of a laptop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub endpoint: Option<String>,
    pub last_handshake_age_s: Option<u64>,
    pub last_handshake_unix_us: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

impl PeerView {
    pub fn has_key(&self, key: &PublicKey) -> bool {
        self.public_key == *key || self.next_key == Some(*key)
    }

    /// Whether it is what a user means by this.
    pub fn is_called(&self, which: &str) -> bool {
        self.name == which || field::key(which).is_ok_and(|key| self.has_key(&key))
    }
}

impl Message for PeerView {
    fn to_json(&self) -> Value {
        let mut entry = json!({
            "name": self.name,
            "public_key": shown(&self.public_key),
            "next_key": self.next_key.as_ref().map(shown),
            "address": self.address.to_string(),
            "agent_key": self.agent_key.as_ref().map(shown),
        });
        if let Some(seen) = &self.seen {
            entry["endpoint"] = json!(seen.endpoint);
            entry["last_handshake_age_s"] = json!(seen.last_handshake_age_s);
            entry["last_handshake_unix_us"] = json!(seen.last_handshake_unix_us);
            entry["rx_bytes"] = json!(seen.rx_bytes);
            entry["tx_bytes"] = json!(seen.tx_bytes);
        }
        entry
    }

    fn read(fields: &mut Fields) -> Result<PeerView, ReadError> {
        let seen = match opt_number(fields, "rx_bytes")? {
            None => None,
            Some(rx_bytes) => Some(Seen {
                endpoint: opt_meant(fields, "endpoint", any)?,
                last_handshake_age_s: opt_number(fields, "last_handshake_age_s")?,
                last_handshake_unix_us: opt_number(fields, "last_handshake_unix_us")?,
                rx_bytes,
                tx_bytes: opt_number(fields, "tx_bytes")?.unwrap_or_default(),
            }),
        };
        Ok(PeerView {
            name: fields.string("name")?,
            public_key: fields.meant("public_key", public)?,
            next_key: opt_meant(fields, "next_key", public)?,
            address: fields.parsed("address", "an IPv4 address")?,
            agent_key: opt_meant(fields, "agent_key", public)?,
            seen,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    pub peers: Vec<PeerView>,
    /// The caller's public key as it is listed: during a rotation, the one before.
    pub you: Option<PublicKey>,
}

impl Message for Peers {
    fn to_json(&self) -> Value {
        json!({"peers": to_list(&self.peers), "you": self.you.as_ref().map(shown)})
    }

    fn read(fields: &mut Fields) -> Result<Peers, ReadError> {
        Ok(Peers {
            peers: read_list(fields, "peers", PEERS)?,
            you: opt_meant(fields, "you", public)?,
        })
    }
}

/// What the server's end of a tunnel is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TunnelMode {
    /// A device of the kernel's: the server has the tunnel address.
    #[default]
    Kernel,
    /// No device may be had, so the agent answers for the address.
    Userspace { why: String },
}

impl TunnelMode {
    pub fn word(&self) -> &'static str {
        match self {
            TunnelMode::Kernel => "kernel",
            TunnelMode::Userspace { .. } => "userspace",
        }
    }

    /// As an agent says it; one that does not is of a time when there was only the kernel's.
    pub fn read(fields: &mut Fields) -> TunnelMode {
        let mut text = |key: &str| fields.take(key).and_then(|v| v.as_str().map(str::to_owned));
        let (mode, why) = (text("tunnel_mode"), text("tunnel_why"));
        match mode.as_deref() {
            Some("userspace") => TunnelMode::Userspace { why: why.unwrap_or_default() },
            _ => TunnelMode::Kernel,
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            TunnelMode::Kernel => None,
            TunnelMode::Userspace { why } => Some(why),
        }
    }
}

/// Everything that can be known without a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub hop_version: String,
    pub pid: u32,
    pub interface: String,
    pub tunnel_mode: TunnelMode,
    pub agent_address: Ipv4Addr,
    pub listen_port: u16,
    /// The second port, while it is listened at.
    pub second_port: Option<u16>,
    pub api_port: u16,
    pub public_key: PublicKey,
    /// Whether anything at all has come from outside.
    pub heard: bool,
    pub refused_datagrams: u64,
    pub peers: Vec<PeerView>,
    /// Packets that went nowhere, by reason.
    pub drops: BTreeMap<String, u64>,
    /// What became of the tunnel's port in the firewall; nothing before that is known, nor from
    /// older agents.
    pub firewall: Option<firewall::Opened>,
}

impl Message for Status {
    fn to_json(&self) -> Value {
        let mut value = json!({
            "version": 1,
            "hop_version": self.hop_version,
            "running": true,
            "pid": self.pid,
            "interface": self.interface,
            "tunnel_mode": self.tunnel_mode.word(),
            "tunnel_why": self.tunnel_mode.why(),
            "agent_address": self.agent_address.to_string(),
            "listen_port": self.listen_port,
            "api_port": self.api_port,
            "public_key": shown(&self.public_key),
            "heard": self.heard,
            "refused_datagrams": self.refused_datagrams,
            "peers": to_list(&self.peers),
            "drops": self.drops,
            "firewall": self.firewall.as_ref().map(Message::to_json),
        });
        if let Some(port) = self.second_port {
            value["second_port"] = port.into();
        }
        value
    }

    fn read(fields: &mut Fields) -> Result<Status, ReadError> {
        let drops = match fields.take("drops") {
            Some(Value::Object(drops)) => drops,
            _ => Map::new(),
        };
        let firewall = match fields.take("firewall") {
            None | Some(Value::Null) => None,
            Some(told) => Some(firewall::Opened::of(told)?),
        };
        let number = |(why, count): (String, Value)| Some((why, count.as_u64()?));
        Ok(Status {
            hop_version: fields.string("hop_version")?,
            pid: fields.int("pid", 1..=u32::MAX)?,
            interface: fields.string("interface")?,
            tunnel_mode: TunnelMode::read(fields),
            agent_address: fields.parsed("agent_address", "an IPv4 address")?,
            listen_port: fields.int("listen_port", 0..=65535)?,
            second_port: fields.opt_int("second_port", 1..=65535)?,
            api_port: fields.int("api_port", 1..=65535)?,
            public_key: fields.meant("public_key", public)?,
            heard: fields.bool("heard")?,
            refused_datagrams: fields.int("refused_datagrams", 0..=u64::MAX)?,
            peers: read_list(fields, "peers", PEERS)?,
            drops: drops.into_iter().filter_map(number).collect(),
            firewall,
        })
    }
}

pub struct AddPeer {
    pub public_key: PublicKey,
    pub name: String,
}

impl Message for AddPeer {
    fn to_json(&self) -> Value {
        json!({"public_key": shown(&self.public_key), "name": self.name})
    }

    fn read(fields: &mut Fields) -> Result<AddPeer, ReadError> {
        Ok(AddPeer {
            public_key: fields.meant("public_key", public)?,
            name: fields.meant("name", field::label)?,
        })
    }
}

/// By its name or one of its public keys.
pub struct RemovePeer {
    pub peer: String,
}

impl Message for RemovePeer {
    fn to_json(&self) -> Value {
        json!({"peer": self.peer})
    }

    fn read(fields: &mut Fields) -> Result<RemovePeer, ReadError> {
        Ok(RemovePeer { peer: fields.string("peer")? })
    }
}

/// A laptop that is locked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub name: String,
    pub public_key: PublicKey,
    pub address: Ipv4Addr,
}

impl Message for Gone {
    fn to_json(&self) -> Value {
        let Gone { name, public_key, address } = self;
        json!({"name": name, "public_key": shown(public_key), "address": address.to_string()})
    }

    fn read(fields: &mut Fields) -> Result<Gone, ReadError> {
        Ok(Gone {
            name: fields.string("name")?,
            public_key: fields.meant("public_key", public)?,
            address: fields.parsed("address", "an IPv4 address")?,
        })
    }
}

pub struct Rotate {
    pub public_key: PublicKey,
    /// May be left out by a laptop: it is its own.
    pub old: Option<PublicKey>,
}

impl Message for Rotate {
    fn to_json(&self) -> Value {
        let mut value = json!({"public_key": shown(&self.public_key)});
        if let Some(old) = &self.old {
            value["old"] = json!(shown(old));
        }
        value
    }

    fn read(fields: &mut Fields) -> Result<Rotate, ReadError> {
        Ok(Rotate {
            public_key: fields.meant("public_key", public)?,
            old: fields.opt_meant("old", public)?,
        })
    }
}

/// What a laptop must know to use its pair. Holds secrets, so it has no `Debug`.
#[derive(Clone)]
pub struct Pair {
    pub name: String,
    pub agent_public_key: PublicKey,
    pub preshared_key: Option<Secret>,
    pub token: Zeroizing<String>,
    pub laptop_address: Ipv4Addr,
}

impl Message for Pair {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "agent_public_key": shown(&self.agent_public_key),
            "preshared_key": self.preshared_key.as_ref().map(|key| key::encode(key).to_string()),
            "token": self.token.as_str(),
            "laptop_address": self.laptop_address.to_string(),
        })
    }

    fn read(fields: &mut Fields) -> Result<Pair, ReadError> {
        Ok(Pair {
            name: fields.string("name")?,
            agent_public_key: fields.meant("agent_public_key", public)?,
            preshared_key: opt_meant(fields, "preshared_key", field::key)?,
            token: fields.meant("token", field::token)?,
            laptop_address: fields.meant("laptop_address", field::unicast)?,
        })
    }
}

/// The pair of a laptop that was added, or was there.
pub struct Added {
    pub pair: Pair,
    pub created: bool,
}

impl Message for Added {
    fn to_json(&self) -> Value {
        let mut value = self.pair.to_json();
        value["created"] = json!(self.created);
        value
    }

    fn read(fields: &mut Fields) -> Result<Added, ReadError> {
        Ok(Added { created: fields.bool("created")?, pair: Pair::read(fields)? })
    }
}
