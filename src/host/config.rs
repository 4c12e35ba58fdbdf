//! What a host file (`hosts/<name>.json`) says.
//!
//! Written by `hop setup`, read by everything else. Strict: an unknown key, a wrong type or an
//! impossible address is an error that names the key, never a default. Knows nothing of disks: see
//! `store`.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::base::address_plan::{MTU, check_pair};
use crate::base::field::{absolute, check_name, key, login, ssh_address, token, unicast};
use crate::base::hex;
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, KEY_BYTES, Secret};

/// Files of version 1 do not name their key file; only those of version 3 name a provider, only
/// those of version 4 a transport, and only those of version 5 a second port.
const SCHEMA: u32 = 5;
const WITHOUT_SECOND_PORT: u32 = 4;
const WITHOUT_TRANSPORT: u32 = 3;
const WITHOUT_PROVIDER: u32 = 2;
pub const KEEPALIVE_S: u16 = 25;

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
    /// The file of this laptop's own key, in the directory of keys.
    pub key_file: String,
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
    /// Whose firewall is in front of the VPS; `None` where nobody has said.
    pub provider: Option<Provider>,
    /// The ways that a session may take to the VPS.
    pub transport: Transport,
    /// Another UDP port at which the VPS answers.
    pub second_port: Option<u16>,
}

/// How the tunnel's datagrams may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Over UDP, and over SSH where that does not pass.
    #[default]
    Auto,
    Udp,
    Ssh,
}

impl Transport {
    /// All of them, for who offers a choice.
    pub const ALL: [Transport; 3] = [Transport::Auto, Transport::Udp, Transport::Ssh];

    pub fn word(self) -> &'static str {
        match self {
            Transport::Auto => "auto",
            Transport::Udp => "udp",
            Transport::Ssh => "ssh",
        }
    }

    pub fn of_word(word: &str) -> Result<Transport, String> {
        let found = Transport::ALL.into_iter().find(|one| one.word() == word);
        found.ok_or_else(|| "must be auto, udp or ssh".to_owned())
    }
}

impl HostConfig {
    /// The name that it answers to while it is up.
    pub fn hop_name(&self) -> String {
        hop_name(&self.name)
    }

    /// Whether SSH carries the tunnel where no UDP passes.
    pub fn ssh_may_stand_in(&self) -> bool {
        self.transport == Transport::Auto && self.ssh.is_some()
    }
}

pub fn hop_name(host: &str) -> String {
    format!("{host}.hop")
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

/// A firewall of a provider's, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    pub backend: Backend,
    /// Its number there.
    pub firewall: u64,
    /// The file that holds the token, and nothing else.
    pub token_file: String,
    /// Where another than the provider's own API answers: `https://...`, with no slash at its end.
    pub endpoint: Option<String>,
    /// The authority of that one's certificate.
    pub ca_file: Option<String>,
}

/// The providers that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    HetznerCloud,
}

impl Backend {
    pub fn word(self) -> &'static str {
        match self {
            Backend::HetznerCloud => "hetzner-cloud",
        }
    }

    pub fn of_word(word: &str) -> Result<Backend, String> {
        match word {
            "hetzner-cloud" => Ok(Backend::HetznerCloud),
            _ => Err("must be hetzner-cloud".to_owned()),
        }
    }
}

/// Where an API answers.
pub fn https(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    let plain = |char: char| char.is_ascii_alphanumeric() || "-._~:/[]".contains(char);
    match rest.filter(|rest| !rest.is_empty() && rest.len() <= 200 && rest.chars().all(plain)) {
        Some(rest) => Ok(format!("https://{rest}")),
        None => Err("must be https:// and a name, without a user and a question".to_owned()),
    }
}

/// Whether the text names a later form than ours. One that names none is damaged.
pub(super) fn is_newer(text: &str) -> bool {
    let version = Fields::parse(text).ok().and_then(|mut fields| fields.take("version")?.as_u64());
    version.is_some_and(|version| version > u64::from(SCHEMA))
}

pub(super) fn parse(text: &str) -> Result<HostConfig, ReadError> {
    read(Fields::parse(text)?)
}

/// The fields of a host file, which may be part of another.
pub(super) fn read(mut fields: Fields) -> Result<HostConfig, ReadError> {
    fields.int::<u32>("version", 1..=SCHEMA)?;
    let name = fields.meant("name", named)?;
    let key_file = fields.opt_meant("key_file", |text| key_file_of(&name, text))?;
    let host = HostConfig {
        key_file: key_file.unwrap_or_else(|| first_key_file(&name)),
        name,
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
        provider: fields.opt_object("provider")?.map(parse_provider).transpose()?,
        transport: fields.opt_meant("transport", Transport::of_word)?.unwrap_or_default(),
        second_port: fields.opt_int("second_port", 1..=65535)?,
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

fn parse_provider(mut fields: Fields) -> Result<Provider, ReadError> {
    let provider = Provider {
        backend: fields.meant("backend", Backend::of_word)?,
        firewall: fields.int("firewall", 1..=u64::MAX)?,
        token_file: fields.meant("token_file", absolute)?,
        endpoint: fields.opt_meant("endpoint", https)?,
        ca_file: fields.opt_meant("ca_file", absolute)?,
    };
    fields.finish()?;
    Ok(provider)
}

fn provider_json(provider: &Provider) -> Value {
    let mut value = json!({
        "backend": provider.backend.word(), "firewall": provider.firewall,
        "token_file": provider.token_file,
    });
    for (key, text) in [("endpoint", &provider.endpoint), ("ca_file", &provider.ca_file)] {
        if let Some(text) = text {
            value[key] = text.clone().into();
        }
    }
    value
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

/// The earliest that can say it: an older hop reads what it can.
fn version(host: &HostConfig) -> u32 {
    match (host.second_port, host.transport, &host.provider) {
        (None, Transport::Auto, None) => WITHOUT_PROVIDER,
        (None, Transport::Auto, Some(_)) => WITHOUT_TRANSPORT,
        (None, ..) => WITHOUT_SECOND_PORT,
        (Some(_), ..) => SCHEMA,
    }
}

pub(super) fn to_json(host: &HostConfig) -> Value {
    let mut value = json!({
        "version": version(host),
        "name": host.name,
        "endpoint": host.endpoint.to_string(),
        "public_key": key::encode(&host.public_key).as_str(),
        "key_file": host.key_file,
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
        if let Some(provider) = &host.provider {
            fields.insert("provider".to_owned(), provider_json(provider));
        }
        if host.transport != Transport::Auto {
            fields.insert("transport".to_owned(), host.transport.word().into());
        }
        if let Some(port) = host.second_port {
            fields.insert("second_port".to_owned(), port.into());
        }
    }
    value
}

/// The key file of a host whose keys have never been renewed.
pub fn first_key_file(name: &str) -> String {
    format!("{name}.key")
}

/// That of a host with a new key: the name is as new as the key.
pub fn new_key_file(name: &str, public: &[u8; KEY_BYTES]) -> String {
    let digits = hex::encode(public.get(..8).unwrap_or_default());
    format!("{name}.{digits}.key")
}

/// A file name that begins with the host's name and ends as key files do.
pub fn key_file_of(name: &str, text: &str) -> Result<String, String> {
    let middle = text.strip_prefix(name).and_then(|rest| rest.strip_suffix(".key"));
    let fits = |middle: &str| {
        let digits = middle.strip_prefix('.').unwrap_or_default();
        let hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        middle.is_empty() || (digits.len() == 16 && hex)
    };
    match middle.is_some_and(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be {name}.key or {name}.<16 hex digits>.key")),
    }
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
pub(crate) mod tests;
