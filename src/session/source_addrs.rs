//! The addresses that the system would send from. Nothing is sent by asking.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address that the system would send from.
pub fn source_for(to: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// The addresses that datagrams to the VPS would leave from, one for each of its addresses. When
/// that is another than before, the network changed for this tunnel, and not somewhere else.
pub fn source_addrs(remotes: &[SocketAddr]) -> Vec<Option<IpAddr>> {
    remotes.iter().map(|remote| source_for(remote.ip()).ok()).collect()
}
