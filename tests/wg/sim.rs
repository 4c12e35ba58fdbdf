//! Two or more devices, two clocks, and a network that misbehaves on demand.
//!
//! The simulator jumps only to deadlines that a device announced and to arrivals of datagrams, so
//! a deadline that was forgotten shows as an event that is missing. Tests look at the event log,
//! at the wire capture, at the status and at the drop counters, never at private state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hopbox::wg::{
    Arrival, ConfigError, Device, Drop, Endpoint, Entropy, HEADROOM, Inbound, Local, Now, Outbound,
    PeerStatus, PeerUpdate, Sink, TAILROOM, Time, Wall,
};

pub use super::packet::*;

// The numbers of the paper and of the rules, written again: a wrong constant must not certify
// itself. Nanoseconds.
pub const MS: u64 = 1_000_000;
pub const SEC: u64 = 1_000 * MS;
pub const HOUR: u64 = 3600 * SEC;
pub const REKEY_AFTER: u64 = 120 * SEC;
pub const REJECT_AFTER: u64 = 180 * SEC;
pub const REKEY_TIMEOUT: u64 = 5 * SEC;
pub const JITTER: u64 = 333 * MS;
pub const KEEPALIVE: u64 = 10 * SEC;
pub const SILENCE: u64 = 15 * SEC;
pub const WIPE: u64 = 540 * SEC;
/// Initiations for one cause: the first and its retries.
pub const ATTEMPTS: usize = 20;
pub const RING: usize = 256;
pub const LOADED: usize = 32;
/// One way, unless a test says otherwise.
pub const DELAY: u64 = 10 * MS;

pub const A: Dev = 0;
pub const B: Dev = 1;
pub const C: Dev = 2;

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

impl Entropy for Rng {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A datagram went out.
    Sent(Kind),
    /// The socket refused a datagram.
    Lost(Kind),
    /// An inner packet came out at the TUN.
    Delivered(Vec<u8>),
    /// A datagram did its work.
    Consumed(Kind),
    /// A datagram was refused.
    Refused(Drop),
    /// The device was called because of a deadline it had announced, for this reason.
    Woke(&'static str),
    /// The device wrote an ICMP error to the TUN.
    Icmp(Vec<u8>),
    /// The endpoint of a peer changed while this datagram was received.
    Moved(SocketAddr),
}

#[derive(Clone, Debug)]
pub struct Event {
    pub t: u64,
    pub dev: Dev,
    pub fact: Fact,
}

/// One direction between two devices. Chances are in a thousand.
#[derive(Clone, Copy)]
pub struct Link {
    pub cut: bool,
    pub delay: u64,
    /// Up to this much is added to the delay, which reorders.
    pub spread: u64,
    pub loss: u64,
    pub dup: u64,
    pub corrupt: u64,
    /// ECN that the path puts on every datagram, if any.
    pub mark: Option<u8>,
}

impl Default for Link {
    fn default() -> Link {
        Link { cut: false, delay: DELAY, spread: 0, loss: 0, dup: 0, corrupt: 0, mark: None }
    }
}

pub struct Node {
    pub device: Device,
    pub private: [u8; 32],
    pub public: [u8; 32],
    pub addr: SocketAddr,
    /// What the world sees of `addr`, behind a NAT.
    pub nat: Option<SocketAddr>,
    /// The devices were not booted at the same moment.
    boot_offset: u64,
    pub wall_offset: i128,
    pub asleep: bool,
    /// The socket refuses everything (ENOBUFS, EPERM).
    pub socket_fails: bool,
    ring: VecDeque<Flying>,
    /// Drops as the harness saw them, by name.
    seen: BTreeMap<&'static str, u64>,
    pub datagrams_in: u64,
}

struct Flying {
    to: SocketAddr,
    from: SocketAddr,
    ecn: u8,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Out {
    wire: Vec<(Endpoint, u8, Vec<u8>)>,
    tun: Vec<Vec<u8>>,
}

impl Sink for Out {
    fn to_wire(&mut self, to: &Endpoint, tos: u8, datagram: &[u8]) {
        self.wire.push((*to, tos, datagram.to_vec()));
    }

