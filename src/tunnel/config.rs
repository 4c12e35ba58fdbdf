//! The configuration a tunnel starts with, as a value and as configuration text.

use super::uapi::{put, put_key};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use zeroize::{Zeroize, Zeroizing};

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

/// What [`super::start`] needs to know. Wiped on drop.
#[derive(Clone, Default)]
pub struct Config {
    /// All zero for none.
    pub private_key: [u8; 32],
    /// Keys that peers may be bound to besides: at most three, while keys are being rotated.
    pub other_private_keys: Vec<[u8; 32]>,
    /// 0 for one of the system's choice.
    pub listen_port: u16,
    pub peers: Vec<PeerConfig>,
    /// Where the mark of handshake timestamps is kept over restarts (R28); `None` for nowhere.
    pub stamps: Option<PathBuf>,
}

impl Config {
    /// The body of a `set=1` request that makes a device exactly this.
    pub fn to_uapi(&self) -> Zeroizing<String> {
        let prefixes: usize = self.peers.iter().map(|p| p.allowed_ips.len()).sum();
        // Enough that the text never moves and leaves keys behind.
        let size = 640 + 600 * self.peers.len() + 64 * prefixes;
        let mut text = Zeroizing::new(String::with_capacity(size));
        put_key(&mut text, "private_key", &self.private_key);
        for key in &self.other_private_keys {
            put_key(&mut text, "other_private_key", key);
        }
        put(&mut text, "listen_port", self.listen_port);
        put(&mut text, "replace_peers", true);
        for peer in &self.peers {
            peer.write(&mut text);
        }
        text
    }

    /// The body of a `set=1` request for a running device: the peers `gone` go, those of `self`
    /// become as they are here, and the private keys are set anew if they are `rekeyed`.
    pub fn to_uapi_change(&self, rekeyed: bool, gone: &[[u8; 32]]) -> Zeroizing<String> {
        let prefixes: usize = self.peers.iter().map(|p| p.allowed_ips.len()).sum();
        let size = 640 + 600 * self.peers.len() + 64 * prefixes + 100 * gone.len();
        let mut text = Zeroizing::new(String::with_capacity(size));
        if rekeyed {
            put_key(&mut text, "private_key", &self.private_key);
            for key in &self.other_private_keys {
                put_key(&mut text, "other_private_key", key);
            }
            if self.other_private_keys.is_empty() {
                put_key(&mut text, "other_private_key", &[0; 32]);
            }
        }
        for key in gone {
            put_key(&mut text, "public_key", key);
            put(&mut text, "remove", true);
        }
        for peer in &self.peers {
            peer.write(&mut text);
        }
        text
    }
}

impl PeerConfig {
    fn write(&self, text: &mut String) {
        put_key(text, "public_key", &self.public_key);
        if let Some(key) = &self.preshared_key {
            put_key(text, "preshared_key", key);
        }
        if let Some(key) = &self.own_public_key {
            put_key(text, "own_public_key", key);
        }
        if let Some(key) = &self.inherits {
            put_key(text, "inherits", key);
        }
        if let Some(endpoint) = self.endpoint {
            put(text, "endpoint", endpoint);
        }
        put(text, "persistent_keepalive_interval", self.persistent_keepalive);
        put(text, "replace_allowed_ips", true);
        for (ip, len) in &self.allowed_ips {
            put(text, "allowed_ip", format_args!("{ip}/{len}"));
        }
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
