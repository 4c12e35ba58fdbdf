//! What setup may take on a machine that it does not know: an interface, a UDP port, a number for
//! the address pair. Looks, and changes nothing: other WireGuards keep what they have, and what
//! they are configured to have when they are started.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use super::config::LISTEN_PORT;

/// Ports that are tried.
const PORTS: u16 = 80;
const WIREGUARD: &str = "/etc/wireguard";
const NETWORKD: &str = "/etc/systemd/network";
const LINKS: &str = "/sys/class/net";
/// Most configuration files that are looked into.
const FILES: usize = 256;

/// `wg0`, or the lowest free `hopboxN`.
pub fn interface() -> String {
    let reserved = fs::symlink_metadata(format!("{WIREGUARD}/wg0.conf")).is_ok()
        || texts(NETWORKD, ".netdev").any(|text| names_wg0(&text));
    let exists = |name: &str| Path::new(LINKS).join(name).exists();
    if !reserved && !exists("wg0") {
        return "wg0".to_owned();
    }
    let mut names = (0..1000).map(|n| format!("hopbox{n}"));
    names.find(|name| !exists(name)).unwrap_or_else(|| "hopbox0".to_owned())
}

/// The lowest free UDP port from 51820 on.
pub fn port() -> Option<u16> {
    let reserved: BTreeSet<u16> = texts(WIREGUARD, ".conf")
        .chain(texts(NETWORKD, ".netdev"))
        .flat_map(|text| text.lines().filter_map(listen_port).collect::<Vec<_>>())
        .collect();
    (LISTEN_PORT..LISTEN_PORT + PORTS).find(|port| !reserved.contains(port) && is_free(*port))
}

/// The lowest N for which nothing here uses 10.10.N.0/24, and which is not in `taken`.
pub fn number(taken: &[u8]) -> Option<u8> {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let trie = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let used: Vec<(u32, u32)> = networks(&routes).chain(addresses(&trie)).collect();
    (0..=255).find(|n| {
        let block = u32::from(Ipv4Addr::new(10, 10, *n, 0));
        let hit =
            |(base, mask): &(u32, u32)| (block & mask & 0xffff_ff00) == (base & 0xffff_ff00 & mask);
        !taken.contains(n) && !used.iter().any(hit)
    })
}

fn is_free(port: u16) -> bool {
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
        .filter_map(|path| fs::read_to_string(path).ok())
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

/// The routes of /proc/net/route: base and mask. Default routes, also halved ones, are no use of
/// an address.
fn networks(text: &str) -> impl Iterator<Item = (u32, u32)> + '_ {
    let hex = |word: &str| u32::from_str_radix(word, 16).ok().map(u32::swap_bytes);
    let route = move |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (base, mask) = (hex(words.get(1)?)?, hex(words.get(7)?)?);
        Some((base, mask))
    };
    text.lines().skip(1).filter_map(route).filter(|(_, mask)| mask.count_ones() > 1)
}

/// The addresses of this machine, from /proc/net/fib_trie.
fn addresses(text: &str) -> impl Iterator<Item = (u32, u32)> + '_ {
    let lines: Vec<&str> = text.lines().collect();
    let local = |pair: &[&str]| {
        let [above, below] = pair else { return None };
        let ip: Ipv4Addr = above.trim().strip_prefix("|-- ")?.parse().ok()?;
        below.contains("host LOCAL").then_some((u32::from(ip), u32::MAX))
    };
    lines.windows(2).filter_map(local).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_addresses_are_read_as_the_kernel_writes_them() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                      eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\n\
                      tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\n\
                      eth0\t00010A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";
        let found: Vec<_> = networks(routes).collect();
        let ip = |a, b, c, d| u32::from(Ipv4Addr::new(a, b, c, d));
        assert_eq!(found, [(ip(10, 10, 1, 0), ip(255, 255, 255, 0))]);
        let trie = "  +-- 10.10.0.0/24 2 0 2\n     |-- 10.10.3.7\n        /32 host LOCAL\n     \
                    |-- 10.10.4.0\n        /24 link UNICAST\n";
        assert_eq!(addresses(trie).collect::<Vec<_>>(), [(ip(10, 10, 3, 7), u32::MAX)]);
    }

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
        assert!(number(&[0, 1, 2]).is_none_or(|n| n > 2));
    }
}
