//! The façade: packets in, datagrams out, and the other way; time. `handshakes` is what is done
//! with messages that are no data, `configure` how it is told what to be, `status` how it is asked,
//! `path` what it says of packets that are too long.
//!
//! Owns the peers, the routes and everything that peers share. Decides which peer a packet or a
//! datagram belongs to; what then happens is the peer's. Whether data is sealed and opened here or
//! by the caller is said in each call and by what it gives back.

pub mod configure;
mod handshakes;
pub mod path;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::consts::*;
use super::deadlines::Deadlines;
use super::drop::{Counters, Drop};
use super::index::{Indices, Owner, PeerId};
use super::limiter::{Bucket, Load};
use super::local_identities::{LocalIdentities, Successors};
use super::peer::{Env, Peer, Ready, Shared};
use super::router::Router;
use super::session::{DataHeader, Opened, Opening, Sealing};
use super::tai64n::Issuer;
use super::time::{Now, Time};
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

/// One WireGuard interface.
pub struct Device {
    shared: Shared,
    peers: BTreeMap<PeerId, Peer>,
    by_key: BTreeMap<[u8; 32], PeerId>,
    last_id: u32,
    router: Router,
    successors: Successors,
    deadlines: Deadlines,
    load: Load,
    running: bool,
}

impl Device {
    /// Without key and peers, and stopped.
    pub fn new(entropy: Box<dyn Entropy>) -> Device {
        Device {
            shared: Shared {
                identities: LocalIdentities::default(),
                entropy,
                issuer: Issuer::default(),
                indices: Indices::default(),
                drops: Counters::default(),
                icmp: Bucket::full(Time::ZERO, ICMP_PER_SECOND, ICMP_BURST),
                mtu: DEFAULT_MTU,
                unprepared: BTreeSet::new(),
            },
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            last_id: 0,
            router: Router::default(),
            successors: Successors::default(),
            deadlines: Deadlines::default(),
            load: Load::default(),
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
            Ok(Some(Ready { to, tos, len, sealing })) => {
                sealing.seal(&mut buf[..len]);
                Outbound::Send { to, tos, len }
            }
            Ok(None) => Outbound::Staged,
            Err(why) => self.refuse_out(why, now, buf, len, sink),
        }
    }

    /// [`from_tun`](Self::from_tun) without the sealing, which is left to the caller: of the
    /// datagram that [`Outbound::Send`] describes, before it is sent.
    pub fn from_tun_unsealed(
        &mut self,
        now: Now,
        buf: &mut [u8],
        len: usize,
        sink: &mut dyn Sink,
    ) -> (Outbound, Option<Sealing>) {
        match self.route_out(now, buf, len, sink) {
            Ok(Some(Ready { to, tos, len, sealing })) => {
                (Outbound::Send { to, tos, len }, Some(sealing))
            }
            Ok(None) => (Outbound::Staged, None),
            Err(why) => (self.refuse_out(why, now, buf, len, sink), None),
        }
    }

    /// The datagram for a packet, or `None` if a copy waits for a session.
    fn route_out(
        &mut self,
        now: Now,
        buf: &mut [u8],
        len: usize,
        sink: &mut dyn Sink,
    ) -> Result<Option<Ready>, Drop> {
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
        let ready = peer.send_data(&mut env, buf, len, view.ecn);
        Self::reschedule(&mut self.deadlines, peer);
        Ok(ready)
    }

    #[cold]
    fn refuse_out(
        &mut self,
        why: Drop,
        now: Now,
        buf: &[u8],
        len: usize,
        sink: &mut dyn Sink,
    ) -> Outbound {
        self.shared.drops.count(why);
        if matches!(why, Drop::NoRoute | Drop::NoEndpoint) {
            self.tell_unreachable(now, buf.get(HEADROOM..).and_then(|b| b.get(..len)), sink);
        }
        Outbound::Dropped(why)
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
        if let Some(header) = DataHeader::read(buf) {
            return self.data_from_wire(now, header, buf, None, from, sink);
        }
        let done = self.handshake(now, buf, from, sink).map(|()| Inbound::Consumed);
        self.counted(done)
    }

    /// What it takes to open the data message of this header before it is given to
    /// [`data_from_wire`](Self::data_from_wire); `None` if it is for no session of ours.
    pub fn opening(&mut self, header: &DataHeader) -> Option<Opening> {
        let Some(Owner::Session(id)) = self.shared.indices.get(header.receiver) else {
            return None;
        };
        self.peers.get_mut(&id)?.opening(header)
    }

    /// [`from_wire`](Self::from_wire) for a data message whose header was read already, and which
    /// may have been `opened`.
    pub fn data_from_wire(
        &mut self,
        now: Now,
        header: DataHeader,
        buf: &mut [u8],
        opened: Option<Opened>,
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Inbound {
        let done = self.data(now, header, buf, opened, from, sink);
        self.counted(done)
    }

    fn counted(&mut self, done: Result<Inbound, Drop>) -> Inbound {
        done.unwrap_or_else(|why| {
            self.shared.drops.count(why);
            Inbound::Dropped(why)
        })
    }

    fn data(
        &mut self,
        now: Now,
        header: DataHeader,
        buf: &mut [u8],
        opened: Option<Opened>,
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Result<Inbound, Drop> {
        if !self.running {
            return Err(Drop::NotRunning);
        }
        let Some(Owner::Session(id)) = self.shared.indices.get(header.receiver) else {
            return Err(Drop::UnknownIndex);
        };
        let len = self
            .with_peer(now, id, sink, |p, env| p.receive_data(env, &header, buf, opened, from))?;
        self.successors.heard(id, &mut self.router);
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
        // Each round takes one peer off the queue and puts it back later than now.
        while let Some(id) = self.deadlines.take_due(now.boot) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.queued = None;
            if self.running {
                peer.on_time(&mut Env { now, shared: &mut self.shared, sink });
            }
            Self::reschedule(&mut self.deadlines, peer);
        }
    }

    /// When to call [`on_time`](Self::on_time) at the latest, and why. May be early, never late.
    pub fn next_deadline(&self) -> Option<(Time, &'static str)> {
        let (at, id) = self.deadlines.first()?;
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
            self.deadlines.forget(peer.id, &mut peer.queued);
        }
        self.shared.unprepared.clear();
        self.load = Load::default();
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

    /// One handshake with the peer of this key, if it is at one of `remotes`, beside what goes on
    /// over its endpoint. What answers is the endpoint; silence changes nothing (R102). At most one
    /// every 200 ms goes out.
    pub fn try_at(
        &mut self,
        now: Now,
        public_key: &[u8; 32],
        remotes: &[SocketAddr],
        sink: &mut dyn Sink,
    ) {
        let id = self.by_key.get(public_key).copied().filter(|_| self.running);
        if let Some(id) = id {
            let _ = self.with_peer(now, id, sink, |peer, env| {
                peer.try_at(env, remotes);
                Ok(())
            });
        }
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
        Self::reschedule(&mut self.deadlines, peer);
        result
    }

    fn each_peer(&mut self, now: Now, sink: &mut dyn Sink, act: impl Fn(&mut Peer, &mut Env)) {
        for peer in self.peers.values_mut() {
            act(peer, &mut Env { now, shared: &mut self.shared, sink: &mut *sink });
            Self::reschedule(&mut self.deadlines, peer);
        }
    }

    fn reschedule(deadlines: &mut Deadlines, peer: &mut Peer) {
        let Some((at, _)) = peer.timers.next() else { return };
        if peer.queued.is_none_or(|queued| queued > at) {
            deadlines.set(peer.id, &mut peer.queued, at);
        }
    }
}
