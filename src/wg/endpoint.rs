//! Where a peer is, and how a datagram came from it.

use std::net::{IpAddr, SocketAddr};

/// A local address and port, and the interface it was used on (0 if that does not matter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    pub ip: IpAddr,
    pub port: u16,
    pub ifindex: u32,
}

/// Where a peer is, and from which of our addresses it is spoken to (R90).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub remote: SocketAddr,
    pub local: Option<Local>,
}

/// How a datagram came: from whom, to which of our addresses, with which ECN mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub remote: SocketAddr,
    pub local: Option<Local>,
    /// Outer ECN, 0..=3.
    pub ecn: u8,
}
