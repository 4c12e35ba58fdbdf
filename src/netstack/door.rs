//! What a connection to a port of the tunnel address is connected with: the workspace user's own
//! listener on loopback, or what the caller has for that port.
//!
//! Whose a listener is, is the kernel's word (`sys::loopback`). Another user's port is as closed as
//! one that nobody has: what listens on loopback counts on being reached from its own machine
//! alone, and it is that user's to open it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use super::packet::Flow;
use crate::sys::listeners::{self, Listener};
use crate::sys::loopback;

/// Opens what a connection is for; must not wait. `None`: it is refused.
pub trait Doors: Send {
    fn open(&mut self, flow: Flow) -> Option<TcpStream>;
}

/// Nobody is behind any port.
pub struct Closed;

impl Doors for Closed {
    fn open(&mut self, _: Flow) -> Option<TcpStream> {
        None
    }
}

/// A connection to the port of loopback at which `user` listens; it may be in the making.
pub fn to_listener_of(user: u32, port: u16) -> Option<TcpStream> {
    loopback::connect(target(&listeners::all().ok()?, user, port)?).ok()
}

/// Where that is: whoever the kernel would choose among those that listen there must be theirs. It
/// prefers IPv4's own; what listens at `[::]` is asked at `[::1]`, where nothing else can be first.
fn target(all: &[Listener], user: u32, port: u16) -> Option<SocketAddr> {
    let v4: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into()];
    let v6: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()];
    [v4, v6].iter().find_map(|ips| {
        let mut here = all.iter().filter(|one| one.port == port && ips.contains(&one.ip));
        let first = here.next()?;
        let theirs = first.uid == user && here.all(|one| one.uid == user);
        Some(theirs.then_some(SocketAddr::new(*ips.first()?, port)))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ones_own_listeners_are_reached() {
        let of = |ip: &str, uid| Listener { ip: ip.parse().unwrap(), port: 80, uid, inode: 1 };
        let at = |all: &[Listener]| target(all, 1000, 80).map(|at| at.to_string());
        let (v4, v6) = (Some("127.0.0.1:80".to_owned()), Some("[::1]:80".to_owned()));
        assert_eq!(at(&[]), None);
        for ip in ["127.0.0.1", "0.0.0.0"] {
            assert_eq!(at(&[of(ip, 1000)]), v4);
            assert_eq!(at(&[of(ip, 0)]), None, "root's");
            assert_eq!(at(&[of(ip, 1001)]), None, "another user's");
        }
        for ip in ["::1", "::"] {
            assert_eq!(at(&[of(ip, 1000)]), v6);
            assert_eq!(at(&[of(ip, 0)]), None);
        }
        // One that shares the port may be chosen by the kernel.
        assert_eq!(at(&[of("127.0.0.1", 1000), of("0.0.0.0", 1001)]), None);
        assert_eq!(at(&[of("127.0.0.1", 1001), of("::", 1000)]), None, "IPv4's is first");
        assert_eq!(at(&[of("127.0.0.1", 1000), of("::1", 1001)]), v4);
        // Not on loopback at all.
        assert_eq!(at(&[of("192.0.2.1", 1000), of("127.0.0.2", 1000)]), None);
        assert_eq!(target(&[of("127.0.0.1", 1000)], 1000, 81), None);
    }
}
