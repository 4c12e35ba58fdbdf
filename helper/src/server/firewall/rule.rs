//! What somebody may ask the firewall for, typed; and the one rule of nf_tables that it is.
//! Whatever comes in, from a request or from the disk, comes through `Spec::read`, and whatever
//! goes out, to nft(8) or into an answer, is made from what that has read. Pure. Must not know: who
//! asks.

use crate::proto::{Args, OpError, required};
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// Most ports of one rule.
const PORTS_MAX: u64 = 16_384;
const APP_MAX: usize = 63;
const DESCRIPTION_MAX: usize = 200;
pub const ARGUMENTS: &[&str] =
    &["port", "port_range", "protocol", "source", "app_name", "description"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// Of addresses of IPv4: those that begin with as many bits as `len` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    pub address: Ipv4Addr,
    pub len: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The first and the last; the same where it is one.
    pub ports: (u16, u16),
    pub protocol: Protocol,
    /// `None` is anybody, by IPv6 too.
    pub source: Option<Net>,
    pub app: String,
    pub description: Option<String>,
}

impl Spec {
    pub fn read(a: &Args) -> Result<Spec, OpError> {
        let wrong = |field: &str, why: &str| OpError::field(field, format!("{field} {why}"));
        let protocol = match required("protocol", a.text("protocol")?)?.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(wrong("protocol", "must be tcp or udp")),
        };
        let source = match required("source", a.text("source")?)?.as_str() {
            "any" => None,
            text if text.contains(':') => return Err(wrong("source", "by IPv6 is not supported")),
            text => Some(net(text).ok_or_else(|| {
                wrong(
                    "source",
                    "must be any, or IPv4 as 192.0.2.0/24 with no bit behind its length",
                )
            })?),
        };
        let description = match a.0.get("description") {
            None => None,
            Some(Value::String(text))
                if text.chars().count() <= DESCRIPTION_MAX && !text.contains(char::is_control) =>
            {
                Some(text.clone())
            }
            Some(_) => {
                return Err(wrong("description", "has up to 200 characters, none that controls"));
            }
        };
        Ok(Spec { ports: ports(a)?, protocol, source, app: app(a)?, description })
    }

    pub fn to_json(&self) -> Value {
        let (first, last) = self.ports;
        let source = self.source.map_or("any".to_owned(), |net| net.text());
        let mut spec = Map::new();
        match first == last {
            true => spec.insert("port".into(), json!(first)),
            false => spec.insert("port_range".into(), json!([first, last])),
        };
        spec.insert("protocol".into(), json!(self.protocol.name()));
        spec.insert("source".into(), json!(source));
        spec.insert("app_name".into(), json!(self.app));
        spec.extend(self.description.as_ref().map(|d| ("description".to_owned(), json!(d))));
        Value::Object(spec)
    }

    /// Whether they let the same in for the same application.
    pub fn is_same(&self, other: &Spec) -> bool {
        let key = |spec: &Spec| (spec.ports, spec.protocol, spec.source);
        key(self) == key(other) && self.app == other.app
    }

    /// The rule as a line of nft's. No byte of it was written by a caller.
    pub fn line(&self, id: &str) -> String {
        let (first, last) = self.ports;
        let from = match self.source {
            None => String::new(),
            Some(Net { len: 0, .. }) => "meta nfproto ipv4 ".to_owned(),
            Some(net) => format!("ip saddr {} ", net.text()),
        };
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let protocol = self.protocol.name();
        format!("{from}{protocol} dport {ports} accept comment \"{id}\"")
    }

    /// The same as nft lists it.
    pub fn expressions(&self) -> Value {
        let is = |left: Value, right: Value| json!({"match": {"op": "==", "left": left, "right": right}});
        let field = |of: &str, field: &str| json!({"payload": {"protocol": of, "field": field}});
        let (first, last) = self.ports;
        let from = self.source.map(|net| match net.len {
            0 => is(json!({"meta": {"key": "nfproto"}}), json!("ipv4")),
            32 => is(field("ip", "saddr"), json!(net.address)),
            len => {
                let prefix = json!({"prefix": {"addr": net.address, "len": len}});
                is(field("ip", "saddr"), prefix)
            }
        });
        let ports = if first == last { json!(first) } else { json!({"range": [first, last]}) };
        let to = is(field(self.protocol.name(), "dport"), ports);
        from.into_iter().chain([to, json!({"accept": null})]).collect()
    }
}

impl Net {
    pub fn mask(len: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
    }

    pub fn text(self) -> String {
        match self.len {
            32 => self.address.to_string(),
            len => format!("{}/{len}", self.address),
        }
    }
}

fn net(text: &str) -> Option<Net> {
    let (address, len) = text.split_once('/').unwrap_or((text, "32"));
    let plain = !len.starts_with(['+', '0']) || len == "0";
    let len = len.parse().ok().filter(|len| *len <= 32 && plain)?;
    let address: Ipv4Addr = address.parse().ok()?;
    (address.to_bits() & !Net::mask(len) == 0).then_some(Net { address, len })
}

/// The application that something is for.
pub fn app(a: &Args) -> Result<String, OpError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let name = required("app_name", a.text("app_name")?)?;
    let good = name.len() <= APP_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(plain);
    let why = "app_name is a lower-case letter and up to 62 of a-z, 0-9 and -";
    if good { Ok(name) } else { Err(OpError::field("app_name", why)) }
}

/// One port or a range, and never both: of two spellings none is passed over.
fn ports(a: &Args) -> Result<(u16, u16), OpError> {
    let wrong = |why: &str| Err(OpError::field("port_range", format!("port_range {why}")));
    let number =
        |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    match (a.int("port", 1, 65_535)?, a.0.get("port_range")) {
        (Some(port), None) => Ok((port as u16, port as u16)),
        (Some(_), Some(_)) => wrong("and port exclude each other"),
        (None, None) => Err(OpError::field("port", "port or port_range is required")),
        (None, Some(range)) => {
            let ends = range.as_array().map(|list| list.iter().map(number).collect::<Vec<_>>());
            let [Some(first), Some(last)] = ends.unwrap_or_default()[..] else {
                return wrong("must be two ports, 1 to 65535");
            };
            match u64::from(last).checked_sub(first.into()) {
                Some(more) if more < PORTS_MAX => Ok((first, last)),
                Some(_) => wrong("has at most 16384 ports"),
                None => wrong("must begin with the lower port"),
            }
        }
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
