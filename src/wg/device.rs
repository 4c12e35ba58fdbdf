//! The façade: packets in, datagrams out, and the other way; time; configuration.
//!
//! Owns the peers, the routes and everything that peers share. Decides which peer a packet or a
//! datagram belongs to; what then happens is the peer's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::consts::*;
use super::drop::{Counters, Drop};
use super::identities::Identities;
use super::index::{Agenda, Indices, Owner};
use super::limiter::{Bucket, Limiter};
use super::msg::{Macs, Message};
use super::noise;
use super::peer::{Deferred, Env, Peer, PeerId, Shared};
use super::router::Router;
use super::session::{Opened, Opening, Sealing};
use super::tai64n::Issuer;
use super::time::{Now, Time, Wall};
use super::{Arrival, Endpoint, Entropy, Sink, ip};

/// Free bytes that [`Device::from_tun`] needs before a packet, and after it.
pub const HEADROOM: usize = DATA_HEADER_LEN;
pub const TAILROOM: usize = PADDING + TAG_LEN;

/// What became of a packet from the TUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// The finished datagram is `buf[..len]`; `tos` is the whole traffic class byte.
    Send {
        to: Endpoint,
        tos: u8,
        len: usize,
    },
    /// A copy waits for a session.
    Staged,
    Dropped(Drop),
}

/// What became of a datagram from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// An inner packet for the TUN: `buf[start..start + len]`.
    Packet {
        start: usize,
        len: usize,
    },
    /// A handshake message, a cookie or a keepalive that did its work.
    Consumed,
    Dropped(Drop),
}

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

/// One WireGuard interface.
pub struct Device {
    shared: Shared,
    peers: BTreeMap<PeerId, Peer>,
    by_key: BTreeMap<[u8; 32], PeerId>,
    last_id: u32,
    router: Router,
    /// Peers that have not been heard yet, and whose allowed IPs they get.
    heirs: BTreeMap<PeerId, PeerId>,
    agenda: Agenda,
    limiter: Limiter,
    loaded_until: Time,
    running: bool,
}

impl Device {
    /// Without key and peers, and stopped.
    pub fn new(entropy: Box<dyn Entropy>) -> Device {
        Device {
            shared: Shared {
                identities: Identities::default(),
                entropy,
                issuer: Issuer::default(),
                indices: Indices::default(),
                drops: Counters::default(),
                icmp: Bucket::full(Time::ZERO, ICMP_PER_SECOND, ICMP_BURST),
                mtu: usize::from(DEFAULT_MTU),
                deferred: Deferred::default(),
                unprepared: BTreeSet::new(),
            },
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            last_id: 0,
            router: Router::default(),
            heirs: BTreeMap::new(),
            agenda: Agenda::default(),
            limiter: Limiter::default(),
            loaded_until: Time::ZERO,
            running: false,
        }
    }

    // Packets.

    /// A packet of a local program: `buf[16..16 + len]`, with [`TAILROOM`] free bytes behind it.
    pub fn from_tun(
        &mut self,
        now: Now,
        buf: &mut [u8],
        len: usize,
        sink: &mut dyn Sink,
    ) -> Outbound {
        match self.route_out(now, buf, len, sink) {
            Ok(outbound) => outbound,
            Err(why) => {
                self.shared.drops.count(why);
                if matches!(why, Drop::NoRoute | Drop::NoEndpoint) {
                    self.tell_unreachable(
                        now,
                        buf.get(HEADROOM..).and_then(|b| b.get(..len)),
                        sink,
                    );
                }
                Outbound::Dropped(why)
            }
        }
    }

    /// [`from_tun`](Self::from_tun) without the sealing, which is left to the caller: of the
    /// datagram that [`Outbound::Send`] describes, before it is sent.
    pub fn from_tun_later(
        &mut self,
        now: Now,
        buf: &mut [u8],
        len: usize,
        sink: &mut dyn Sink,
    ) -> (Outbound, Option<Sealing>) {
        self.shared.deferred.seal = true;
        let outbound = self.from_tun(now, buf, len, sink);
        self.shared.deferred.seal = false;
        (outbound, self.shared.deferred.sealing.take())
    }

