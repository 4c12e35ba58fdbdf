//! One peer: composes keys, timers, cookie jar, staged packets and endpoint. Its handshakes, in
//! both roles, are in `handshake`; what it is told to be, in `configure`.
//!
//! Knows nothing of other peers and nothing of routing; the device decides which peer a packet
//! belongs to. Everything a peer needs from around it comes in an [`Env`].

mod configure;
mod handshake;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::consts::*;
use super::cookie::Jar;
use super::crypto::Secret;
use super::drop::{Counters, Drop};
use super::index::{Indices, PeerId};
use super::keys::{Displaced, Keys};
use super::limiter::Bucket;
use super::local_identities::LocalIdentities;
use super::noise::{Ephemeral, Identity, Initiated};
use super::session::{DataHeader, Opened, Opening, Sealing};
use super::staged::Staged;
use super::tai64n::{Issuer, Tai64n};
use super::time::{Now, Time, Wall};
use super::timers::{ALL, Retry, Timer, Timers};
use super::{Arrival, Endpoint, Entropy, Sink, ip};

/// What all peers of a device share.
pub struct Shared {
    pub identities: LocalIdentities,
    pub entropy: Box<dyn Entropy>,
    pub issuer: Issuer,
    pub indices: Indices,
    pub drops: Counters,
    pub icmp: Bucket,
    pub mtu: u16,
    /// Those without an ephemeral key for their next handshake. Some may be gone.
    pub unprepared: BTreeSet<PeerId>,
}

/// One call's surroundings.
pub struct Env<'a> {
    pub now: Now,
    pub shared: &'a mut Shared,
    pub sink: &'a mut dyn Sink,
}

impl Env<'_> {
    fn drop(&mut self, why: Drop) {
        self.shared.drops.count(why);
    }

    fn free(&mut self, displaced: Displaced) {
        for index in displaced.indices() {
            self.shared.indices.free(index);
        }
    }
}