    fn to_tun(&mut self, packet: &[u8]) {
        self.tun.push(packet.to_vec());
    }
}

pub struct Sim {
    /// Nanoseconds since the simulation began; each device's boot clock has its own origin.
    pub now: u64,
    pub nodes: Vec<Node>,
    links: BTreeMap<(Dev, Dev), Link>,
    flying: BTreeMap<(u64, u64), Flying>,
    sequence: u64,
    pub rng: Rng,
    pub log: Vec<Event>,
    pub wire: Vec<Wire>,
    /// (sender, receiver index, counter) of all data messages: none may occur twice.
    nonces: BTreeSet<(Dev, u32, u64)>,
    /// The message that first showed it.
    ephemerals: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether the next turn of a device leaves it time to prepare.
    quiet: bool,
    /// Report endpoint changes in the log.
    pub watch_endpoints: bool,
}

pub fn v4(last: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(192, 0, 2, last).into(), 51820)
}

pub fn v6(last: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into(), 51820)
}

impl Sim {
    pub fn empty(seed: u64) -> Sim {
        Sim {
            now: 0,
            nodes: Vec::new(),
            links: BTreeMap::new(),
            flying: BTreeMap::new(),
            sequence: 0,
            rng: Rng(seed),
            log: Vec::new(),
            wire: Vec::new(),
            nonces: BTreeSet::new(),
            ephemerals: BTreeMap::new(),
            quiet: false,
            watch_endpoints: false,
        }
    }

    /// `n` started devices that do not know each other.
    pub fn strangers(seed: u64, n: usize) -> Sim {
        let mut s = Sim::empty(seed);
        for _ in 0..n {
            s.add();
        }
        s
    }

    /// Two started devices that know each other's key, addresses and endpoint.
    pub fn pair() -> Sim {
        Sim::pair_seeded(1)
    }

    pub fn pair_seeded(seed: u64) -> Sim {
        let mut s = Sim::strangers(seed, 2);
        s.introduce(A, B);
        s
    }

    /// A pair with a session that A initiated, and empty records.
    pub fn connected() -> Sim {
        let mut s = Sim::pair();
        s.send(A, B, b"first");
        s.run(SEC);
        assert_eq!(s.delivered(B), [b"first".to_vec()]);
        s.forget();
        s
    }

    /// Connected, and no keepalive is owed any more.
    pub fn settled() -> Sim {
        let mut s = Sim::connected();
        s.run(30 * SEC);
        s.forget();
        s
    }

    pub fn add(&mut self) -> Dev {
        let private = self.rng.bytes();
        self.add_with(private)
    }

    pub fn add_with(&mut self, private: [u8; 32]) -> Dev {
        let dev = self.nodes.len();
        let device = Device::new(Box::new(Rng(self.rng.next())));
        self.nodes.push(Node {
            device,
            private,
            public: hopbox::wg::public_key(&private),
            addr: v4(dev as u8 + 1),
            nat: None,
            boot_offset: 1 + dev as u64 * 7777 * SEC,
            wall_offset: 0,
            asleep: false,
            socket_fails: false,
            ring: VecDeque::new(),
            seen: BTreeMap::new(),
            datagrams_in: 0,
        });
        self.act(dev, |d, now, sink| {
            d.set_private_key(now, Some(private), sink);
            d.start(now, sink);
        });
        dev
    }

    /// A new process with the same key, and without memory or peers.
    pub fn reboot(&mut self, dev: Dev) {
        self.nodes[dev].device = Device::new(Box::new(Rng(self.rng.next())));
        self.nodes[dev].seen.clear();
        self.start(dev);
        self.set_key(dev, self.nodes[dev].private);
    }

