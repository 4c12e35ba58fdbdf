//! Whether the first packet of a new connection meets a condition, as nft(8) writes it in JSON:
//! yes, no, or it depends on what is not known. It comes from another machine, by any interface but
//! the loopback's and those of tunnels. Pure. Must not know: chains, verdicts.

use crate::server::firewall::rule::{Net, Spec};
use serde_json::Value;
use std::net::Ipv4Addr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Yes,
    No,
    Maybe,
}

pub struct Packet<'a> {
    pub spec: &'a Spec,
    pub v6: bool,
    /// Devices by which it does not come.
    pub inner: &'a [String],
}

impl Holds {
    pub fn and(self, other: Holds) -> Holds {
        match (self, other) {
            (Holds::No, _) | (_, Holds::No) => Holds::No,
            (Holds::Yes, Holds::Yes) => Holds::Yes,
            _ => Holds::Maybe,
        }
    }

    fn not(self) -> Holds {
        match self {
            Holds::Yes => Holds::No,
            Holds::No => Holds::Yes,
            Holds::Maybe => Holds::Maybe,
        }
    }

    fn of(holds: bool) -> Holds {
        if holds { Holds::Yes } else { Holds::No }
    }
}

/// What a statement says of the packet; one that only counts or writes is met by every packet.
pub fn statement(kind: &str, what: &Value, packet: &Packet) -> Holds {
    match kind {
        "match" => matches(what, packet).unwrap_or(Holds::Maybe),
        "counter" | "log" | "comment" | "mangle" | "notrack" | "ct helper" => Holds::Yes,
        _ => Holds::Maybe,
    }
}

/// The same of a line for people, for the conditions of iptables that every firewall has: the state
/// of a connection, whether a packet is for this machine, and how it was sent here.
pub fn told(line: &str) -> Holds {
    let value = |key: &str| line.split_once(key)?.1.split(' ').next();
    match (value("ct state "), value("fib daddr type "), value("rt type ")) {
        (Some(states), None, None) => Holds::of(states.split(',').any(|state| state == "new")),
        (None, Some(kind), None) => Holds::of(kind == "local"),
        // It has no routing header.
        (None, None, Some(_)) => Holds::No,
        _ => Holds::Maybe,
    }
}

fn matches(what: &Value, packet: &Packet) -> Option<Holds> {
    let (left, right) = (what.get("left")?, what.get("right")?);
    if let Some(part) = left.get("payload") {
        // A packet that has no such part is not one for which its value differs.
        if has(part.get("protocol")?.as_str()?, packet) == Holds::No {
            return Some(Holds::No);
        }
    }
    let equal = equals(left, right, packet);
    match what.get("op")?.as_str()? {
        "==" | "in" => Some(equal),
        "!=" => Some(equal.not()),
        _ => None,
    }
}

/// Whether the packet has a header of this protocol.
fn has(protocol: &str, packet: &Packet) -> Holds {
    match protocol {
        "th" => Holds::Yes,
        "ip" => Holds::of(!packet.v6),
        "ip6" => Holds::of(packet.v6),
        "tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "udplite" | "esp" | "ah" => {
            Holds::of(protocol == packet.spec.protocol.name())
        }
        _ => Holds::Maybe,
    }
}

/// Whether what `left` stands for is `right`, or one of it.
pub fn equals(left: &Value, right: &Value, packet: &Packet) -> Holds {
    // One set, or a list of bits.
    let list = right.get("set").unwrap_or(right).as_array();
    let Some(list) = list else {
        return equals_one(left, right, packet).unwrap_or(Holds::Maybe);
    };
    let mut any = Holds::No;
    for one in list {
        match equals_one(left, one, packet).unwrap_or(Holds::Maybe) {
            Holds::Yes => return Holds::Yes,
            Holds::Maybe => any = Holds::Maybe,
            Holds::No => {}
        }
    }
    any
}

fn equals_one(left: &Value, right: &Value, packet: &Packet) -> Option<Holds> {
    let (kind, what) = left.as_object()?.iter().next()?;
    // The name of a set whose members are not listed.
    let named = right.as_str().is_some_and(|name| name.starts_with('@'));
    let text = || right.as_str().filter(|_| !named);
    match (kind.as_str(), what.get("key").and_then(Value::as_str)) {
        _ if named => None,
        ("payload", _) => payload(what, right, packet),
        ("meta", Some("l4proto")) => Some(is_protocol(right, packet)),
        ("meta", Some("nfproto")) => {
            Some(Holds::of(text()? == if packet.v6 { "ipv6" } else { "ipv4" }))
        }
        ("meta", Some("iif" | "iifname")) => {
            let name = text()?;
            (name == "lo" || packet.inner.iter().any(|inner| inner == name)).then_some(Holds::No)
        }
        ("ct", Some("state")) => Some(Holds::of(text()? == "new")),
        ("ct", Some("status")) => Some(Holds::No),
        // Where it goes is here, as far as rules for incoming packets are concerned.
        // It can be answered by the way that it came.
        ("fib", _) if what.get("result")? == "oif" && right.is_boolean() => {
            Some(Holds::of(*right == true))
        }
        ("fib", _) if what.get("result")? == "type" => Some(Holds::of(text()? == "local")),
        _ => None,
    }
}

fn is_protocol(right: &Value, packet: &Packet) -> Holds {
    let protocol = packet.spec.protocol;
    let number = match protocol.name() {
        "tcp" => 6,
        _ => 17,
    };
    Holds::of(right == protocol.name() || *right == number)
}

fn payload(what: &Value, right: &Value, packet: &Packet) -> Option<Holds> {
    let part = what.get("protocol")?.as_str()?;
    match (part, what.get("field")?.as_str()?) {
        ("ip", "protocol") | ("ip6", "nexthdr") => Some(is_protocol(right, packet)),
        ("ip", "saddr") => {
            let (first, last) = addresses(right)?;
            let source = packet.spec.source?;
            let least = source.address.to_bits();
            Some(overlap((least, least | !Net::mask(source.len)), (first, last)))
        }
        ("tcp" | "udp" | "th", "dport") => {
            let (first, last) = packet.spec.ports;
            Some(overlap((first.into(), last.into()), ports(right)?))
        }
        _ => None,
    }
}

/// Whether every value of the first range is in the second.
fn overlap(ours: (u32, u32), theirs: (u32, u32)) -> Holds {
    match () {
        () if theirs.0 <= ours.0 && ours.1 <= theirs.1 => Holds::Yes,
        () if ours.1 < theirs.0 || theirs.1 < ours.0 => Holds::No,
        () => Holds::Maybe,
    }
}

fn ports(right: &Value) -> Option<(u32, u32)> {
    let port = |value: &Value| value.as_u64().and_then(|port| u32::try_from(port).ok());
    match right.get("range") {
        Some(range) => Some((port(range.get(0)?)?, port(range.get(1)?)?)),
        None => port(right).map(|port| (port, port)),
    }
}

fn addresses(right: &Value) -> Option<(u32, u32)> {
    let address = |value: &Value| Some(value.as_str()?.parse::<Ipv4Addr>().ok()?.to_bits());
    if let Some(range) = right.get("range") {
        return Some((address(range.get(0)?)?, address(range.get(1)?)?));
    }
    if let Some(prefix) = right.get("prefix") {
        let len = prefix.get("len")?.as_u64().filter(|len| *len <= 32)?;
        let first = address(prefix.get("addr")?)?;
        return Some((first, first | !Net::mask(len as u8)));
    }
    address(right).map(|one| (one, one))
}
