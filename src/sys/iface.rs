//! What an interface of this machine looks like to a user without rights.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The table of interfaces is read as far as this: some 8,000 of them.
#[cfg(target_os = "linux")]
const TABLE_BYTES: u64 = 1 << 20;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iface {
    pub up: bool,
    pub v4: Vec<Ipv4Addr>,
}

/// The interface of this name; `None` when there is none.
pub fn find(name: &str) -> io::Result<Option<Iface>> {
    let mut found: Option<Iface> = None;
    // One entry for each address, and on Linux one for the link itself.
    for entry in getifaddrs()?.filter(|entry| entry.interface_name == name) {
        let iface = found.get_or_insert_with(Iface::default);
        iface.up |= entry.flags.contains(InterfaceFlags::IFF_UP);
        let ip = entry.address.as_ref().and_then(|address| address.as_sockaddr_in());
        iface.v4.extend(ip.map(|ip| ip.ip()));
    }
    Ok(found)
}

/// The interface that has this address, if it is a tunnel: a link with one other end, as VPNs make.
pub fn tunnel_with(ip: IpAddr) -> io::Result<Option<String>> {
    let entry = getifaddrs()?.find(|entry| {
        let address = entry.address.as_ref();
        let v4 = address.and_then(|address| address.as_sockaddr_in()).map(|at| IpAddr::V4(at.ip()));
        let v6 = address.and_then(|address| address.as_sockaddr_in6()).map(|at| at.ip().into());
        entry.flags.contains(InterfaceFlags::IFF_POINTOPOINT) && v4.or(v6) == Some(ip)
    });
    Ok(entry.map(|entry| entry.interface_name))
}

/// The network that an address of this machine is in, such as `192.0.2.0/24`; `None` of one that
/// is not this machine's.
pub fn prefix_of(ip: IpAddr) -> Option<String> {
    let of = |address: &SockaddrStorage| -> Option<IpAddr> {
        let v4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|at| at.ip().into()))
    };
    let mut all = getifaddrs().ok()?;
    let mask = all.find_map(|entry| {
        let is_it = entry.address.as_ref().and_then(of) == Some(ip);
        entry.netmask.as_ref().filter(|_| is_it).and_then(of)
    })?;
    match (ip, mask) {
        (IpAddr::V4(ip), IpAddr::V4(mask)) => {
            let bits = mask.to_bits();
            let network = Ipv4Addr::from_bits(ip.to_bits() & bits);
            Some(format!("{network}/{}", bits.count_ones()))
        }
        (IpAddr::V6(ip), IpAddr::V6(mask)) => {
            let bits = mask.to_bits();
            let network = Ipv6Addr::from_bits(ip.to_bits() & bits);
            Some(format!("{network}/{}", bits.count_ones()))
        }
        _ => None,
    }
}

/// Packets for this interface of the calling thread's network namespace that found its queue full;
/// `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub fn queue_drops(name: &str) -> Option<u64> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open("/proc/thread-self/net/dev").ok()?;
    file.take(TABLE_BYTES).read_to_string(&mut text).ok()?;
    // name: 8 numbers about receiving, then bytes, packets, errors, drops.
    let mut rows = text.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = rows.find(|(of, _)| of.trim() == name)?;
    numbers.split_whitespace().nth(11)?.parse().ok()
}

/// Of a utun the system does not tell.
#[cfg(target_os = "macos")]
pub fn queue_drops(_: &str) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_a_stranger_is_not() {
        let name = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
        assert!(find(name).unwrap().is_some());
        assert_eq!(find("no-such-link").unwrap(), None);
        assert_eq!(queue_drops(name).is_some(), cfg!(target_os = "linux"));
        assert_eq!(queue_drops("no-such-link"), None);
        assert_eq!(prefix_of(Ipv4Addr::LOCALHOST.into()).as_deref(), Some("127.0.0.0/8"));
        assert_eq!(prefix_of(Ipv4Addr::new(240, 0, 0, 1).into()), None);
        assert_eq!(tunnel_with(Ipv4Addr::LOCALHOST.into()).unwrap(), None);
    }
}
