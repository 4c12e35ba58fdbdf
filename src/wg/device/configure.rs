//! Configuration of a device: its key, its MTU, its peers, one change at a time and each as a
//! whole.

use std::net::{IpAddr, SocketAddr};

use super::super::Sink;
use super::super::consts::{MAX_PEERS, MAX_PREFIXES};
use super::super::index::PeerId;
use super::super::peer::{Env, Peer};
use super::super::time::{Now, Wall};
use super::Device;

/// One peer's configuration change; what is `None` or empty stays as it is.
#[derive(Default, Clone)]
pub struct PeerUpdate {
    pub public_key: [u8; 32],
    pub remove: bool,
    /// Do nothing if there is no such peer.
    pub update_only: bool,
    pub preshared_key: Option<[u8; 32]>,
    pub endpoint: Option<SocketAddr>,
    /// The public key of ours that this peer knows; all zero for that of the interface.
    pub own_public_key: Option<[u8; 32]>,
    /// The public key of a peer whose allowed IPs become this one's with its first packet: the
    /// same machine under its next key. All zero for none.
    pub inherits: Option<[u8; 32]>,
    /// Seconds; 0 is off.
    pub persistent_keepalive: Option<u16>,
    pub replace_allowed_ips: bool,
    /// Address, prefix length, and whether to add (else remove) it.
    pub allowed_ips: Vec<(IpAddr, u8, bool)>,
}

impl std::ops::Drop for PeerUpdate {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.preshared_key);
    }
}

/// Why a configuration change was refused; nothing of it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    TooManyPeers,
    TooManyPrefixes,
    /// A prefix longer than the address.
    BadPrefix,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigError::TooManyPeers => write!(f, "more than {MAX_PEERS} peers"),
            ConfigError::TooManyPrefixes => write!(f, "more than {MAX_PREFIXES} allowed IPs"),
            ConfigError::BadPrefix => write!(f, "a prefix is longer than its address"),
        }
    }
}

impl Device {
    /// Sets our private key; `None` or all zero takes it away. Sessions may not send any more, and
    /// each peer may be initiated to at once (R23). A peer with our own public key goes (R20).
    pub fn set_private_key(&mut self, now: Now, key: Option<[u8; 32]>, sink: &mut dyn Sink) {
        self.shared.identities.set_main(key);
        self.forget_ourselves();
        self.each_peer(now, sink, Peer::identity_changed);
    }

    /// Sets the private keys that peers may be bound to besides the interface's own, and that one,
    /// too, in the same moment. Peers whose identity stays keep their sessions.
    pub fn set_private_keys(
        &mut self,
        now: Now,
        main: Option<[u8; 32]>,
        others: &[[u8; 32]],
        sink: &mut dyn Sink,
    ) {
        self.shared.identities.set_main(main);
        self.shared.identities.set_others(others);
        self.forget_ourselves();
        self.each_peer(now, sink, Peer::identities_changed);
    }

    fn forget_ourselves(&mut self) {
        let identities = &self.shared.identities;
        let ours: Vec<[u8; 32]> =
            self.by_key.keys().filter(|key| identities.is_ours(key)).copied().collect();
        ours.iter().for_each(|key| self.remove_peer(key));
    }

    /// Our private key, clamped (R15).
    pub fn private_key(&self) -> Option<[u8; 32]> {
        self.shared.identities.main().map(|me| *me.private().bytes())
    }

    pub fn public_key(&self) -> Option<[u8; 32]> {
        self.shared.identities.main().map(|me| me.public)
    }

    /// The inner MTU in bytes, which padding never exceeds (R87).
    pub fn set_mtu(&mut self, mtu: u16) {
        self.shared.mtu = mtu;
    }

    pub fn mtu(&self) -> u16 {
        self.shared.mtu
    }

    pub fn remove_all_peers(&mut self) {
        for key in self.by_key.keys().copied().collect::<Vec<_>>() {
            self.remove_peer(&key);
        }
    }