pub struct Peer {
    pub id: PeerId,
    pub public: [u8; 32],
    preshared: Secret,
    /// The public key of ours that this peer knows; `None` for the interface's own.
    local_key: Option<[u8; 32]>,
    /// The public key that `static_static` was made with.
    dh_identity: Option<[u8; 32]>,
    /// `None` without a private key of ours, or for a key of low order (R14).
    static_static: Option<Secret>,
    pub endpoint: Option<Endpoint>,
    /// Where else the peer may be: initiations go there, too, until a handshake is done.
    candidates: Vec<SocketAddr>,
    /// When it was last tried at an address beside the way in use (R102).
    last_try: Option<Time>,
    /// Our initiation under way; both roles share this one state (R24).
    initiated: Option<(Initiated, Time)>,
    /// Made in a quiet moment, for the next handshake in either role.
    ephemeral: Option<Ephemeral>,
    keys: Keys,
    pub timers: Timers,
    /// When the device will look at these; the device's.
    pub queued: Option<Time>,
    jar: Jar,
    staged: Staged,
    /// The greatest timestamp accepted from this peer, and when (R25, R26).
    last_stamp: Option<Tai64n>,
    last_initiation: Option<Time>,
    pub last_handshake: Option<(Wall, Time)>,
    pub handshake_rtt: Option<Duration>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

impl Peer {
    pub fn new(id: PeerId, public: [u8; 32], identity: Option<&Identity>) -> Peer {
        Peer {
            id,
            public,
            preshared: Secret::ZERO,
            local_key: None,
            dh_identity: identity.map(|i| i.public),
            static_static: identity.and_then(|i| i.static_static(&public)),
            endpoint: None,
            candidates: Vec::new(),
            last_try: None,
            initiated: None,
            ephemeral: None,
            keys: Keys::default(),
            timers: Timers::default(),
            queued: None,
            jar: Jar::new(&public),
            staged: Staged::default(),
            last_stamp: None,
            last_initiation: None,
            last_handshake: None,
            handshake_rtt: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    // From the TUN.

    /// Can anything be sent to this peer at all (R14, R76)?
    pub fn reachable(&self) -> Result<(), Drop> {
        if self.static_static.is_none() {
            return Err(Drop::PeerLowOrder);
        }
        self.endpoint.map(|_| ()).ok_or(Drop::NoEndpoint)
    }

    /// Is `packet`, on its way to this peer, one of our own datagrams to it? It would be wrapped
    /// again and again. Only a datagram of the same session is refused: a peer reached through
    /// another one, or another WireGuard behind us with the same server, are as they should be.
    pub fn would_loop(&self, dst: IpAddr, packet: &[u8]) -> bool {
        self.endpoint.is_some_and(|e| e.remote.ip() == dst)
            && ip::udp_payload(packet)
                .is_some_and(|d| self.keys.current_ref().is_some_and(|s| s.sealed(d)))
    }

    /// Makes the inner packet at `buf[16..16 + len]` a datagram that is still to be sealed. `None`:
    /// it was staged and a handshake is under way.
    pub fn send_data(
        &mut self,
        env: &mut Env,
        buf: &mut [u8],
        len: usize,
        ecn: u8,
    ) -> Option<Ready> {
        let padded = padded_len(len, env.shared.mtu.into());
        let sealing = match self.keys.current() {
            Some(session) => {
                if let Some(gap) = buf.get_mut(HEAD + len..HEAD + padded) {
                    gap.fill(0);
                }
                session.next(env.now.boot, buf).ok()
            }
            None => None,
        };
        let to = self.endpoint?;
        let Some(sealing) = sealing else {
            self.stage(env, buf.get(HEAD..HEAD + len)?);
            return None;
        };
        let len = HEAD + padded + TAG_LEN;
        self.tx_bytes += len as u64;
        self.timers.data_sent(env.now.boot);
        self.renew_after_send(env);
        Some(Ready { to, tos: ip::ecn_encapsulate(ecn), len, sealing })
    }

    /// Keeps a copy until there is a session, and asks for one (R52).
    fn stage(&mut self, env: &mut Env, packet: &[u8]) {
        if self.staged.push(packet) {
            env.drop(Drop::StagedOverflow);
        }
        self.want_handshake(env);
    }

    /// Sends an empty packet if a session allows, else starts a handshake, whose end sends one.
    pub fn send_keepalive(&mut self, env: &mut Env) {
        if self.reachable().is_err() {
            return;
        }
        let mut buf = [0; DATA_MIN_LEN];
        let sealing = self.keys.current().and_then(|s| s.next(env.now.boot, &mut buf).ok());
        match sealing {
            Some(sealing) => {
                sealing.seal(&mut buf);
                self.timers.authenticated_sent(env.now.boot);
                self.emit(env, 0, &buf);
                self.renew_after_send(env);
            }
            None => self.want_handshake(env),
        }
    }

    // From the wire.

    /// What it takes to open the data message of this header.
    pub fn opening(&mut self, header: &DataHeader) -> Option<Opening> {
        self.keys.find(header.receiver).map(|s| s.opening(header.counter))
    }

    /// A data message for one of our sessions, perhaps opened already. On success the packet
    /// (perhaps empty) is `buf[16..16 + n]`; timers, endpoint and key slots have moved already.
    pub fn receive_data(
        &mut self,
        env: &mut Env,
        header: &DataHeader,
        buf: &mut [u8],
        opened: Option<Opened>,
        from: &Arrival,
    ) -> Result<usize, Drop> {
        let session = self.keys.find(header.receiver).ok_or(Drop::UnknownIndex)?;
        let len = session.open(env.now.boot, header.counter, buf, opened)?;
        self.learn_endpoint(from);
        if let Some(displaced) = self.keys.promote(header.receiver) {
            env.free(displaced);
            self.complete(env);
            self.flush(env);
        }
        self.renew_after_receive(env);
        self.timers.authenticated_received(env.now.boot);
        if len > 0 {
            self.timers.data_received(env.now.boot);
        }
        self.rx_bytes += (DATA_MIN_LEN + len) as u64;
        Ok(len)
    }

    // Time.

    /// Serves every timer that is due, each once at most.
    pub fn on_time(&mut self, env: &mut Env) {
        for timer in ALL {
            if self.timers.take_due(timer, env.now.boot) {
                self.fire(env, timer);
            }
        }
    }

    fn fire(&mut self, env: &mut Env, timer: Timer) {
        match timer {
            Timer::Retransmit => match self.timers.retransmit_fired(env.now.boot) {
                Retry::Again => {
                    self.forget_source();
                    self.initiate(env);
                }
                Retry::GiveUp => self.purge_staged(env),
            },
            Timer::Keepalive => {
                self.send_keepalive(env);
                self.timers.keepalive_fired(env.now.boot);
            }
            Timer::NewHandshake => {
                self.forget_source();
                self.want_handshake(env);
            }
            Timer::Wipe => self.wipe(env),
            Timer::Persistent => self.send_keepalive(env),
        }
    }

    // Life cycle.

    /// The interface came up (R73).
    pub fn start(&mut self, env: &mut Env) {
        env.shared.unprepared.insert(self.id);
        if self.timers.persistent_secs() > 0 {
            self.send_keepalive(env);
        }
    }

    /// The interface went down or the peer goes: nothing armed, nothing held (R95, R96).
    pub fn stop(&mut self, shared: &mut Shared) {
        shared.drops.add(Drop::StagedPurged, self.staged.purge() as u64);
        self.timers.stop();
        self.wipe_into(&mut shared.indices);
    }

    /// Forgets which of our addresses the peer last wrote to (R67, R90).
    pub fn forget_source(&mut self) {
        if let Some(e) = &mut self.endpoint {
            e.local = None;
        }
    }

    /// The way to the peer may have changed: show the new address at once and make sure that the
    /// session is a fresh one (R101). Only for a peer that somebody talks to.
    pub fn network_changed(&mut self, env: &mut Env) {
        self.forget_source();
        let wanted = self.keys.current_ref().is_some() || self.timers.persistent_secs() > 0;
        if !wanted || self.reachable().is_err() {
            return;
        }
        // Before the keepalive, which may initiate by itself (R59): that is the handshake then.
        self.timers.rebound();
        if self.keys.current_ref().is_some_and(|s| s.can_send(env.now.boot)) {
            self.send_keepalive(env);
        }
        self.want_handshake(env);
    }

    fn complete(&mut self, env: &mut Env) {
        self.timers.handshake_complete();
        self.candidates.clear();
        self.last_handshake = Some((env.now.wall, env.now.boot));
    }

    /// Sends what waited, in order (R49, R86). What a session that gives out leaves behind stays
    /// where it is, for the next one.
    fn flush(&mut self, env: &mut Env) {
        while self.keys.current_ref().is_some_and(|s| s.can_send(env.now.boot)) {
            let Some(packet) = self.staged.pop() else { return };
            let mut buf = vec![0; HEAD + packet.len() + PADDING - 1 + TAG_LEN];
            buf[HEAD..HEAD + packet.len()].copy_from_slice(&packet);
            let ecn = ip::view(&packet).map_or(0, |v| v.ecn);
            match self.send_data(env, &mut buf, packet.len(), ecn) {
                Some(Ready { to, tos, len, sealing }) => {
                    sealing.seal(&mut buf[..len]);
                    env.sink.to_wire(&to, tos, &buf[..len]);
                }
                None => return,
            }
        }
        if !self.staged.is_empty() {
            self.want_handshake(env);
        }
    }

    fn renew_after_send(&mut self, env: &mut Env) {
        if self.keys.current_ref().is_some_and(|s| s.wants_rekey_on_send(env.now.boot)) {
            self.want_handshake(env);
        }
    }

    fn renew_after_receive(&mut self, env: &mut Env) {
        let old = self.keys.current_ref().is_some_and(|s| s.wants_rekey_on_receive(env.now.boot));
        if old && self.timers.take_last_minute() {
            self.want_handshake(env);
        }
    }

    /// The source of anything that authenticated is where the peer is now (R88), and that of
    /// nothing else (R89): tag and replay were checked before.
    fn learn_endpoint(&mut self, from: &Arrival) {
        self.endpoint = Some(Endpoint { remote: from.remote, local: from.local });
    }

    fn purge_staged(&mut self, env: &mut Env) {
        env.shared.drops.add(Drop::StagedPurged, self.staged.purge() as u64);
    }

    fn wipe(&mut self, env: &mut Env) {
        self.wipe_into(&mut env.shared.indices);
    }

    fn wipe_into(&mut self, indices: &mut Indices) {
        self.ephemeral = None;
        if let Some((old, _)) = self.initiated.take() {
            indices.free(old.index);
        }
        for index in self.keys.clear() {
            indices.free(index);
        }
    }

    fn emit(&mut self, env: &mut Env, tos: u8, datagram: &[u8]) {
        if let Some(to) = &self.endpoint {
            self.tx_bytes += datagram.len() as u64;
            env.sink.to_wire(to, tos, datagram);
        }
    }
}

const HEAD: usize = DATA_HEADER_LEN;

/// A datagram at the front of the caller's buffer, of `len` bytes and still to be sealed.
pub struct Ready {
    pub to: Endpoint,
    pub tos: u8,
    pub len: usize,
    pub sealing: Sealing,
}

/// Length after padding to 16, which never lengthens a packet beyond the MTU (R07, R87).
fn padded_len(len: usize, mtu: usize) -> usize {
    len.next_multiple_of(PADDING).min(mtu).max(len)
}

#[cfg(test)]
mod tests;
