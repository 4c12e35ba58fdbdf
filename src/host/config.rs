//! Host files (`hosts/<name>.json`) and the choice of the default host (`config.json`).
//!
//! Written by `hop setup`, read by everything else. Strict: an unknown key, a wrong type or an
//! impossible address is an error that names the file and the key, never a default.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::paths::Paths;
use super::renewal;
use crate::base::address_plan::{self, MTU, Numbers, Uses, check_pair};
use crate::base::failure::{Failure, Fault};
use crate::base::field::{absolute, check_name, key, login, ssh_address, token, unicast};
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, KEY_BYTES, Secret};
use crate::fix;

pub const SCHEMA: u32 = 1;
pub const KEEPALIVE_S: u16 = 25;

/// Most hosts a user can have; the address plan numbers them 0 to 255.
const HOSTS: usize = 256;
/// Where a VPS answers WireGuard: a DNS name or an address, and a UDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

/// One host file. Holds the API token and the preshared key, so it has no `Debug`.
#[derive(Clone)]
pub struct HostConfig {
    pub name: String,
    pub endpoint: Endpoint,
    /// The VPS's WireGuard public key.
    pub public_key: [u8; KEY_BYTES],
    pub preshared_key: Option<Secret>,
    /// The laptop's address inside the tunnel.
    pub local_ip: Ipv4Addr,
    /// The VPS's address inside the tunnel.
    pub peer_ip: Ipv4Addr,
    /// N of the address pair 10.10.N.1 and 10.10.N.2.
    pub number: u8,
    pub mtu: u16,
    pub keepalive_s: u16,
    pub api_port: u16,
    pub token: Zeroizing<String>,
    /// Login on the VPS, and the SSH key file for it.
    pub user: Option<String>,
    pub identity: Option<String>,
    /// How ssh reaches the VPS beside the tunnel; `None` where setup did not go over SSH.
    pub ssh: Option<Ssh>,
}

/// What setup was told, and learned, about SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// As given to setup: an address, a name, or an alias of the user's ssh configuration.
    pub address: String,
    /// `None`: what the user's ssh configuration says.
    pub port: Option<u16>,
    /// The port on which the VPS's sshd listens, for connections through the tunnel.
    pub listens: u16,
    /// The login's home directory on the VPS.
    pub home: Option<String>,
    /// What the address stood for, if it was an alias.
    pub hostname: Option<String>,
}

/// The names of all hosts, sorted.
pub fn names(paths: &Paths) -> Result<Vec<String>, Failure> {
    let dir = paths.hosts_dir();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io("list", &dir, &error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(4 * HOSTS) {
        let entry = entry.map_err(|error| Failure::io("list", &dir, &error))?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        if check_name(name).is_ok() {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What this laptop can use for `host`, with what belongs to it already.
pub fn numbers(paths: &Paths, host: &str) -> Result<Numbers, Failure> {
    let (mut taken, mut own) = (BTreeSet::new(), None);
    for name in names(paths)? {
        let number = load(paths, &name)?.number;
        if name == host {
            own = Some(number);
        } else {
            taken.insert(number);
        }
    }
    Ok(address_plan::choose(taken, own, &Uses::here()))
}

/// Reads one host file; its name must be the name inside it.
pub fn load(paths: &Paths, name: &str) -> Result<HostConfig, Failure> {
    if let Err(why) = check_name(name) {
        return Err(Failure::new(Fault::Config, format!("no host {name:?}"), why, "hop host ls"));
    }
    renewal::settle(paths, name)?;
    let path = paths.host_file(name);
    let text = file::read_private(&path)?;
    let host = parse(&text).map_err(|error| match is_newer(&text) {
        true => Failure { fault: Fault::Newer, ..fault(&path, &error) },
        false => fault(&path, &error),
    })?;
    if host.name != name {
        let error = ReadError { key: "name".to_owned(), why: format!("must be {name:?} here") };
        return Err(fault(&path, &error));
    }
    Ok(host)
}

/// Whether the text names a later form than ours. One that names none is damaged.
fn is_newer(text: &str) -> bool {
    let version = Fields::parse(text).ok().and_then(|mut fields| fields.take("version")?.as_u64());
    version.is_some_and(|version| version > u64::from(SCHEMA))
}

/// Writes one host file, atomically. What could not be read back is not written.
pub fn save(paths: &Paths, host: &HostConfig) -> Result<(), Failure> {
    paths.ensure_config()?;
    let path = paths.host_file(&host.name);
    check(&path, host)?;
    let text = Zeroizing::new(format!("{:#}\n", to_json(host)));
    file::replace(&path, text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))
}

/// Whether a host, part of which a server may have said, is one that a file of ours can hold.
pub(super) fn check(path: &Path, host: &HostConfig) -> Result<(), Failure> {
    let read = Fields::of(to_json(host), "").and_then(read);
    read.map(drop).map_err(|error| fault(path, &error))
}

/// Removes all files of a host, which begin with its name and a dot; those of its own directory
/// last, so that it can be tried again by name.
pub fn forget(paths: &Paths, name: &str) -> Result<Vec<String>, Failure> {
    let (keys, tunnels, hosts) = (paths.keys_dir(), paths.tunnels_dir(), paths.hosts_dir());
    let dirs = [keys.as_path(), &tunnels].into_iter().chain(paths.session_places());
    let mut removed = Vec::new();
    for dir in dirs.chain([hosts.as_path()]) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, file) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            // Also what a write that was cut off left.
            let file = file.strip_prefix('.').unwrap_or(&file);
            if !file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path.display().to_string()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::io("remove", &path, &error)),
            }
        }
    }
    Ok(removed)
}

