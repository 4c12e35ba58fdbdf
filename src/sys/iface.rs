//! What an interface of this machine looks like to a user without rights.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_a_stranger_is_not() {
        let name = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
        assert!(find(name).unwrap().is_some());
        assert_eq!(find("no-such-link").unwrap(), None);
        assert_eq!(tunnel_with(Ipv4Addr::LOCALHOST.into()).unwrap(), None);
    }
}
