//! The WireGuard protocol: pure and deterministic.
//!
//! Nothing in this folder opens a socket, reads a clock, starts a thread or asks the operating
//! system for anything. Time ([`Now`]) and randomness ([`Entropy`]) are handed in; datagrams and
//! packets come in as slices and leave through return values and a [`Sink`].
//! Rule ids (`R01`–`R101`) in comments name the rules listed in `RULES.md`.

mod consts;
mod cookie;
mod crypto;
mod deadlines;
mod device;
mod drop;
mod index;
mod ip;
mod keys;
mod limiter;
mod local_identities;
mod msg;
mod noise;
mod peer;
mod replay;
mod router;
mod session;
mod staged;
mod tai64n;
mod time;
mod timers;

pub use consts::{
    DATA_MIN_LEN, DEFAULT_MTU, HANDSHAKE_QUEUE, INITIATION_LEN, MAX_OTHER_IDENTITIES, MAX_PEERS,
    MAX_PREFIXES,
};
pub use device::{
    ConfigError, Device, HEADROOM, Inbound, Outbound, PeerStatus, PeerUpdate, TAILROOM,
};
pub use drop::Drop;
pub use msg::is_handshake;
pub use session::{DataHeader, Opened, Opening, Sealing};
pub use time::{Now, Time, Wall};

use std::net::{IpAddr, SocketAddr};

/// Where randomness comes from. Only the operating system's may be used outside tests (R98).
pub trait Entropy: Send {
    fn fill(&mut self, out: &mut [u8]);
}

/// Where the device's output goes that is not the direct answer to an input.
pub trait Sink {
    /// One datagram to send; `tos` is the whole outer TOS or traffic class byte.
    fn to_wire(&mut self, to: &Endpoint, tos: u8, datagram: &[u8]);
    /// One packet for the TUN that did not come from the wire: an ICMP error of our own.
    fn to_tun(&mut self, packet: &[u8]);
}

/// A local address, and the interface it was used on (0 if that does not matter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    pub ip: IpAddr,
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

/// What seals and opens data packets here, and whether that is less than the processor could do.
pub fn cipher() -> (&'static str, bool) {
    (crate::simd::status(), crate::simd::is_broken())
}

/// The public key of a private one, which is clamped first (R15).
pub fn public_key(private: &[u8; 32]) -> [u8; 32] {
    noise::Identity::new(*private).public
}