    /// Each learns the other's key, inner addresses and endpoint.
    pub fn introduce(&mut self, a: Dev, b: Dev) {
        for (me, other) in [(a, b), (b, a)] {
            let endpoint = self.seen_as(other);
            self.configure(me, other, |u| {
                u.endpoint = Some(endpoint);
                u.allowed_ips = vec![(inner(other), 32, true), (inner6(other), 128, true)];
            })
            .unwrap();
        }
    }

    // Acting on a device.

    pub fn clock(&self, dev: Dev) -> Now {
        const EPOCH_NS: i128 = 1_700_000_000_000_000_000;
        let n = &self.nodes[dev];
        let wall = (EPOCH_NS + i128::from(self.now) + n.wall_offset).max(0);
        Now {
            boot: Time::from_nanos(self.now + n.boot_offset),
            wall: Wall {
                secs: (wall / 1_000_000_000) as u64,
                nanos: (wall % 1_000_000_000) as u32,
            },
        }
    }

    pub fn act<T>(&mut self, dev: Dev, f: impl FnOnce(&mut Device, Now, &mut dyn Sink) -> T) -> T {
        let now = self.clock(dev);
        let mut out = Out::default();
        let result = f(&mut self.nodes[dev].device, now, &mut out);
        for p in out.tun {
            self.note(dev, Fact::Icmp(p));
        }
        for (to, tos, bytes) in out.wire {
            self.transmit(dev, to, tos, bytes);
        }
        result
    }

    pub fn configure(
        &mut self,
        dev: Dev,
        peer: Dev,
        change: impl FnOnce(&mut PeerUpdate),
    ) -> Result<(), ConfigError> {
        let mut u = PeerUpdate::default();
        u.public_key = self.nodes[peer].public;
        change(&mut u);
        self.act(dev, |d, now, sink| d.update_peer(now, &u, sink))
    }

    pub fn set_keepalive(&mut self, dev: Dev, peer: Dev, secs: u16) {
        self.configure(dev, peer, |u| u.persistent_keepalive = Some(secs)).unwrap();
    }

    /// An inner IPv4 packet from one device to another.
    pub fn send(&mut self, from: Dev, to: Dev, payload: &[u8]) -> Outbound {
        self.send_packet(from, &packet(inner(from), inner(to), 0, payload))
    }

    pub fn send_packet(&mut self, from: Dev, p: &[u8]) -> Outbound {
        // Exactly the room that was asked for, and dirty, so that padding must be written.
        let mut buf = vec![0xee; HEADROOM + p.len() + TAILROOM];
        buf[HEADROOM..HEADROOM + p.len()].copy_from_slice(p);
        let out = self.act(from, |d, now, sink| d.from_tun(now, &mut buf, p.len(), sink));
        match out {
            Outbound::Send { to, tos, len } => self.transmit(from, to, tos, buf[..len].to_vec()),
            Outbound::Dropped(why) => *self.nodes[from].seen.entry(why.name()).or_default() += 1,
            Outbound::Staged => {}
        }
        out
    }

    /// A datagram from anywhere, received now.
    pub fn inject(&mut self, dev: Dev, from: SocketAddr, bytes: &[u8]) -> Inbound {
        self.receive(dev, from, 0, bytes)
    }

    /// A datagram from anywhere that takes the way through the shell's ring, at this instant.
    pub fn post(&mut self, dev: Dev, from: SocketAddr, bytes: &[u8]) {
        let to = self.seen_as(dev);
        self.fly(self.now, Flying { to, from, ecn: 0, bytes: bytes.to_vec() });
    }

    /// As if the shell's ring held enough handshakes to be under load.
    pub fn load(&mut self, dev: Dev) {
        self.act(dev, |d, now, _| d.set_queued(now, LOADED));
    }

