//! The layers that a tunnel stands on, each looked at when somebody asks, lowest first. The first
//! one that is broken is what to mend; those above it cannot work.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::{Value, json};

use super::source_addrs::source_for;
use crate::base::time_text::took;
use crate::sys::iface;

/// A handshake older than this has expired with its session: with traffic there is a newer one
/// after two minutes.
const HANDSHAKE_AGE: Duration = Duration::from_secs(180);
/// Most that is read of the file with names.
const HOSTS_BYTES: u64 = 4 * 1024 * 1024;
const HOSTS_FILE: &str = "/etc/hosts";

/// One layer as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub name: &'static str,
    pub ok: bool,
    pub detail: String,
}

impl Layer {
    fn new(name: &'static str, found: Result<String, String>) -> Layer {
        let ok = found.is_ok();
        Layer { name, ok, detail: found.unwrap_or_else(|why| why) }
    }

    pub fn to_json(&self) -> Value {
        json!({"layer": self.name, "ok": self.ok, "detail": self.detail})
    }
}

/// The name of the first broken layer.
pub fn broken(layers: &[Layer]) -> Option<&'static str> {
    layers.iter().find(|layer| !layer.ok).map(|layer| layer.name)
}

/// The connection that holds the lease.
pub fn helper(version: Option<&str>) -> Layer {
    let found = match version {
        Some(version) => Ok(format!("helper {version} holds the lease")),
        None => Err("the helper is gone; waiting for it to return".to_owned()),
    };
    Layer::new("helper", found)
}

/// The interface is there and up, and has its address.
pub fn interface(name: &str, ip: Ipv4Addr) -> Layer {
    let found = match iface::find(name) {
        Err(error) => Err(format!("cannot look at {name}: {error}")),
        Ok(None) => Err(format!("{name} does not exist")),
        Ok(Some(iface)) if !iface.up => Err(format!("{name} is down")),
        Ok(Some(iface)) if !iface.v4.contains(&ip) => Err(format!("{name} has lost {ip}")),
        Ok(Some(_)) => Ok(format!("{name} is up with {ip}")),
    };
    Layer::new("interface", found)
}

/// Packets to the peer leave through the tunnel: the system would send them from our address in
/// it. Nothing is sent by asking.
pub fn route(local: Ipv4Addr, peer: Ipv4Addr) -> Layer {
    let found = match source_for(peer.into()) {
        Ok(source) if source == IpAddr::V4(local) => Ok(format!("{peer} leaves from {local}")),
        Ok(source) => Err(format!("{peer} would leave from {source}, not through the tunnel")),
        Err(error) => Err(format!("no route to {peer}: {error}")),
    };
    Layer::new("route", found)
}

/// The VPS takes part in the protocol. `silent` is how long questions have gone unanswered with
/// nothing at all coming back.
pub fn handshake(age: Option<Duration>, endpoint: &str, silent: Option<Duration>) -> Layer {
    let found = match (age, silent) {
        (None, _) => Err(format!("no handshake with {endpoint} yet")),
        (Some(_), Some(silent)) => {
            Err(format!("nothing came back from {endpoint} for {} s", silent.as_secs()))
        }
        (Some(age), None) if age > HANDSHAKE_AGE => {
            Err(format!("the last handshake was {} s ago", age.as_secs()))
        }
        (Some(age), None) => Ok(format!("{} s ago with {endpoint}", age.as_secs())),
    };
    Layer::new("handshake", found)
}

/// The VPS takes part, with whoever shook hands last.
pub fn contested(endpoint: &str) -> Layer {
    let why = format!("another machine seems to use this machine's key with {endpoint}");
    Layer::new("handshake", Err(why))
}

/// The last question to the agent: how long its answer took, or why there was none.
pub fn agent(version: &str, last: Result<Duration, String>) -> Layer {
    Layer::new("agent", last.map(|rtt| format!("agent {version} answered in {}", took(rtt))))
}

/// The name means the peer in the system's file of names.
pub fn name(name: &str, peer: Ipv4Addr) -> Layer {
    let mut text = String::new();
    let read =
        File::open(HOSTS_FILE).and_then(|file| file.take(HOSTS_BYTES).read_to_string(&mut text));
    let found = match read {
        Err(error) => Err(format!("cannot read {HOSTS_FILE}: {error}")),
        Ok(_) => named(&text, name, peer),
    };
    Layer::new("name", found)
}

fn named(text: &str, name: &str, peer: Ipv4Addr) -> Result<String, String> {
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let ip = words.next();
        // In any case of letters, as glibc compares; those of musl have to be written as asked.
        if words.any(|word| word.eq_ignore_ascii_case(name)) {
            // The first line with the name is the one that counts.
            return match ip.and_then(|ip| ip.parse::<IpAddr>().ok()) {
                Some(ip) if ip == IpAddr::V4(peer) => Ok(format!("{name} is {peer}")),
                _ => Err(format!("{name} is {} in {HOSTS_FILE}", ip.unwrap_or_default())),
            };
        }
    }
    Err(format!("{name} is not in {HOSTS_FILE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_broken_layer_is_named() {
        let layers = [
            helper(Some("1")),
            route(Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 1)),
            agent("1", Err("no answer".to_owned())),
            handshake(None, "203.0.113.7:51820", None),
        ];
        assert_eq!(broken(&layers), Some("agent"));
        assert_eq!(broken(&layers[..2]), None);
        assert_eq!(broken(&[helper(None)]), Some("helper"));
    }

    #[test]
    fn a_handshake_is_young_and_answered() {
        let layer = |age, silent: Option<u64>| {
            let age = Some(Duration::from_secs(age));
            handshake(age, "203.0.113.7:51820", silent.map(Duration::from_secs)).ok
        };
        assert_eq!((layer(179, None), layer(181, None), layer(9, Some(8))), (true, false, false));
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let layer = interface("hopbox999", Ipv4Addr::LOCALHOST);
        assert_eq!((layer.ok, layer.detail.as_str()), (false, "hopbox999 does not exist"));
        assert!(interface("lo", Ipv4Addr::new(10, 10, 0, 1)).detail.contains("lo"));
    }

    #[test]
    fn the_first_line_with_a_name_counts() {
        let peer = Ipv4Addr::new(10, 10, 0, 2);
        let text = "127.0.0.1 localhost # mybox.hop\n10.10.0.2\tx mybox.hop\n10.10.0.9 mybox.hop\n";
        assert!(named(text, "mybox.hop", peer).is_ok());
        let before = format!("203.0.113.9 MyBox.HOP\n{text}");
        assert!(named(&before, "mybox.hop", peer).unwrap_err().contains("is 203.0.113.9 in"));
        assert!(named(text, "box.hop", peer).unwrap_err().contains("is not in"));
        let other = Ipv4Addr::new(10, 10, 1, 2);
        assert!(named(text, "mybox.hop", other).unwrap_err().contains("is 10.10.0.2 in"));
    }
}