    /// What it takes to open this datagram, if it is data for one of our sessions; then it goes to
    /// [`from_wire_opened`](Self::from_wire_opened).
    pub fn opening(&mut self, datagram: &[u8]) -> Option<Opening> {
        let Some(Message::Data(header)) = Message::parse(datagram) else { return None };
        let Some(Owner::Session(id)) = self.shared.indices.get(header.receiver) else {
            return None;
        };
        self.peers.get_mut(&id)?.open_later(header.receiver, header.counter)
    }

    /// [`from_wire`](Self::from_wire) for a datagram that was opened already.
    pub fn from_wire_opened(
        &mut self,
        now: Now,
        buf: &mut [u8],
        from: &Arrival,
        opened: Opened,
        sink: &mut dyn Sink,
    ) -> Inbound {
        self.shared.deferred.opened = Some(opened);
        let inbound = self.from_wire(now, buf, from, sink);
        self.shared.deferred.opened = None;
        inbound
    }

    fn route_out(
        &mut self,
        now: Now,
        buf: &mut [u8],
        len: usize,
        sink: &mut dyn Sink,
    ) -> Result<Outbound, Drop> {
        if !self.running {
            return Err(Drop::NotRunning);
        }
        if buf.len() < HEADROOM + len + TAILROOM {
            return Err(Drop::TunMalformed);
        }
        let view = ip::view(&buf[HEADROOM..HEADROOM + len]).ok_or(Drop::TunMalformed)?;
        let id = self.router.peer_for(view.dst).ok_or(Drop::NoRoute)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::NoRoute)?;
        if self.shared.identities.main().is_none() {
            return Err(Drop::NoPrivateKey);
        }
        peer.reachable()?;
        if peer.would_loop(view.dst, &buf[HEADROOM..HEADROOM + view.len]) {
            return Err(Drop::RoutingLoop);
        }
        let mut env = Env { now, shared: &mut self.shared, sink };
        let sealed = peer.send_data(&mut env, buf, len, view.ecn);
        Self::reschedule(&mut self.agenda, peer);
        Ok(match sealed {
            Some(s) => Outbound::Send { to: s.to, tos: s.tos, len: s.len },
            None => Outbound::Staged,
        })
    }

    /// Lets a local program fail fast instead of waiting (R75), at a bounded rate.
    fn tell_unreachable(&mut self, now: Now, packet: Option<&[u8]>, sink: &mut dyn Sink) {
        let Some(error) = packet.and_then(ip::unreachable) else { return };
        if self.shared.icmp.take(now.boot, ICMP_PER_SECOND, ICMP_BURST) {
            sink.to_tun(&error);
        }
    }

    /// A datagram from the wire; it is opened in place. Whatever is wrong with it, the sender hears
    /// nothing (R08, R94).
    pub fn from_wire(
        &mut self,
        now: Now,
        buf: &mut [u8],
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Inbound {
        match self.dispatch(now, buf, from, sink) {
            Ok(inbound) => inbound,
            Err(why) => {
                self.shared.drops.count(why);
                Inbound::Dropped(why)
            }
        }
    }

    fn dispatch(
        &mut self,
        now: Now,
        buf: &mut [u8],
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Result<Inbound, Drop> {
        if !self.running {
            return Err(Drop::NotRunning);
        }
        let message = Message::parse(buf).ok_or(Drop::Malformed)?;
        if let Message::Data(header) = message {
            return self.data(now, header.receiver, header.counter, buf, from, sink);
        }
        if self.shared.identities.main().is_none() {
            return Err(Drop::NoPrivateKey);
        }
        match &message {
            Message::Initiation(m) => {
                let ours = self.check_macs(now, buf, m.sender, from, sink)?;
                let identities = &self.shared.identities;
                let me = identities.of(Some(&ours)).ok_or(Drop::NoPrivateKey)?;
                let claimed = noise::open_static(me, m)?;
                let id = *self.by_key.get(&claimed.public).ok_or(Drop::UnknownPeer)?;
                let peer = self.peers.get(&id).ok_or(Drop::UnknownPeer)?;
                if peer.identity(identities).is_none_or(|bound| bound.public != ours) {
                    return Err(Drop::UnknownPeer);
                }
                self.with_peer(now, id, sink, |p, env| {
                    p.receive_initiation(env, claimed, m, from)
                })?;
            }
            Message::Response(m) => {
                self.check_macs(now, buf, m.sender, from, sink)?;
                let Some(Owner::Handshake(id)) = self.shared.indices.get(m.receiver) else {
                    return Err(Drop::UnknownIndex);
                };
                self.with_peer(now, id, sink, |p, env| p.receive_response(env, m, from))?;
                self.inherit(id);
            }
            Message::Cookie(m) => {
                let owner = self.shared.indices.get(m.receiver).ok_or(Drop::UnknownIndex)?;
                let peer = self.peers.get_mut(&owner.peer()).ok_or(Drop::UnknownIndex)?;
                peer.receive_cookie(now.boot, m)?;
            }
            Message::Data(_) => {}
        }
        Ok(Inbound::Consumed)
    }

    fn data(
        &mut self,
        now: Now,
        receiver: u32,
        counter: u64,
        buf: &mut [u8],
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Result<Inbound, Drop> {
        let Some(Owner::Session(id)) = self.shared.indices.get(receiver) else {
            return Err(Drop::UnknownIndex);
        };
        let len = self
            .with_peer(now, id, sink, |p, env| p.receive_data(env, receiver, counter, buf, from))?;
        self.inherit(id);
        // A keepalive (R79).
        if len == 0 {
            return Ok(Inbound::Consumed);
        }
        let packet = &mut buf[HEADROOM..HEADROOM + len];
        let view = ip::view(packet).ok_or(Drop::InnerMalformed)?;
        if self.router.peer_for(view.src) != Some(id) {
            return Err(Drop::WrongSource);
        }
        ip::ecn_decapsulate(from.ecn, &mut packet[..view.len]);
        Ok(Inbound::Packet { start: HEADROOM, len: view.len })
    }

    /// A peer has proven that it has its key: what it was to take over is its own now, so that no
    /// packet is lost between its handshake and a change of the configuration.
    fn inherit(&mut self, id: PeerId) {
        let Some(old) = self.heirs.remove(&id) else { return };
        for (ip, len) in self.router.prefixes(old) {
            self.router.insert(ip, len, id);
        }
    }

    /// mac1 always; mac2 and the limiter under load, or else a cookie (R29, R38–R40). Comes before
    /// any public-key work (R94). Which of our public keys the message is for.
    fn check_macs(
        &mut self,
        now: Now,
        datagram: &[u8],
        sender: u32,
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Result<[u8; 32], Drop> {
        let macs = Macs::of(datagram).ok_or(Drop::Malformed)?;
        let own = self.shared.identities.addressed(&macs).ok_or(Drop::BadMac1)?;
        let (public, checker) = (own.identity.public, &mut own.checker);
        if now.boot >= self.loaded_until {
            return Ok(public);
        }
        let entropy = &mut *self.shared.entropy;
        if !checker.mac2_is_right(now.boot, &macs, from.remote, entropy) {
            let reply = checker.reply(now.boot, &macs, sender, from.remote, entropy);
            let to = Endpoint { remote: from.remote, local: from.local };
            sink.to_wire(&to, HANDSHAKE_TOS, &reply.write());
            return Err(Drop::CookieSent);
        }
        match self.limiter.allow(now.boot, from.remote.ip()) {
            true => Ok(public),
            false => Err(Drop::RateLimited),
        }
    }

    /// How many handshake datagrams wait in the shell's ring (R38). Call before each of them.
    pub fn set_queued(&mut self, now: Now, queued: usize) {
        if queued >= LOADED_AT {
            self.loaded_until = now.boot.after(LOADED_FOR);
        }
    }

    /// Counts a drop that only the shell can see.
    pub fn note_drop(&mut self, why: Drop) {
        self.shared.drops.count(why);
    }

    /// Many that were counted elsewhere.
    pub fn note_drops(&mut self, why: Drop, n: u64) {
        self.shared.drops.add(why, n);
    }

    // Time.

    /// Serves all deadlines up to now. Afterwards [`next_deadline`](Self::next_deadline) lies in
    /// the future.
    pub fn on_time(&mut self, now: Now, sink: &mut dyn Sink) {
        // Each round takes one peer off the agenda and puts it back later than now.
        while let Some(id) = self.agenda.take_due(now.boot) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if self.running {
                peer.on_time(&mut Env { now, shared: &mut self.shared, sink });
            }
            Self::reschedule(&mut self.agenda, peer);
        }
    }

    /// When to call [`on_time`](Self::on_time) at the latest, and why. May be early, never late.
    pub fn next_deadline(&self) -> Option<(Time, &'static str)> {
        let (at, id) = self.agenda.first()?;
        let next = self.peers.get(&id).and_then(|p| p.timers.next());
        Some((at, next.map_or("nothing any more", |(_, t)| t.reason())))
    }

    /// Is there work for a quiet moment? Then call [`prepare`](Self::prepare) in one.
    pub fn can_prepare(&self) -> bool {
        self.running && !self.shared.unprepared.is_empty()
    }

    /// Does for one peer what its next handshake needs that does not depend on it, 50 µs of work.
    /// Handshakes are as good without it, but later.
    pub fn prepare(&mut self) {
        if !self.running {
            return;
        }
        let id = self.shared.unprepared.pop_first();
        if let Some(peer) = id.and_then(|id| self.peers.get_mut(&id)) {
            peer.prepare(&mut self.shared);
        }
    }

    // Life cycle.

    /// The interface is up (R73).
    pub fn start(&mut self, now: Now, sink: &mut dyn Sink) {
        if !std::mem::replace(&mut self.running, true) {
            self.each_peer(now, sink, Peer::start);
        }
    }

    /// The interface is down: no timer armed, nothing staged, no key held (R95).
    pub fn stop(&mut self) {
        self.running = false;
        for peer in self.peers.values_mut() {
            peer.stop(&mut self.shared);
            self.agenda.forget(peer.id);
        }
        self.shared.unprepared.clear();
        self.limiter = Limiter::default();
        self.loaded_until = Time::ZERO;
    }

    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Addresses or routes changed, or the machine woke (R101).
    pub fn network_changed(&mut self, now: Now, sink: &mut dyn Sink) {
        if self.running {
            self.each_peer(now, sink, Peer::network_changed);
        }
    }

    /// A handshake, at once, with every peer whose endpoint is known and that has no session with
    /// us: after a restart of ours they still have theirs, and would wait for 15 s of silence
    /// (R67).
    pub fn handshake_all(&mut self, now: Now, sink: &mut dyn Sink) {
        if self.running {
            self.each_peer(now, sink, Peer::handshake);
        }
    }

    /// A peer may be at any of `remotes` (a name with several addresses): all are tried with the
    /// next handshake, and the first to answer is the endpoint.
    pub fn set_candidates(&mut self, public_key: &[u8; 32], remotes: &[SocketAddr]) {
        let peer = self.by_key.get(public_key).and_then(|id| self.peers.get_mut(id));
        if let Some(peer) = peer {
            peer.set_candidates(remotes);
        }
    }

    // Configuration.

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
        self.shared.mtu = usize::from(mtu);
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
        self.heirs.retain(|heir, of| *heir != id && *of != id);
        self.agenda.forget(id);
        if let Some(peer) = self.peers.get_mut(&id) {
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
        if let Some(old) = update.inherits {
            self.heirs.remove(&id);
            let old = self.by_key.get(&old).filter(|old| **old != id);
            self.heirs.extend(old.map(|old| (id, *old)));
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
        Self::reschedule(&mut self.agenda, peer);
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

    // Common ground.

    fn with_peer<T>(
        &mut self,
        now: Now,
        id: PeerId,
        sink: &mut dyn Sink,
        act: impl FnOnce(&mut Peer, &mut Env) -> Result<T, Drop>,
    ) -> Result<T, Drop> {
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownIndex)?;
        let result = act(peer, &mut Env { now, shared: &mut self.shared, sink });
        Self::reschedule(&mut self.agenda, peer);
        result
    }

    fn each_peer(&mut self, now: Now, sink: &mut dyn Sink, act: impl Fn(&mut Peer, &mut Env)) {
        for peer in self.peers.values_mut() {
            act(peer, &mut Env { now, shared: &mut self.shared, sink: &mut *sink });
            Self::reschedule(&mut self.agenda, peer);
        }
    }

    fn reschedule(agenda: &mut Agenda, peer: &Peer) {
        if let Some((at, _)) = peer.timers.next() {
            agenda.no_later_than(peer.id, at);
        }
    }
}