    pub fn set_key(&mut self, dev: Dev, private: [u8; 32]) {
        self.nodes[dev].private = private;
        self.nodes[dev].public = hopbox::wg::public_key(&private);
        self.act(dev, |d, now, sink| d.set_private_key(now, Some(private), sink));
    }

    pub fn stop(&mut self, dev: Dev) {
        self.act(dev, |d, _, _| d.stop());
    }

    pub fn start(&mut self, dev: Dev) {
        self.act(dev, |d, now, sink| d.start(now, sink));
    }

    pub fn seen_as(&self, dev: Dev) -> SocketAddr {
        self.nodes[dev].nat.unwrap_or(self.nodes[dev].addr)
    }

    // The network.

    pub fn link(&mut self, from: Dev, to: Dev) -> &mut Link {
        self.links.entry((from, to)).or_default()
    }

    pub fn both(&mut self, a: Dev, b: Dev, change: impl Fn(&mut Link)) {
        change(self.link(a, b));
        change(self.link(b, a));
    }

    pub fn cut(&mut self, a: Dev, b: Dev) {
        self.both(a, b, |l| l.cut = true);
    }

    pub fn heal(&mut self, a: Dev, b: Dev) {
        self.both(a, b, |l| *l = Link::default());
    }

    fn owner(&self, addr: SocketAddr) -> Option<Dev> {
        (0..self.nodes.len()).find(|&d| self.seen_as(d) == addr)
    }

    fn transmit(&mut self, from: Dev, to: Endpoint, tos: u8, mut bytes: Vec<u8>) {
        if self.nodes[from].socket_fails {
            self.nodes[from].device.note_drop(Drop::SendFailed);
            *self.nodes[from].seen.entry("send_failed").or_default() += 1;
            self.note(from, Fact::Lost(kind(&bytes)));
            return;
        }
        let w = Wire { t: self.now, from, to: to.remote, local: to.local, tos, bytes };
        if matches!(w.kind(), Kind::Data | Kind::Keepalive) {
            let fresh = self.nonces.insert((from, w.word(4), w.counter()));
            assert!(fresh, "I2: device {from} used a key and counter twice");
        }
        let ephemeral = match w.kind() {
            Kind::Initiation => w.bytes.get(8..40),
            Kind::Response => w.bytes.get(12..44),
            _ => None,
        };
        if let Some(key) = ephemeral {
            // One message may go to several addresses.
            let first = self.ephemerals.entry(key.to_vec()).or_insert_with(|| w.bytes.clone());
            assert!(*first == w.bytes, "I13: device {from} used an ephemeral key twice");
        }
        self.note(from, Fact::Sent(w.kind()));
        bytes = w.bytes.clone();
        self.wire.push(w);
        let Some(dest) = self.owner(to.remote) else { return };
        let link = *self.link(from, dest);
        if link.cut || self.rng.below(1000) < link.loss {
            return;
        }
        let copies = 1 + u64::from(self.rng.below(1000) < link.dup);
        for _ in 0..copies {
            let mut bytes = bytes.clone();
            if self.rng.below(1000) < link.corrupt {
                let at = self.rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.rng.below(8);
            }
            let at = self.now + link.delay + self.rng.below(link.spread + 1);
            let ecn = link.mark.unwrap_or(tos & 3);
            let from = self.seen_as(from);
            self.fly(at, Flying { to: to.remote, from, ecn, bytes });
        }
    }

    fn fly(&mut self, at: u64, f: Flying) {
        self.sequence += 1;
        self.flying.insert((at, self.sequence), f);
    }

