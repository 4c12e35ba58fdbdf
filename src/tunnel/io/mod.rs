//! The outside world of a tunnel: `tun` (inner packets), `aside` (those of others), `udp`
//! (outer datagrams), `sockets` (bound, marked, renewed), `source_addrs` (from which address),
//! `sink` (all of it, for the device).
//! Knows nothing of the protocol but what a datagram is addressed with.

mod aside;
mod sink;
mod sockets;
mod source_addrs;
mod tun;
mod udp;

pub use aside::{Aside, Beside, Takes};
pub use sink::Io;
pub use sockets::Which;
pub use tun::{READ_LEN, Tun, TunDevice, TunError};
pub use udp::Udp;
