//! What setup may take on a machine that it does not know: an interface, a UDP port, a number for
//! the address pair. Looks, and changes nothing: other WireGuards keep what they have, and what
//! they are configured to have when they are started.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use crate::base::address_plan::{self, Uses};
use crate::sys::bounded;

const WIREGUARD: &str = "/etc/wireguard";
const NETWORKD: &str = "/etc/systemd/network";
const LINKS: &str = "/sys/class/net";
/// Most configuration files that are looked into.
const FILES: usize = 256;

/// A name that no interface has; `wg0` only where no other WireGuard is configured to have it.
pub fn interface() -> Option<String> {
    let reserved = fs::symlink_metadata(format!("{WIREGUARD}/wg0.conf")).is_ok()
        || texts(NETWORKD, ".netdev").any(|text| names_wg0(&text));
    address_plan::interface(|name| {
        name == "wg0" && reserved || Path::new(LINKS).join(name).exists()
    })
}

/// A UDP port that nobody has, or is configured to have.
pub fn port() -> Option<u16> {
    let reserved: BTreeSet<u16> = texts(WIREGUARD, ".conf")
        .chain(texts(NETWORKD, ".netdev"))
        .flat_map(|text| text.lines().filter_map(listen_port).collect::<Vec<_>>())
        .collect();
    address_plan::port(|port| reserved.contains(&port) || !is_free(port))
}

/// A number for the address pair, if possible the first of `wanted`.
pub fn number(wanted: &[u8]) -> Option<u8> {
    address_plan::pick(wanted, &Uses::here())
}

/// Nobody has it, in either family.
pub fn is_free(port: u16) -> bool {
    let free = |bound: std::io::Result<UdpSocket>| match bound {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::AddrInUse,
    };
    free(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))
        && free(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
}

/// The texts of the files in `dir` with this ending that can be read.
fn texts(dir: &str, ending: &'static str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(FILES);
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(move |path| path.to_string_lossy().ends_with(ending))
        .filter_map(|path| bounded::text(path).ok())
}

/// `ListenPort = 51820`, as wg-quick(8) and systemd.netdev(5) have it.
fn listen_port(line: &str) -> Option<u16> {
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next()?.trim();
    key.trim().eq_ignore_ascii_case("ListenPort").then(|| value.parse().ok())?
}

fn names_wg0(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .any(|(key, value)| key.trim() == "Name" && value.trim() == "wg0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_is_configured_to_have_is_reserved() {
        assert_eq!(listen_port("ListenPort = 51821 # home"), Some(51821));
        assert_eq!(listen_port("listenport=7"), Some(7));
        assert_eq!(listen_port("#ListenPort = 51821"), None);
        assert_eq!(listen_port("Port = 51821"), None);
        assert!(names_wg0("[NetDev]\nName = wg0\nKind=wireguard\n") && !names_wg0("Name=wg01\n"));
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let held = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        assert!(!is_free(port));
        drop(held);
        assert!(is_free(port));
        assert!(number(&[7, 8]).is_none_or(|n| [7, 8].contains(&n)));
        assert_eq!(number(&[]), None);
    }
}