    /// Data goes straight to the device; handshakes wait in the ring, as in the shell.
    fn arrivals(&mut self) {
        while self.flying.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
            while let Some(f) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
                let f = f.remove();
                let Some(dev) = self.owner(f.to).filter(|&d| !self.nodes[d].asleep) else {
                    continue;
                };
                if matches!(kind(&f.bytes), Kind::Initiation | Kind::Response | Kind::Cookie) {
                    if self.nodes[dev].ring.len() < RING {
                        self.nodes[dev].ring.push_back(f);
                    } else {
                        self.nodes[dev].device.note_drop(Drop::HandshakeQueueFull);
                        *self.nodes[dev].seen.entry("ring_full").or_default() += 1;
                    }
                } else {
                    self.receive(dev, f.from, f.ecn, &f.bytes);
                }
            }
            for dev in 0..self.nodes.len() {
                let waiting = self.nodes[dev].ring.len();
                for left in (0..waiting).rev() {
                    let Some(f) = self.nodes[dev].ring.pop_front() else { break };
                    self.act(dev, |d, now, _| d.set_queued(now, left + 1));
                    self.receive(dev, f.from, f.ecn, &f.bytes);
                }
            }
        }
    }

    pub fn receive(&mut self, dev: Dev, remote: SocketAddr, ecn: u8, bytes: &[u8]) -> Inbound {
        let local = Some(Local { ip: self.nodes[dev].addr.ip(), port: 1, ifindex: 1 });
        let from = Arrival { remote, local, ecn };
        let before = if self.watch_endpoints { self.endpoints(dev) } else { Vec::new() };
        let mut buf = bytes.to_vec();
        self.nodes[dev].datagrams_in += 1;
        let result = self.act(dev, |d, now, sink| d.from_wire(now, &mut buf, &from, sink));
        let fact = match result {
            Inbound::Packet { start, len } => Fact::Delivered(buf[start..start + len].to_vec()),
            Inbound::Consumed => Fact::Consumed(kind(bytes)),
            Inbound::Dropped(why) => {
                *self.nodes[dev].seen.entry(why.name()).or_default() += 1;
                Fact::Refused(why)
            }
        };
        self.note(dev, fact);
        if self.watch_endpoints && self.endpoints(dev) != before {
            self.note(dev, Fact::Moved(remote));
        }
        result
    }

    pub fn endpoints(&self, dev: Dev) -> Vec<Option<SocketAddr>> {
        self.nodes[dev].device.peers().iter().map(|p| p.endpoint).collect()
    }

    // Time.

    fn deadline(&self, dev: Dev) -> Option<(u64, &'static str)> {
        let (at, why) = self.nodes[dev].device.next_deadline()?;
        Some((at.as_nanos().saturating_sub(self.nodes[dev].boot_offset), why))
    }

    /// Time passes; devices are called at the moments they announced, and never in between.
    pub fn run(&mut self, d: u64) {
        let end = self.now + d;
        loop {
            let awake = (0..self.nodes.len()).filter(|&n| !self.nodes[n].asleep);
            let timer = awake.filter_map(|n| self.deadline(n)).map(|(t, _)| t).min();
            let arrival = self.flying.first_key_value().map(|((t, _), _)| *t);
            let next = [timer, arrival].into_iter().flatten().min();
            let Some(next) = next.filter(|t| *t <= end) else { break };
            self.now = self.now.max(next);
            self.arrivals();
            for dev in 0..self.nodes.len() {
                if !self.nodes[dev].asleep {
                    self.poll(dev);
                    // With and without what is made ahead, handshakes are the same.
                    self.quiet = !self.quiet;
                    if self.quiet {
                        self.nodes[dev].device.prepare();
                    }
                }
            }
        }
        self.now = end;
        self.check_counters();
    }

    /// Time passes unobserved, then everybody is called once, late.
    pub fn run_coarse(&mut self, d: u64) {
        self.now += d;
        for dev in 0..self.nodes.len() {
            self.poll(dev);
        }
        self.arrivals();
        self.check_counters();
    }

    /// The boot clock runs on, but the device neither hears nor does anything; then it wakes.
    pub fn sleep(&mut self, dev: Dev, d: u64) {
        self.nodes[dev].asleep = true;
        self.run(d);
        self.nodes[dev].asleep = false;
        self.poll(dev);
    }

    fn poll(&mut self, dev: Dev) {
        let Some((at, why)) = self.deadline(dev) else { return };
        if at > self.now {
            return;
        }
        self.note(dev, Fact::Woke(why));
        self.act(dev, |d, now, sink| d.on_time(now, sink));
        if let Some((at, why)) = self.deadline(dev) {
            assert!(at > self.now, "I6: after on_time a deadline lies in the past: {why}");
        }
    }

    /// I10: each refusal is counted once, under its own name.
    fn check_counters(&self) {
        for (i, n) in self.nodes.iter().enumerate() {
            for (name, count) in n.device.drops() {
                if !name.starts_with("staged") {
                    let seen = n.seen.get(name).copied().unwrap_or(0);
                    assert_eq!(count, seen, "I10: device {i} miscounts {name}");
                }
            }
        }
    }

    // What happened.

    fn note(&mut self, dev: Dev, fact: Fact) {
        self.log.push(Event { t: self.now, dev, fact });
    }

    /// Empties log and wire capture.
    pub fn forget(&mut self) {
        self.log.clear();
        self.wire.clear();
    }

    /// Payloads that came out at the TUN of `dev`.
    pub fn delivered(&self, dev: Dev) -> Vec<Vec<u8>> {
        let here = self.log.iter().filter(|e| e.dev == dev);
        here.filter_map(|e| match &e.fact {
            Fact::Delivered(p) => Some(payload(p).to_vec()),
            _ => None,
        })
        .collect()
    }

    /// Datagrams of one kind that `dev` sent.
    pub fn sent(&self, dev: Dev, kind: Kind) -> Vec<Wire> {
        self.wire.iter().filter(|w| w.from == dev && w.kind() == kind).cloned().collect()
    }

    pub fn times(&self, dev: Dev, kind: Kind) -> Vec<u64> {
        self.sent(dev, kind).iter().map(|w| w.t).collect()
    }

    pub fn count(&self, dev: Dev, kind: Kind) -> usize {
        self.wire.iter().filter(|w| w.from == dev && w.kind() == kind).count()
    }

    /// The last datagram of a kind from `dev`.
    pub fn last(&self, dev: Dev, kind: Kind) -> Wire {
        self.sent(dev, kind).pop().unwrap_or_else(|| panic!("device {dev} sent no {kind:?}"))
    }

    /// Datagrams to an address, whoever lives there.
    pub fn sent_to(&self, addr: SocketAddr) -> Vec<Wire> {
        self.wire.iter().filter(|w| w.to == addr).cloned().collect()
    }

    pub fn facts(&self, dev: Dev) -> Vec<Fact> {
        self.log.iter().filter(|e| e.dev == dev).map(|e| e.fact.clone()).collect()
    }

    pub fn drops(&self, dev: Dev, why: Drop) -> u64 {
        self.nodes[dev].device.drops().find(|(n, _)| *n == why.name()).map_or(0, |(_, c)| c)
    }

    /// What `dev` knows of `peer`.
    pub fn status(&self, dev: Dev, peer: Dev) -> PeerStatus {
        let key = self.nodes[peer].public;
        let all = self.nodes[dev].device.peers();
        all.into_iter().find(|p| p.public_key == key).expect("peer is configured")
    }

    /// Sends one packet each way and says whether both arrived within `d`.
    pub fn talks(&mut self, a: Dev, b: Dev, d: u64) -> bool {
        let from = self.log.len();
        let token = self.rng.bytes::<8>();
        self.send(a, b, &token);
        self.send(b, a, &token);
        self.run(d);
        let arrived = |dev| {
            self.log[from..].iter().any(|e| {
                e.dev == dev && matches!(&e.fact, Fact::Delivered(p) if payload(p) == token)
            })
        };
        arrived(a) && arrived(b)
    }
}
