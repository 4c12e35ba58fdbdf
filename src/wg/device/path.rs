//! What the shell needs that finds out how long packets may be (R103) and keeps to it (R104).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::consts::{ICMP_BURST, ICMP_PER_SECOND};
use super::super::time::{Now, Time};
use super::super::{Sink, ip};
use super::Device;

/// Where a peer is, since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The last handshake was completed then.
    pub at: Time,
    pub remote: SocketAddr,
    pub round_trip: Option<Duration>,
}

impl Device {
    /// The peer that packets to `address` go to; `None` before its first handshake.
    pub fn reached(&self, address: IpAddr) -> Option<Reached> {
        let peer = self.peers.get(&self.router.peer_for(address)?)?;
        let (_, at) = peer.last_handshake?;
        Some(Reached { at, remote: peer.endpoint?.remote, round_trip: peer.handshake_rtt })
    }

    /// Tells a local program that its packet is too long where `mtu` bytes may pass (R104), at a
    /// bounded rate.
    pub fn tell_too_long(&mut self, now: Now, packet: &[u8], mtu: u16, sink: &mut dyn Sink) {
        let Some(error) = ip::too_long(packet, mtu) else { return };
        if self.shared.icmp.take(now.boot, ICMP_PER_SECOND, ICMP_BURST) {
            sink.to_tun(&error);
        }
    }
}
