//! Random scripts against the invariants I1–I12.
//!
//! A script is a list of steps made from a seed alone. After each step the invariants are checked;
//! in the end the network is healed and both sides must talk again. `HOP_SEED=<n>` replays one
//! script, `HOP_SEEDS=<n>` sets how many run (default 4,000, within `HOP_SECONDS`, default 300). A
//! script that fails is shrunk by leaving out steps as long as it still fails.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hopbox::wg::{Drop, Inbound, Outbound};

use super::sim::*;

const FOE: u8 = 250;
/// Retry, silence and the spread of crossings, and some packets more.
const RECOVERY: u64 = SILENCE + REKEY_TIMEOUT + 10 * JITTER + 20 * SEC;

#[derive(Clone, Debug)]
enum Step {
    Send { from: Dev, to: Dev, packets: u8 },
    Wait(u64),
    Cut { from: Dev, to: Dev },
    Path { from: Dev, to: Dev, loss: u64, dup: u64, spread: u64, corrupt: u64, delay: u64 },
    Heal,
    Roam { dev: Dev, host: u8 },
    Nat { dev: Dev, port: u16 },
    Sleep { dev: Dev, ns: u64 },
    Stop(Dev),
    Start(Dev),
    Keepalive { dev: Dev, peer: Dev, secs: u16 },
    Psk { side: u64, byte: u8 },
    Key { dev: Dev, seed: u64 },
    Readd { dev: Dev, peer: Dev },
    Wall { dev: Dev, secs: i64 },
    Replay { dev: Dev, pick: u64, foe: bool },
    Flip { dev: Dev, pick: u64, bit: u64, foe: bool },
    Garbage { dev: Dev, kind: u8, len: u64 },
    Load(Dev),
    Network(Dev),
    SocketFails { dev: Dev, fails: bool },
}

fn script(seed: u64) -> (usize, Vec<Step>) {
    let mut r = Rng(seed);
    let devices = if r.below(4) == 0 { 3 } else { 2 };
    let n = 15 + r.below(60);
    (devices, (0..n).map(|_| step(&mut r, devices)).collect())
}

fn step(r: &mut Rng, devices: usize) -> Step {
    let dev = r.below(devices as u64) as Dev;
    let peer = (dev + 1 + r.below(devices as u64 - 1) as Dev) % devices;
    let wait = match r.below(12) {
        0..3 => r.below(300 * MS),
        3..9 => r.below(12 * SEC),
        9..11 => r.below(130 * SEC),
        _ => r.below(600 * SEC),
    };
    match r.below(50) {
        0..14 => Step::Send { from: dev, to: peer, packets: 1 + r.below(4) as u8 },
        14..28 => Step::Wait(wait),
        28 => Step::Cut { from: dev, to: peer },
        29..31 => Step::Path {
            from: dev,
            to: peer,
            loss: r.below(600),
            dup: r.below(300),
            spread: r.below(400 * MS),
            corrupt: r.below(100),
            delay: r.below(500 * MS),
        },
        31..33 => Step::Heal,
        33 => Step::Roam { dev, host: 10 + 70 * dev as u8 + r.below(70) as u8 },
        34 => Step::Nat { dev, port: r.below(3) as u16 },
        35 => Step::Sleep { dev, ns: wait },
        36 => Step::Stop(dev),
        37..39 => Step::Start(dev),
        39 => Step::Keepalive { dev, peer, secs: [0, 1, 5, 25, 200][r.below(5) as usize] },
        40 => Step::Psk { side: r.below(3), byte: r.below(3) as u8 },
        41 if r.below(3) == 0 => Step::Key { dev, seed: r.next() },
        41 => Step::Readd { dev, peer },
        42 => Step::Wall { dev, secs: r.below(2_000_000_000) as i64 - 1_000_000_000 },
        43..45 => Step::Replay { dev, pick: r.next(), foe: r.below(2) == 0 },
        45 => Step::Flip { dev, pick: r.next(), bit: r.next(), foe: r.below(2) == 0 },
        46 => Step::Garbage { dev, kind: r.below(6) as u8, len: r.below(200) },
        47 => Step::Load(dev),
        48 => Step::Network(dev),
        _ => Step::SocketFails { dev, fails: r.below(2) == 0 },
    }
}

struct Model {
    s: Sim,
    tokens: u64,
    /// Packets under way: who sent what to whom.
    sent: BTreeMap<u64, (Dev, Dev)>,
    delivered: BTreeSet<(Dev, u64)>,
    indices: BTreeSet<(Dev, u32)>,
    /// Recent initiations of each device (I7).
    initiations: Vec<VecDeque<u64>>,
    /// When each device last made a session or an initiation (I1).
    active: Vec<u64>,
    /// Packets taken from the TUN, and data messages sent (I10, I11).
    taken: Vec<u64>,
    out: Vec<u64>,
    record: VecDeque<Wire>,
    foe_in: usize,
    foe_out: usize,
    foe_passed: bool,
}

