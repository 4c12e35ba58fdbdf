//! TCP/IP without a device: what a tunnel's inner side is where no TUN may be had or is wanted, and
//! what stands beside a TUN for ports that its system leaves unanswered. Packets come and go
//! through one end of a pair (`sys::packet_pair`), whose other end is the tunnel's. Connections to
//! the tunnel's addresses become connections that somebody else opens; those that are begun here
//! are streams for whoever asked; echo requests are answered; whatever else comes is dropped, and
//! counted.
//!
//! Reading order: `packet` (what came), `drop` (why it goes no further) → `large` (many segments at
//! once), `unreachable` → `device`, `stack` (the protocol, smoltcp's, without I/O: time and
//! randomness are passed in) → `places` (who makes room) → `flows` (which connections it has, for
//! others) → `door` (what is opened for whom), `connector` (what is begun here) → `flight` (how
//! much is on its way), `relay` (one connection's bytes, and `relay/life` its end) → `run` (the
//! thread).
//!
//! Bounds: 384 connections of others, 256 of one address (`places`), and 64 of ours; in memory of
//! each at most `Settings::buffer_bytes` each way, and no more is read on one side than the other
//! has taken; 64 packets a turn, of 16 segments at most; times in `relay` and `run`. While nothing
//! moves the thread sleeps until the first of those times.
//!
//! Must not know: WireGuard, who asks for what, HTTP.

mod connector;
mod device;
pub mod door;
pub mod drop;
mod flight;
mod flows;
mod large;
mod packet;
mod places;
mod relay;
mod run;
mod stack;
#[cfg(test)]
mod test_peer;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_begun;
mod unreachable;

pub use connector::Connector;
pub use flows::Flows;
pub use packet::{Flow, Own, glance};
pub use run::{Netstack, start};
pub use stack::Settings;

/// Of one connection each way, where many may come from elsewhere.
pub const SERVED_BYTES: usize = 256 * 1024;
/// Where few are begun here: 20 MB/s at a round trip of 50 ms.
pub const BEGUN_BYTES: usize = 1024 * 1024;
