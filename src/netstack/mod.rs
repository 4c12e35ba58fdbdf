//! TCP/IP without a device: what a tunnel's inner side is where no TUN may be had, and what stands
//! beside a TUN for ports that its system leaves unanswered. Packets come and go through one end of
//! a pair (`sys::packet_pair`), whose other end is the tunnel's. Connections to the tunnel address
//! become connections that somebody else opens; echo requests are answered; whatever else comes is
//! dropped, and counted.
//!
//! Reading order: `packet` (what came), `drop` (why it goes no further) → `large` (many segments
//! at once) → `device`, `stack` (the protocol, smoltcp's, without I/O: time and randomness are
//! passed in) → `places` (who makes room) → `flows` (which connections it has, for others) → `door`
//! (what is opened for whom) → `flight` (how much is on its way), `relay` (one connection's bytes)
//! → `run` (the thread).
//!
//! Bounds: 384 connections, 256 of one address (`places`); of each 256 KiB each way, and no more is
//! read on one side than the other has taken; 64 packets a turn, of 16 segments at most; times in
//! `relay` and `run`.
//!
//! Must not know: WireGuard, who asks for what, HTTP.

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

pub use flows::Flows;
pub use packet::{Flow, glance};
pub use run::{Netstack, Settings, start};
