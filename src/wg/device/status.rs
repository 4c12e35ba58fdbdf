//! What is known of a device and its peers, for whoever asks.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::peer::Peer;
use super::super::time::{Time, Wall};
use super::Device;

/// What is known of a peer. Holds the preshared key, so there is no `Debug`.
pub struct PeerStatus {
    pub public_key: [u8; 32],
    pub preshared_key: [u8; 32],
    pub endpoint: Option<SocketAddr>,
    pub persistent_keepalive: u16,
    pub allowed_ips: Vec<(IpAddr, u8)>,
    /// When the last handshake was completed; `None` if there was none (R100).
    pub last_handshake: Option<Wall>,
    pub last_handshake_boot: Option<Time>,
    /// From our last answered initiation to its response.
    pub handshake_rtt: Option<Duration>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

impl std::ops::Drop for PeerStatus {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.preshared_key);
    }
}

impl Device {
    // What is known.

    /// All peers, in the order they were added.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers.values().map(|p| self.peer_status(p)).collect()
    }

    fn peer_status(&self, p: &Peer) -> PeerStatus {
        PeerStatus {
            public_key: p.public,
            preshared_key: *p.preshared(),
            endpoint: p.endpoint.map(|e| e.remote),
            persistent_keepalive: p.timers.persistent_secs(),
            allowed_ips: self.router.prefixes(p.id),
            last_handshake: p.last_handshake.map(|(wall, _)| wall),
            last_handshake_boot: p.last_handshake.map(|(_, boot)| boot),
            handshake_rtt: p.handshake_rtt,
            rx_bytes: p.rx_bytes,
            tx_bytes: p.tx_bytes,
        }
    }

    /// Every drop reason with its count, in fixed order.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.shared.drops.iter()
    }

    /// Receiver indices in use, for tests of R43–R45 and R96.
    pub fn live_indices(&self) -> usize {
        self.shared.indices.len()
    }
}