impl Model {
    fn new(seed: u64, devices: usize) -> Model {
        let mut s = Sim::strangers(seed, devices);
        for a in 0..devices {
            for b in 0..a {
                s.introduce(a, b);
            }
        }
        s.watch_endpoints = true;
        Model {
            s,
            tokens: 0,
            sent: BTreeMap::new(),
            delivered: BTreeSet::new(),
            indices: BTreeSet::new(),
            initiations: vec![VecDeque::new(); devices],
            active: vec![0; devices],
            taken: vec![0; devices],
            out: vec![0; devices],
            record: VecDeque::new(),
            foe_in: 0,
            foe_out: 0,
            foe_passed: false,
        }
    }

    fn send(&mut self, from: Dev, to: Dev) -> u64 {
        self.tokens += 1;
        self.sent.insert(self.tokens, (from, to));
        let out = self.s.send(from, to, &self.tokens.to_le_bytes());
        if !matches!(out, Outbound::Dropped(_)) {
            self.taken[from] += 1;
        }
        self.tokens
    }

    fn inject(&mut self, dev: Dev, foe: bool, peer_address: std::net::SocketAddr, d: &[u8]) {
        let from = if foe { v4(FOE) } else { peer_address };
        let got = self.s.inject(dev, from, d);
        if foe {
            self.foe_in += d.len();
            self.foe_passed |= !matches!(got, Inbound::Dropped(_));
            // A recording that had been lost on its way is as good as new.
            self.foe_passed |= matches!(got, Inbound::Dropped(Drop::WrongSource));
        }
    }

    fn take(&mut self, step: &Step) {
        let s = &mut self.s;
        match step.clone() {
            Step::Send { from, to, packets } => {
                for _ in 0..packets {
                    self.send(from, to);
                }
            }
            Step::Wait(ns) => s.run(ns),
            Step::Cut { from, to } => s.link(from, to).cut = true,
            Step::Path { from, to, loss, dup, spread, corrupt, delay } => {
                *s.link(from, to) = Link { loss, dup, spread, corrupt, delay, ..Link::default() };
            }
            Step::Heal => self.heal(),
            Step::Roam { dev, host } => s.nodes[dev].addr = v4(host),
            Step::Nat { dev, port } => {
                let mut outside = v4(220 + dev as u8);
                outside.set_port(9000 + port);
                s.nodes[dev].nat = (port > 0).then_some(outside);
            }
            Step::Sleep { dev, ns } => {
                s.sleep(dev, ns);
                // A handshake that was given up in its sleep is given up now.
                self.active[dev] = s.now;
            }
            Step::Stop(dev) => {
                s.stop(dev);
                assert_eq!(s.nodes[dev].device.live_indices(), 0, "R95");
                assert_eq!(s.nodes[dev].device.next_deadline(), None, "R73");
                self.initiations[dev].clear();
            }
            Step::Start(dev) => s.start(dev),
            Step::Keepalive { dev, peer, secs } => s.set_keepalive(dev, peer, secs),
            Step::Psk { side, byte } => {
                for (dev, peer) in [(A, B), (B, A)] {
                    if side == 2 || side == dev as u64 {
                        s.configure(dev, peer, |u| u.preshared_key = Some([byte; 32])).unwrap();
                    }
                }
            }
            Step::Key { dev, seed } => self.change_key(dev, seed),
            Step::Readd { dev, peer } => {
                s.configure(dev, peer, |u| u.remove = true).unwrap();
                let endpoint = s.seen_as(peer);
                s.configure(dev, peer, |u| {
                    u.endpoint = Some(endpoint);
                    u.allowed_ips = vec![(inner(peer), 32, true)];
                })
                .unwrap();
                self.initiations[dev].clear();
            }
            Step::Wall { dev, secs } => s.nodes[dev].wall_offset = i128::from(secs) * SEC as i128,
            Step::Replay { dev, pick, foe } => {
                if let Some(w) = self.pick(pick) {
                    let from = s_addr(&self.s, w.from);
                    self.inject(dev, foe, from, &w.bytes);
                }
            }
            Step::Flip { dev, pick, bit, foe } => {
                if let Some(mut w) = self.pick(pick) {
                    let from = s_addr(&self.s, w.from);
                    let bit = (bit % (w.bytes.len() as u64 * 8)) as usize;
                    w.bytes[bit / 8] ^= 1 << (bit % 8);
                    self.inject(dev, foe, from, &w.bytes);
                }
            }
            Step::Garbage { dev, kind, len } => {
                let mut d = vec![kind, 0, 0, 0];
                let mut r = Rng(len);
                d.extend((0..len).map(|_| r.next() as u8));
                self.inject(dev, true, v4(FOE), &d);
            }
            Step::Load(dev) => s.load(dev),
            Step::Network(dev) => {
                s.act(dev, |d, now, sink| d.network_changed(now, sink));
                // It may initiate sooner than 5 s after the last time (R62).
                self.initiations[dev].clear();
            }
            Step::SocketFails { dev, fails } => s.nodes[dev].socket_fails = fails,
        }
    }

