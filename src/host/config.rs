//! Host files (`hosts/<name>.json`) and the choice of the default host (`config.json`).
//!
//! Written by `hop setup`, read by everything else. Strict: an unknown key, a wrong type or an
//! impossible address is an error that names the file and the key, never a default.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::keys::{self, KEY_BYTES, Secret};
use super::paths::Paths;
use super::{Fault, HostError, Kind, atomic, check_name, renewal};
use crate::fix;
use crate::rpc::read::{Fields, ReadError};

pub const SCHEMA: u32 = 1;
pub const MTU: u16 = 1420;
pub const KEEPALIVE_S: u16 = 25;

/// Most hosts a user can have; the address plan numbers them 0 to 255.
const HOSTS: usize = 256;
/// What Linux has at most (LOGIN_NAME_MAX).
const LOGIN_BYTES: usize = 256;
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

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
pub fn names(paths: &Paths) -> Result<Vec<String>, HostError> {
    let dir = paths.hosts_dir();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HostError::io("list", &dir, &error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(4 * HOSTS) {
        let entry = entry.map_err(|error| HostError::io("list", &dir, &error))?;
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

/// Reads one host file; its name must be the name inside it.
pub fn load(paths: &Paths, name: &str) -> Result<HostConfig, HostError> {
    if let Err(why) = check_name(name) {
        return Err(HostError::new(Kind::Config, format!("no host {name:?}"), why, "hop host ls"));
    }
    renewal::settle(paths, name)?;
    let path = paths.host_file(name);
    let text = atomic::read_private(&path)?;
    let host = parse(&text).map_err(|error| match is_newer(&text) {
        true => HostError { fault: Fault::Newer, ..fault(&path, &error) },
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
pub fn save(paths: &Paths, host: &HostConfig) -> Result<(), HostError> {
    paths.ensure_config()?;
    let path = paths.host_file(&host.name);
    check(&path, host)?;
    let text = Zeroizing::new(format!("{:#}\n", to_json(host)));
    atomic::replace(&path, text.as_bytes()).map_err(|error| HostError::io("write", &path, &error))
}

/// Whether a host, part of which a server may have said, is one that a file of ours can hold.
pub(super) fn check(path: &Path, host: &HostConfig) -> Result<(), HostError> {
    let read = Fields::of(to_json(host), "").and_then(read);
    read.map(drop).map_err(|error| fault(path, &error))
}

/// Removes all files of a host, which begin with its name and a dot; those of its own directory
/// last, so that it can be tried again by name.
pub fn forget(paths: &Paths, name: &str) -> Result<Vec<String>, HostError> {
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
                Err(error) => return Err(HostError::io("remove", &path, &error)),
            }
        }
    }
    Ok(removed)
}

/// The default host named in `config.json`, if any.
pub fn default_host(paths: &Paths) -> Result<Option<String>, HostError> {
    let path = paths.config_file();
    let text = match atomic::read_private(&path) {
        Err(error) if error.kind == Kind::NotFound => return Ok(None),
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
pub fn set_default_host(paths: &Paths, name: Option<&str>) -> Result<(), HostError> {
    paths.ensure_config()?;
    let path = paths.config_file();
    let mut fields = Map::new();
    fields.insert("version".to_owned(), json!(SCHEMA));
    if let Some(name) = name {
        fields.insert("default_host".to_owned(), json!(name));
    }
    let text = format!("{:#}\n", Value::Object(fields));
    atomic::replace(&path, text.as_bytes()).map_err(|error| HostError::io("write", &path, &error))
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

/// The addresses of number N: the server is 10.10.N.2 for all its laptops, the first of which has
/// .1 and the others what is free from .3 on. A server may say that it has others, and would get
/// what this laptop sends to those.
pub fn check_pair(
    fields: &Fields,
    number: u8,
    (peer_key, peer): (&str, Ipv4Addr),
    (local_key, local): (&str, Ipv4Addr),
) -> Result<(), ReadError> {
    let [a, b, c, last] = local.octets();
    if peer != Ipv4Addr::new(10, 10, number, 2) {
        return Err(fields.error(peer_key, format!("must be 10.10.{number}.2, not {peer}")));
    }
    if [a, b, c] != [10, 10, number] || !matches!(last, 1 | 3..=254) {
        let why = format!("must be 10.10.{number}.1, or from 10.10.{number}.3 on, not {local}");
        return Err(fields.error(local_key, why));
    }
    Ok(())
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
        "public_key": keys::encode(&host.public_key).as_str(),
        "local_ip": host.local_ip.to_string(),
        "peer_ip": host.peer_ip.to_string(),
        "number": host.number,
        "mtu": host.mtu,
        "keepalive_s": host.keepalive_s,
        "api_port": host.api_port,
        "token": host.token.as_str(),
    });
    if let Value::Object(fields) = &mut value {
        let preshared = host.preshared_key.as_ref().map(|key| keys::encode(key).to_string());
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

pub(super) fn fault(path: &Path, error: &ReadError) -> HostError {
    let what = format!("{} is not valid", path.display());
    HostError::new(Kind::Config, what, error.to_string(), fix!("$EDITOR {}", path))
}

fn named(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// Key material in a JSON field. The text is not repeated in the error: it may be a secret.
pub fn key(text: &str) -> Result<Secret, String> {
    keys::decode(text).ok_or_else(|| "must be a key of 44 base64 characters".to_owned())
}

/// An API token: long enough for 256 bits, and safe inside an HTTP header field.
pub fn token(text: &str) -> Result<Zeroizing<String>, String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    if TOKEN_CHARS.contains(&text.len()) && text.bytes().all(safe) {
        return Ok(Zeroizing::new(text.to_owned()));
    }
    Err("must be 43 to 128 characters of base64 or hex".to_owned())
}

/// An address one machine can have.
pub fn unicast(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse::<Ipv4Addr>() {
        Err(_) => Err(format!("must be an IPv4 address, not {text:?}")),
        Ok(ip)
            if ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_broadcast() =>
        {
            Err(format!("{ip} cannot be an address of a tunnel"))
        }
        Ok(ip) => Ok(ip),
    }
}

/// What ssh(1) can be given as its destination, and cannot take for an option.
pub fn ssh_address(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:%".contains(&byte);
    let fits = (1..=253).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-');
    if fits { Ok(text.to_owned()) } else { Err("must be an address or a name".to_owned()) }
}

/// A login name that every ssh(1) can be told: it refuses what a shell would read, some versions
/// have tokens in it. Directory services have names such as `alice@corp.example.com`, `CORP\bob`.
pub fn login(text: &str) -> Result<String, String> {
    let is_blank = |c: char| c.is_whitespace();
    let why = if text.is_empty() || text.len() > LOGIN_BYTES {
        "must have 1 to 256 bytes"
    } else if text.starts_with('-') || text.split(is_blank).skip(1).any(|w| w.starts_with('-')) {
        "must not begin with -, nor a word of it: ssh refuses that"
    } else if text.starts_with(is_blank) || text.ends_with(is_blank) {
        "must not begin or end with a blank"
    } else if text.ends_with('\\') {
        "must not end with a backslash: ssh refuses that"
    } else if text.contains(|c: char| c.is_control() || "'`\";&<>|(){}".contains(c)) {
        "must not hold control characters, quotes or any of ;&<>|(){}: ssh refuses them"
    } else if text.contains('%') {
        "must not hold %: some versions of ssh replace what follows"
    } else {
        return Ok(text.to_owned());
    };
    Err(why.to_owned())
}

/// A path that a host file can hold.
pub fn absolute(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.len() <= 4096 && !text.contains(char::is_control);
    let why = "must be an absolute path without control characters";
    if fits { Ok(text.to_owned()) } else { Err(why.to_owned()) }
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
