//! Bytes → a script for two devices on a bad network, checked after every step (I1–I11).
//!
//! I2, I6 and I10 are the simulator's own; the others are checked here. In difference to the random
//! scripts of tests/wg, a fuzzer writes these, and the attacker also cuts and splices.

use super::bytes::Bytes;
use super::lab::*;
use hopbox::wg::{Drop, Inbound, Outbound};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const STEPS: usize = 80;
const RECORD: usize = 40;

pub fn device_script(data: &[u8]) {
    let mut b = Bytes::new(data);
    let mut m = Script::new(u64::from(b.u8()));
    for _ in 0..STEPS {
        if b.is_empty() {
            break;
        }
        m.step(&mut b);
        m.check();
    }
    m.s.run(SEC);
    m.check();
}

struct Script {
    s: Sim,
    /// Inner packets under way: to whom, and how they look.
    sent: BTreeMap<u64, (Dev, Vec<u8>)>,
    delivered: BTreeSet<u64>,
    indices: BTreeSet<(Dev, u32)>,
    initiations: [VecDeque<u64>; 2],
    /// When each device last had a reason to hold a key (I1).
    active: [u64; 2],
    /// Packets taken from the TUN, and data messages sent (I10, I11).
    taken: [u64; 2],
    out: [u64; 2],
    record: VecDeque<Wire>,
    foe_in: usize,
    foe_out: usize,
    /// The foe held something genuine that nobody had seen before.
    foe_passed: bool,
}

impl Script {
    fn new(seed: u64) -> Script {
        let mut s = Sim::strangers(seed, 2);
        s.introduce(A, B);
        s.watch_endpoints = true;
        Script {
            s,
            sent: BTreeMap::new(),
            delivered: BTreeSet::new(),
            indices: BTreeSet::new(),
            initiations: Default::default(),
            active: [0; 2],
            taken: [0; 2],
            out: [0; 2],
            record: VecDeque::new(),
            foe_in: 0,
            foe_out: 0,
            foe_passed: false,
        }
    }

    fn step(&mut self, b: &mut Bytes) {
        let op = b.u8();
        let (dev, peer) = if op & 0x80 == 0 { (A, B) } else { (B, A) };
        match op & 0x7f {
            0..24 => (0..=b.below(6)).for_each(|n| self.send(dev, peer, 40 * n)),
            24..36 => self.s.run(u64::from(b.u16()) * 5 * MS),
            36..48 => self.s.run(u64::from(b.u8()) * SEC),
            48..52 => {
                self.s.run_coarse(u64::from(b.u8()) * SEC);
                // A handshake whose last retry was due meanwhile is given up only now.
                self.active = [self.s.now; 2];
            }
            52..56 => self.sleep(dev, u64::from(b.u8()) * 3 * SEC),
            56..80 => self.attack(dev, b),
            80..90 => self.network(dev, peer, b),
            90..96 => self.roam(dev, b),
            96..104 => self.stop(dev),
            104..112 => self.s.start(dev),
            112..124 => self.configure(dev, peer, b),
            124 => self.s.load(dev),
            125 => {
                self.s.act(dev, |d, now, sink| d.network_changed(now, sink));
                // It may initiate sooner than 5 s after the last time (R62).
                self.initiations[dev].clear();
            }
            126 => {
                let n = &mut self.s.nodes[dev];
                n.socket_fails = !n.socket_fails;
            }
            _ => {
                let secs = i128::from(b.u64() as i64 >> 32);
                self.s.nodes[dev].wall_offset = secs * i128::from(SEC);
            }
        }
    }

    fn send(&mut self, from: Dev, to: Dev, more: usize) {
        let token = 1 + self.sent.len() as u64;
        let mut text = token.to_le_bytes().to_vec();
        text.resize(8 + more, token as u8);
        let p = packet(inner(from), inner(to), 0, &text);
        let out = self.s.send_packet(from, &p);
        self.taken[from] += u64::from(!matches!(out, Outbound::Dropped(_)));
        self.sent.insert(token, (to, p));
    }

    fn sleep(&mut self, dev: Dev, ns: u64) {
        self.s.sleep(dev, ns);
        // What was given up in its sleep is given up now.
        self.active[dev] = self.s.now;
    }

    /// A recording again: as it was, one bit changed, cut or prolonged, or its head on another.
    fn attack(&mut self, dev: Dev, b: &mut Bytes) {
        let Some(w) = self.record.get(b.below(self.record.len())).cloned() else { return };
        let mut d = w.bytes;
        match b.u8() % 8 {
            0..3 => {}
            3 | 4 => {
                let at = usize::from(b.u16()) % d.len();
                d[at] ^= 1 << b.below(8);
            }
            5 => d.truncate(usize::from(b.u16()) % d.len()),
            6 => d.extend(b.some()),
            _ => {
                let other = &self.record[b.below(self.record.len())].bytes;
                let at = usize::from(b.u8()).min(d.len()).min(other.len());
                d.truncate(at);
                d.extend(&other[at..]);
            }
        }
        if b.below(2) == 0 {
            let from = self.s.seen_as(w.from);
            self.s.inject(dev, from, &d);
            return;
        }
        let got = self.s.inject(dev, v4(FOE), &d);
        self.foe_in += d.len();
        self.foe_passed |= !matches!(got, Inbound::Dropped(why) if why != Drop::WrongSource);
    }

    fn network(&mut self, dev: Dev, peer: Dev, b: &mut Bytes) {
        let chance = |b: &mut Bytes| u64::from(b.u8()) * 2;
        match b.below(4) {
            0 => self.s.link(dev, peer).cut = true,
            1 => self.s.heal(dev, peer),
            _ => {
                let link = Link {
                    loss: chance(b),
                    dup: chance(b),
                    corrupt: chance(b) / 8,
                    spread: chance(b) * MS,
                    delay: chance(b) * MS,
                    ..Link::default()
                };
                *self.s.link(dev, peer) = link;
            }
        }
    }