    /// Routes, then indices, then keys, then the peer itself (R96).
    fn remove_peer(&mut self, public: &[u8; 32]) {
        let Some(id) = self.by_key.remove(public) else { return };
        self.router.remove_peer(id);
        self.successors.forget(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            self.deadlines.forget(id, &mut peer.queued);
            // In place: moving it out of the map first would leave a copy of its keys behind.
            peer.stop(&mut self.shared);
        }
        self.peers.remove(&id);
    }

    /// Adds, changes or removes one peer. On an error nothing was changed.
    pub fn update_peer(
        &mut self,
        now: Now,
        update: &PeerUpdate,
        sink: &mut dyn Sink,
    ) -> Result<(), ConfigError> {
        if update.remove {
            self.remove_peer(&update.public_key);
            return Ok(());
        }
        self.check_update(update)?;
        let known = self.by_key.get(&update.public_key).copied();
        let id = match known {
            Some(id) => id,
            None if update.update_only || self.shared.identities.is_ours(&update.public_key) => {
                return Ok(());
            }
            None => self.add_peer(update.public_key)?,
        };
        if update.replace_allowed_ips {
            self.router.remove_peer(id);
        }
        for &(ip, len, add) in &update.allowed_ips {
            if add {
                self.router.insert(ip, len, id);
            } else {
                self.router.remove(ip, len, id);
            }
        }
        if let Some(last) = update.inherits {
            self.successors.set(id, self.by_key.get(&last).copied());
        }
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if let Some(own) = update.own_public_key {
            let own = Some(own).filter(|key| *key != [0; 32]);
            peer.bind(&mut Env { now, shared: &mut self.shared, sink }, own);
        }
        if let Some(key) = update.preshared_key {
            peer.set_preshared(key);
        }
        let reachable = peer.reachable().is_ok();
        if let Some(endpoint) = update.endpoint {
            peer.set_endpoint(endpoint);
        }
        // Turned on, or set already but without a place to send to until now (R70, R76).
        let wanted = peer.timers.persistent_secs() > 0;
        if let Some(secs) = update.persistent_keepalive {
            peer.timers.set_persistent(secs);
        }
        if peer.timers.persistent_secs() > 0 && !(wanted && reachable) && self.running {
            peer.send_keepalive(&mut Env { now, shared: &mut self.shared, sink });
        }
        Self::reschedule(&mut self.deadlines, peer);
        Ok(())
    }

    fn check_update(&self, update: &PeerUpdate) -> Result<(), ConfigError> {
        let too_long =
            |(ip, len, _): &(IpAddr, u8, bool)| *len > if ip.is_ipv4() { 32 } else { 128 };
        if update.allowed_ips.iter().any(too_long) {
            return Err(ConfigError::BadPrefix);
        }
        let added = update.allowed_ips.iter().filter(|(_, _, add)| *add).count();
        if self.router.len().saturating_add(added) > MAX_PREFIXES {
            return Err(ConfigError::TooManyPrefixes);
        }
        Ok(())
    }

    fn add_peer(&mut self, public: [u8; 32]) -> Result<PeerId, ConfigError> {
        if self.peers.len() >= MAX_PEERS {
            return Err(ConfigError::TooManyPeers);
        }
        let id = PeerId(self.last_id.checked_add(1).ok_or(ConfigError::TooManyPeers)?);
        self.last_id = id.0;
        self.shared.unprepared.insert(id);
        self.peers.insert(id, Peer::new(id, public, self.shared.identities.main()));
        self.by_key.insert(public, id);
        Ok(id)
    }

    /// The last handshake timestamp issued; kept over a restart and given to
    /// [`resume_timestamps`](Self::resume_timestamps) (R28).
    pub fn timestamp_mark(&self) -> Option<Wall> {
        self.shared.issuer.mark()
    }

    /// From now on only timestamps above `mark`, whatever the wall clock says (R28).
    pub fn resume_timestamps(&mut self, mark: Wall) {
        self.shared.issuer.resume(mark);
    }
}
