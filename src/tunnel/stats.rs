//! A snapshot of a running tunnel for other threads. Holds no secret.

use super::path::PathState;
use crate::sys::ioctl::Offload;
use crate::wg::{Device, Now, PeerStatus, Wall};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One peer, without its keys but the public one.
#[derive(Clone, Debug, Default)]
pub struct PeerState {
    pub public_key: [u8; 32],
    pub endpoint: Option<SocketAddr>,
    pub persistent_keepalive: u16,
    pub allowed_ips: Vec<(IpAddr, u8)>,
    /// Wall-clock moment of the last completed handshake.
    pub last_handshake: Option<Wall>,
    /// Its age on the boot clock, which the wall clock's steps do not touch.
    pub last_handshake_age: Option<Duration>,
    pub handshake_rtt: Option<Duration>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

/// The state of one tunnel at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub interface: String,
    /// The interface is up and the protocol runs.
    pub running: bool,
    pub listen_port: u16,
    /// The second port, where it is listened at.
    pub second_port: Option<u16>,
    /// Inner MTU as last seen.
    pub mtu: u16,
    /// What is known of the longest packet that passes; `None` where it is not sought.
    pub path: Option<PathState>,
    pub peers: Vec<PeerState>,
    /// Every reason for a drop with its count, in fixed order.
    pub drops: Vec<(&'static str, u64)>,
    /// Deadlines that were due again right after being served: 0 unless there is a bug.
    pub clamped_deadlines: u64,
    /// What the kernel agreed to do for us at the TUN.
    pub tun_offload: Offload,
    /// Batches of datagrams that a socket would not take whole.
    pub refused_batches: u64,
}

impl Status {
    /// Whether the first peer, of a tunnel that has one, has shaken hands since its start.
    pub fn has_handshake(&self) -> bool {
        self.peers.first().is_some_and(|peer| peer.last_handshake.is_some())
    }
}

pub(super) fn peers(device: &Device, now: Now) -> Vec<PeerState> {
    device.peers().iter().map(|p| peer(p, now)).collect()
}

fn peer(p: &PeerStatus, now: Now) -> PeerState {
    PeerState {
        public_key: p.public_key,
        endpoint: p.endpoint,
        persistent_keepalive: p.persistent_keepalive,
        allowed_ips: p.allowed_ips.clone(),
        last_handshake: p.last_handshake,
        last_handshake_age: p.last_handshake_boot.map(|at| now.boot.since(at)),
        handshake_rtt: p.handshake_rtt,
        rx_bytes: p.rx_bytes,
        tx_bytes: p.tx_bytes,
    }
}
