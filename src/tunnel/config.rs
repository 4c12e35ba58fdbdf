//! The configuration of a tunnel as its owners keep it, and the changes that bring it about.

use super::path::PathMtu;
use super::request::Request;
use super::shield::Shielded;
use crate::wg::PeerUpdate;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use zeroize::Zeroize;

/// One peer. Wiped with the [`Config`] it is part of.
#[derive(Clone, Default)]
pub struct PeerConfig {
    pub public_key: [u8; 32],
    pub preshared_key: Option<[u8; 32]>,
    /// The public key of ours that it knows; `None` for that of `private_key`.
    pub own_public_key: Option<[u8; 32]>,
    /// The peer whose allowed IPs become this one's when it is heard.
    pub inherits: Option<[u8; 32]>,
    pub endpoint: Option<SocketAddr>,
    pub allowed_ips: Vec<(IpAddr, u8)>,
    /// Seconds; 0 for off.
    pub persistent_keepalive: u16,
}

/// What `start` needs to know. Wiped on drop.
#[derive(Clone, Default)]
pub struct Config {
    /// All zero for none.
    pub private_key: [u8; 32],
    /// Keys that peers may be bound to besides: at most three, while keys are being rotated.
    pub other_private_keys: Vec<[u8; 32]>,
    /// 0 for one of the system's choice.
    pub listen_port: u16,
    /// One more to listen at, where that can be had.
    pub second_port: Option<u16>,
    pub peers: Vec<PeerConfig>,
    /// Where the mark of handshake timestamps is kept over restarts (R28); `None` for nowhere.
    pub timestamp_file: Option<PathBuf>,
    /// Only answers to this machine are let in; `None` lets peers reach it. Nothing changes it
    /// later.
    pub shield: Option<Shielded>,
    /// Who finds out how long packets may be. Nothing changes it later.
    pub path: PathMtu,
}

impl Config {
    /// What makes a device exactly this.
    pub fn request(&self) -> Request {
        Request {
            private_key: Some(self.private_key),
            other_private_keys: Some(self.other_private_keys.clone()),
            listen_port: Some(self.listen_port),
            fwmark: None,
            replace_peers: true,
            peers: self.peers.iter().map(PeerConfig::update).collect(),
        }
    }

    /// For a running device: the peers `gone` go, those of `self` become as they are here, and the
    /// private keys are set anew if they are `rekeyed`.
    pub fn change(&self, rekeyed: bool, gone: &[[u8; 32]]) -> Request {
        let going = gone.iter().map(|key| {
            let mut peer = PeerUpdate::default();
            (peer.public_key, peer.remove) = (*key, true);
            peer
        });
        Request {
            private_key: rekeyed.then_some(self.private_key),
            other_private_keys: rekeyed.then(|| self.other_private_keys.clone()),
            listen_port: None,
            fwmark: None,
            replace_peers: false,
            peers: going.chain(self.peers.iter().map(PeerConfig::update)).collect(),
        }
    }
}

impl PeerConfig {
    fn update(&self) -> PeerUpdate {
        let mut peer = PeerUpdate::default();
        peer.public_key = self.public_key;
        peer.preshared_key = self.preshared_key;
        peer.own_public_key = self.own_public_key;
        peer.inherits = self.inherits;
        peer.endpoint = self.endpoint;
        peer.persistent_keepalive = Some(self.persistent_keepalive);
        peer.replace_allowed_ips = true;
        peer.allowed_ips = self.allowed_ips.iter().map(|(ip, len)| (*ip, *len, true)).collect();
        peer
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        self.private_key.zeroize();
        self.other_private_keys.zeroize();
        for peer in &mut self.peers {
            peer.preshared_key.zeroize();
        }
    }
}