    fn roam(&mut self, dev: Dev, b: &mut Bytes) {
        let host = 10 + 70 * dev as u8 + b.u8() % 70;
        if b.below(3) > 0 {
            self.s.nodes[dev].addr = v4(host);
        } else {
            let mut outside = v4(220 + dev as u8);
            outside.set_port(9000 + b.u16() % 3);
            self.s.nodes[dev].nat = (outside.port() > 9000).then_some(outside);
        }
    }

    fn stop(&mut self, dev: Dev) {
        self.s.stop(dev);
        let device = &self.s.nodes[dev].device;
        assert_eq!((device.live_indices(), device.next_deadline()), (0, None), "R73 R95");
        self.initiations[dev].clear();
    }

    fn configure(&mut self, dev: Dev, peer: Dev, b: &mut Bytes) {
        let s = &mut self.s;
        let endpoint = s.seen_as(peer);
        match b.u8() % 8 {
            0 | 1 => s.set_keepalive(dev, peer, [0, 1, 25, 200][b.below(4)]),
            2 => s.configure(dev, peer, |u| u.endpoint = Some(endpoint)).unwrap(),
            3 => {
                let psk = [b.u8() & 3; 32];
                s.configure(dev, peer, |u| u.preshared_key = Some(psk)).unwrap();
            }
            4 => {
                let mtu = 576 + b.u16() % 1024;
                s.act(dev, |d, _, _| d.set_mtu(mtu));
            }
            5 => {
                s.configure(dev, peer, |u| u.remove = true).unwrap();
                s.configure(dev, peer, |u| {
                    u.endpoint = Some(endpoint);
                    u.allowed_ips = vec![(inner(peer), 32, true)];
                })
                .unwrap();
                self.initiations[dev].clear();
            }
            6 => {
                // The other side learns the new key at once.
                let private = [b.u8(); 32];
                s.configure(peer, dev, |u| u.remove = true).unwrap();
                s.set_key(dev, private);
                if s.nodes[dev].public != s.nodes[peer].public {
                    s.introduce(dev, peer);
                }
                self.initiations.iter_mut().for_each(VecDeque::clear);
            }
            _ => {
                let replace = b.below(2) == 0;
                s.configure(dev, peer, |u| {
                    u.replace_allowed_ips = replace;
                    u.allowed_ips = vec![(inner(peer), 32, true)];
                })
                .unwrap();
            }
        }
    }

    /// Reads what happened since the last check, and forgets it.
    fn check(&mut self) {
        for w in std::mem::take(&mut self.s.wire) {
            self.check_wire(&w);
            self.record.push_back(w);
            if self.record.len() > RECORD {
                self.record.pop_front();
            }
        }
        let log = std::mem::take(&mut self.s.log);
        for (n, e) in log.iter().enumerate() {
            match &e.fact {
                Fact::Delivered(p) => self.check_delivery(e.dev, p),
                Fact::Moved(_) => assert!(moved_by_right(&log[..n], e.dev), "I9"),
                Fact::Consumed(Kind::Response) | Fact::Lost(Kind::Initiation | Kind::Response) => {
                    self.active[e.dev] = self.active[e.dev].max(e.t);
                }
                Fact::Lost(Kind::Data) => self.out[e.dev] += 1,
                _ => {}
            }
        }
        self.check_device(A);
        self.check_device(B);
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
            let last = self.initiations[w.from].back();
            assert!(last.is_none_or(|t| t + REKEY_TIMEOUT <= w.t), "I7: {last:?}, {}", w.t);
            self.initiations[w.from] = VecDeque::from([w.t]);
        }
    }

    fn check_delivery(&mut self, dev: Dev, p: &[u8]) {
        let token = payload(p).first_chunk().map(|t| u64::from_le_bytes(*t)).unwrap_or(0);
        let sent = self.sent.get(&token).expect("I4: never sent");
        assert_eq!((sent.0, &sent.1[..]), (dev, p), "I4");
        assert!(self.delivered.insert(token), "I3: delivered twice");
    }

    fn check_device(&mut self, dev: Dev) {
        let device = &self.s.nodes[dev].device;
        let live = device.live_indices();
        assert!(live <= 4, "I11: {live} indices");
        if self.s.now > self.active[dev] + WIPE + 10 * SEC {
            assert_eq!(live, 0, "I1: key material is left");
        }
        let drops = |name: &str| device.drops().find(|(d, _)| *d == name).map_or(0, |(_, c)| c);
        let gone = self.out[dev] + drops("staged_overflow") + drops("staged_purged");
        assert!(gone <= self.taken[dev], "I10: more went than came");
        assert!(self.taken[dev] - gone <= 128, "I11: more waits than may");
        assert_eq!(drops("inner_malformed"), 0, "I4: opened to garbage");
    }
}

/// Whether what `dev` received last was authentic.
fn moved_by_right(log: &[Event], dev: Dev) -> bool {
    let is_input =
        |f: &Fact| matches!(f, Fact::Delivered(_) | Fact::Consumed(_) | Fact::Refused(_));
    let cause = log.iter().rev().find(|e| e.dev == dev && is_input(&e.fact));
    match cause.map(|e| &e.fact) {
        Some(Fact::Delivered(_)) => true,
        Some(Fact::Consumed(kind)) => *kind != Kind::Cookie,
        Some(Fact::Refused(why)) => *why == Drop::WrongSource,
        _ => false,
    }
}