    fn pick(&self, n: u64) -> Option<Wire> {
        self.record.get(n as usize % self.record.len().max(1)).cloned()
    }

    fn heal(&mut self) {
        for a in 0..self.s.nodes.len() {
            for b in 0..a {
                self.s.heal(a, b);
            }
            self.s.nodes[a].socket_fails = false;
        }
    }

    /// The others learn the new key at once.
    fn change_key(&mut self, dev: Dev, seed: u64) {
        let private = Rng(seed).bytes();
        for other in (0..self.s.nodes.len()).filter(|&o| o != dev) {
            self.s.configure(other, dev, |u| u.remove = true).unwrap();
            self.initiations[other].clear();
        }
        self.s.set_key(dev, private);
        self.initiations[dev].clear();
        for other in (0..self.s.nodes.len()).filter(|&o| o != dev) {
            self.s.introduce(dev, other);
        }
    }

    /// Reads what happened since the last check, and forgets it.
    fn check(&mut self) {
        let wire = std::mem::take(&mut self.s.wire);
        for w in wire {
            self.check_wire(&w);
            self.record.push_back(w);
            if self.record.len() > 40 {
                self.record.pop_front();
            }
        }
        let log = std::mem::take(&mut self.s.log);
        for (n, e) in log.iter().enumerate() {
            match &e.fact {
                Fact::Delivered(p) => self.check_delivery(e.dev, p),
                Fact::Moved(_) => {
                    let cause = log[..n].iter().rev().find(|c| c.dev == e.dev && is_input(&c.fact));
                    let proven = match cause.map(|c| &c.fact) {
                        Some(Fact::Delivered(_)) => true,
                        Some(Fact::Consumed(kind)) => *kind != Kind::Cookie,
                        Some(Fact::Refused(Drop::WrongSource | Drop::InnerMalformed)) => true,
                        _ => false,
                    };
                    assert!(proven, "I9: endpoint moved by {cause:?}");
                }
                Fact::Consumed(Kind::Response) | Fact::Lost(Kind::Initiation | Kind::Response) => {
                    self.active[e.dev] = self.active[e.dev].max(e.t);
                }
                Fact::Lost(Kind::Data) => self.out[e.dev] += 1,
                _ => {}
            }
        }
        for dev in 0..self.s.nodes.len() {
            self.check_device(dev);
        }
        assert!(self.foe_passed || self.foe_out <= self.foe_in, "I8: amplification");
    }

    fn check_wire(&mut self, w: &Wire) {
        if w.to == v4(FOE) {
            self.foe_out += w.bytes.len();
        }
        match w.kind() {
            Kind::Initiation | Kind::Response => {
                assert!(self.indices.insert((w.from, w.word(4))), "I5: an index came twice");
                self.active[w.from] = w.t;
            }
            Kind::Data => self.out[w.from] += 1,
            Kind::Cookie | Kind::Keepalive => {}
            Kind::Junk => panic!("a device sent junk"),
        }
        if w.kind() == Kind::Initiation {
            let recent = &mut self.initiations[w.from];
            recent.push_back(w.t);
            while recent.front().is_some_and(|t| t + REKEY_TIMEOUT <= w.t) {
                recent.pop_front();
            }
            let peers = self.s.nodes.len() - 1;
            assert!(recent.len() <= peers, "I7: {recent:?}");
        }
    }

    fn check_delivery(&mut self, dev: Dev, p: &[u8]) {
        let token = u64::from_le_bytes(payload(p)[..8].try_into().unwrap());
        let (from, to) = self.sent.get(&token).copied().expect("I4: never sent");
        assert_eq!((to, p), (dev, &packet(inner(from), inner(to), 0, &token.to_le_bytes())[..]));
        assert!(self.delivered.insert((dev, token)), "I3: delivered twice");
    }

    fn check_device(&mut self, dev: Dev) {
        let n = &self.s.nodes[dev];
        let peers = self.s.nodes.len() - 1;
        let live = n.device.live_indices();
        assert!(live <= 4 * peers, "I11: {live} indices");
        // The wipe comes 540 s after the last session, or after the last try (I1, R57, R65).
        if self.s.now > self.active[dev] + WIPE + 10 * SEC {
            assert_eq!(live, 0, "I1: key material is left");
        }
        let drops = |name: &str| n.device.drops().find(|(d, _)| *d == name).map_or(0, |(_, c)| c);
        let gone = self.out[dev] + drops("staged_overflow") + drops("staged_purged");
        assert!(gone <= self.taken[dev], "I10: more went than came");
        assert!(self.taken[dev] - gone <= 128 * peers as u64, "I11: more waits than may");
        for (name, count) in n.device.drops() {
            assert!(name != "inner_malformed" || count == 0, "I4: {count} opened to garbage");
        }
    }