/// The default host named in `config.json`, if any.
pub fn default_host(paths: &Paths) -> Result<Option<String>, Failure> {
    let path = paths.config_file();
    let text = match file::read_private(&path) {
        Err(error) if error.fault == Fault::NotFound => return Ok(None),
        other => other?,
    };
    let read = || {
        let mut fields = Fields::parse(&text)?;
        fields.int::<u32>("version", SCHEMA..=SCHEMA)?;
        let name = fields.opt_meant("default_host", named)?;
        fields.finish()?;
        Ok(name)
    };
    read().map_err(|error| fault(&path, &error))
}

/// Makes `name` the default host, or no host with `None`.
pub fn set_default_host(paths: &Paths, name: Option<&str>) -> Result<(), Failure> {
    paths.ensure_config()?;
    let path = paths.config_file();
    let mut fields = Map::new();
    fields.insert("version".to_owned(), json!(SCHEMA));
    if let Some(name) = name {
        fields.insert("default_host".to_owned(), json!(name));
    }
    let text = format!("{:#}\n", Value::Object(fields));
    file::replace(&path, text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))
}

fn parse(text: &str) -> Result<HostConfig, ReadError> {
    read(Fields::parse(text)?)
}

/// The fields of a host file, which may be part of another.
pub(super) fn read(mut fields: Fields) -> Result<HostConfig, ReadError> {
    fields.int::<u32>("version", SCHEMA..=SCHEMA)?;
    let host = HostConfig {
        name: fields.meant("name", named)?,
        endpoint: fields.meant("endpoint", Endpoint::parse)?,
        public_key: fields.meant("public_key", |text| key(text).map(|key| *key))?,
        preshared_key: fields.opt_meant("preshared_key", key)?,
        local_ip: fields.meant("local_ip", unicast)?,
        peer_ip: fields.meant("peer_ip", unicast)?,
        number: fields.int("number", 0..=255)?,
        mtu: fields.opt_int("mtu", 576..=9200)?.unwrap_or(MTU),
        keepalive_s: fields.opt_int("keepalive_s", 0..=65535)?.unwrap_or(KEEPALIVE_S),
        api_port: fields.opt_int("api_port", 1..=65535)?.unwrap_or(crate::rpc::API_PORT),
        token: fields.meant("token", token)?,
        user: fields.opt_meant("user", login)?,
        identity: fields.opt_meant("identity", absolute)?,
        ssh: fields.opt_object("ssh")?.map(parse_ssh).transpose()?,
    };
    check_pair(&fields, host.number, ("peer_ip", host.peer_ip), ("local_ip", host.local_ip))?;
    fields.finish()?;
    Ok(host)
}

fn parse_ssh(mut fields: Fields) -> Result<Ssh, ReadError> {
    let ssh = Ssh {
        address: fields.meant("address", ssh_address)?,
        port: fields.opt_int("port", 1..=65535)?,
        listens: fields.opt_int("listens", 1..=65535)?.unwrap_or(22),
        home: fields.opt_meant("home", absolute)?,
        hostname: fields.opt_meant("hostname", ssh_address)?,
    };
    fields.finish()?;
    Ok(ssh)
}

fn ssh_json(ssh: &Ssh) -> Value {
    let mut value = json!({"address": ssh.address, "listens": ssh.listens});
    if let Some(port) = ssh.port {
        value["port"] = port.into();
    }
    if let Some(home) = &ssh.home {
        value["home"] = home.clone().into();
    }
    if let Some(hostname) = &ssh.hostname {
        value["hostname"] = hostname.clone().into();
    }
    value
}

pub(super) fn to_json(host: &HostConfig) -> Value {
    let mut value = json!({
        "version": SCHEMA,
        "name": host.name,
        "endpoint": host.endpoint.to_string(),
        "public_key": key::encode(&host.public_key).as_str(),
        "local_ip": host.local_ip.to_string(),
        "peer_ip": host.peer_ip.to_string(),
        "number": host.number,
        "mtu": host.mtu,
        "keepalive_s": host.keepalive_s,
        "api_port": host.api_port,
        "token": host.token.as_str(),
    });
    if let Value::Object(fields) = &mut value {
        let preshared = host.preshared_key.as_ref().map(|key| key::encode(key).to_string());
        let user = host.user.clone();
        let optional =
            [("preshared_key", preshared), ("user", user), ("identity", host.identity.clone())];
        for (key, text) in optional {
            if let Some(text) = text {
                fields.insert(key.to_owned(), Value::String(text));
            }
        }
        if let Some(ssh) = &host.ssh {
            fields.insert("ssh".to_owned(), ssh_json(ssh));
        }
    }
    value
}

pub(super) fn fault(path: &Path, error: &ReadError) -> Failure {
    let what = format!("{} is not valid", path.display());
    Failure::new(Fault::Config, what, error.to_string(), fix!("$EDITOR {}", path))
}

fn named(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

impl Endpoint {
    /// Reads `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let wrong = || format!("must be host:port, such as 203.0.113.7:51820, not {text:?}");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let fits = match host.parse::<IpAddr>() {
            Ok(ip) => ip.is_ipv6() == bracketed.is_some() && !ip.is_unspecified(),
            Err(_) => bracketed.is_none() && is_dns_name(host),
        };
        if fits { Ok(Endpoint { host: host.to_owned(), port }) } else { Err(wrong()) }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Endpoint { host, port } = self;
        if host.contains(':') {
            write!(out, "[{host}]:{port}")
        } else {
            write!(out, "{host}:{port}")
        }
    }
}

/// A name the resolver may be asked for. The last label must hold a letter: `1.2.3` and `10.1` are
/// mistyped addresses, and some resolvers would accept them.
fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last_is_word = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()));
    text.len() <= 253 && text.split('.').all(label) && last_is_word
}

#[cfg(test)]
mod tests;