    /// I12: when the path is whole again, both directions work within the limits of R64 and R67.
    fn recover(&mut self) {
        self.heal();
        for (dev, peer) in [(A, B), (B, A)] {
            self.s.configure(dev, peer, |u| u.preshared_key = Some([0; 32])).unwrap();
        }
        for dev in 0..self.s.nodes.len() {
            self.s.start(dev);
        }
        // Datagrams that are still under way from an address that was left must not move it again.
        self.s.run(2 * SEC);
        self.check();
        let endpoint = self.s.seen_as(B);
        self.s.configure(A, B, |u| u.endpoint = Some(endpoint)).unwrap();
        let end = self.s.now + RECOVERY;
        while self.s.now < end {
            self.send(A, B);
            self.send(B, A);
            self.s.run(SEC);
            self.check();
        }
        let (there, back) = (self.send(A, B), self.send(B, A));
        self.s.run(SEC);
        self.check();
        assert!(self.delivered.contains(&(B, there)), "I12: A → B is dead");
        assert!(self.delivered.contains(&(A, back)), "I12: B → A is dead");
    }
}

fn is_input(f: &Fact) -> bool {
    matches!(f, Fact::Delivered(_) | Fact::Consumed(_) | Fact::Refused(_))
}

fn s_addr(s: &Sim, dev: Dev) -> std::net::SocketAddr {
    s.seen_as(dev)
}

/// Runs a script; returns the virtual time it took.
fn play(seed: u64, devices: usize, steps: &[Step]) -> u64 {
    let mut m = Model::new(seed, devices);
    for step in steps {
        m.take(step);
        m.check();
    }
    m.recover();
    m.s.now
}

fn fails(seed: u64, devices: usize, steps: &[Step]) -> Option<String> {
    let caught = catch_unwind(AssertUnwindSafe(|| play(seed, devices, steps))).err()?;
    let text = caught.downcast_ref::<String>().cloned();
    text.or_else(|| caught.downcast_ref::<&str>().map(|s| s.to_string())).or(Some(String::new()))
}

/// Leaves out ever smaller groups of steps as long as the script still fails.
fn shrink(seed: u64, devices: usize, mut steps: Vec<Step>) -> Vec<Step> {
    let mut group = steps.len().div_ceil(2);
    while group > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + group).min(steps.len()));
            if fails(seed, devices, &fewer).is_some() {
                steps = fewer;
            } else {
                at += group;
            }
        }
        group /= 2;
    }
    steps
}

fn report(seed: u64) -> ! {
    let (devices, steps) = script(seed);
    let steps = shrink(seed, devices, steps);
    let why = fails(seed, devices, &steps).unwrap_or_default();
    panic!("HOP_SEED={seed}: {why}\n{devices} devices, steps left: {steps:#?}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

// R08 R17 R18 R24 R25 R35 R37 R43 R44 R45 R46 R47 R48 R50 R54 R55 R56 R58 R62 R69 R74 R77 R89
#[test]
fn random_scripts_keep_every_invariant() {
    if let Some(seed) = number("HOP_SEED") {
        let (devices, steps) = script(seed);
        if fails(seed, devices, &steps).is_some() {
            report(seed);
        }
        return;
    }
    let (first, seeds) = (number("HOP_FIRST").unwrap_or(1), number("HOP_SEEDS").unwrap_or(4_000));
    let limit = Duration::from_secs(number("HOP_SECONDS").unwrap_or(300));
    let (began, next, virtual_s) = (Instant::now(), AtomicU64::new(first), AtomicU64::new(0));
    let worker = || {
        while began.elapsed() < limit {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return None;
            }
            let (devices, steps) = script(seed);
            match catch_unwind(AssertUnwindSafe(|| play(seed, devices, &steps))) {
                Ok(ns) => virtual_s.fetch_add(ns / SEC, Ordering::Relaxed),
                Err(_) => return Some(seed),
            };
        }
        None
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let failed = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        all.into_iter().filter_map(|t| t.join().ok().flatten()).min()
    });
    if let Some(seed) = failed {
        report(seed);
    }
    let (ran, hours) =
        (next.into_inner().min(first + seeds) - first, virtual_s.into_inner() / 3600);
    println!("{ran} scripts, {hours} virtual hours, {:.1?}", began.elapsed());
    assert!(ran >= seeds.min(100), "only {ran} scripts in {limit:?}");
}
