//! Datagrams from anywhere into a device with a live session and an unanswered handshake.
//!
//! Who holds no key of ours gets nothing done: no packet, no move of an endpoint, and as an answer
//! at most a cookie that is shorter than the question, and only to a right mac1 (R29, R39, I8, I9).
//! Who holds keys gets through exactly what was sealed, once (I3, I4), whatever else was tampered
//! with.

use super::bytes::Bytes;
use super::lab::*;
use hopbox::wg::{Drop, Inbound, Outbound};
use std::collections::BTreeSet;

const STEPS: usize = 64;
/// Counters from here on are refused (R53).
const COUNTER_LIMIT: u64 = u64::MAX - (1 << 13);

/// A session of the stranger: when it began, and which counters were used in it.
struct Live {
    keys: Keys,
    since: u64,
    used: BTreeSet<u64>,
}

struct Run {
    l: Lab,
    sessions: Vec<Live>,
    /// Genuine datagrams that did their work.
    spent: Vec<Vec<u8>>,
    stamp: [u8; 12],
    index: u32,
}

pub fn device_wire(data: &[u8]) {
    let l = Lab::new();
    let first = Live { keys: l.keys.clone(), since: l.s.now, used: BTreeSet::from([0]) };
    let stamp = stamp(EPOCH_S, 0).later(l.s.now);
    let mut run = Run { l, sessions: vec![first], spent: Vec::new(), stamp, index: 0x2222 };
    let mut b = Bytes::new(data);
    for _ in 0..STEPS {
        if b.is_empty() {
            break;
        }
        run.step(&mut b);
    }
    run.l.s.run(SEC);
}

impl Run {
    fn step(&mut self, b: &mut Bytes) {
        match b.u8() % 12 {
            0 => self.outsider(b.some()),
            1 => self.shaped(b, false),
            2 => self.shaped(b, true),
            3 | 4 => self.sealed(b),
            5 => self.initiation(b),
            6 => self.cookie(b),
            7 => self.response(b),
            8 => self.again(b),
            9 => self.l.s.load(A),
            10 => {
                let unit = [MS, 10 * MS, SEC / 2, SEC][b.below(4)];
                self.l.s.run(u64::from(b.u8()) * unit);
            }
            _ => self.speak(b),
        }
        let live = self.l.s.nodes[A].device.live_indices();
        assert!(live <= 4 * 2, "I11: {live} indices for two peers");
    }

    /// From one who has no key: refused, and nothing comes of it.
    fn outsider(&mut self, d: &[u8]) {
        let s = &mut self.l.s;
        let (endpoints, sent) = (s.endpoints(A), s.wire.len());
        let got = s.inject(A, v4(FOE), d);
        assert!(matches!(got, Inbound::Dropped(_)), "taken: {got:?}");
        assert_eq!(s.endpoints(A), endpoints, "I9");
        let answers = &s.wire[sent..];
        if got != Inbound::Dropped(Drop::CookieSent) {
            return assert!(answers.is_empty(), "{got:?} was answered");
        }
        assert!(mac1_is_right(&self.l.who, d), "I8: an answer without mac1");
        let [answer] = answers else { panic!("{} answers", answers.len()) };
        assert_eq!((answer.to, answer.kind()), (v4(FOE), Kind::Cookie));
        assert!(answer.bytes.len() <= d.len(), "I8");
    }

    /// Of the right type and size, and with a right mac1 if asked for.
    fn shaped(&mut self, b: &mut Bytes, mac1: bool) {
        let (kind, len) = [(1, 148), (2, 92), (3, 64), (4, 32 + b.below(80))][b.below(4)];
        let mut d = vec![0; len];
        d[0] = kind;
        let known = [0x1111, self.index, self.l.initiation().map_or(0, |i| le(&i, 4))];
        d[4..8].copy_from_slice(&known[b.below(3)].to_le_bytes());
        let at = 4 * b.below(3);
        let rest = b.take(len - 4 - at);
        d[4 + at..4 + at + rest.len()].copy_from_slice(rest);
        if mac1 && kind < 3 {
            d = self.l.who.remac(&d);
        }
        self.outsider(&d);
    }

    /// Any plaintext under a key of ours, with any counter.
    fn sealed(&mut self, b: &mut Bytes) {
        let n = self.sessions.len();
        let nth = b.below(n);
        let live = &mut self.sessions[nth];
        let top = live.used.last().copied().unwrap_or(0);
        let counter = match b.below(4) {
            0 => top.saturating_add(1),
            1 => top.saturating_add(u64::from(b.u16())),
            2 => top.saturating_sub(u64::from(b.u16())),
            _ => b.u64(),
        };
        let mut plain = b.some().to_vec();
        if b.below(2) == 0 && plain.len() >= 20 {
            plain[0] = plain[0] & 15 | 0x40;
            plain[12..16].copy_from_slice(&[10, 0, 0, INNER as u8 + 1]);
        }
        let d = live.keys.data(counter, &plain);
        let from = if b.below(4) == 0 { v4(FOE) } else { v4(ADDRESS) };
        let s = &mut self.l.s;
        let got = s.inject(A, from, &d);
        let refused = matches!(got, Inbound::Dropped(why)
            if !matches!(why, Drop::WrongSource | Drop::InnerMalformed));
        let young = s.now < live.since + REJECT_AFTER;
        if nth == n - 1 && young && counter > top && counter < COUNTER_LIMIT {
            assert!(!refused, "a good datagram was refused: {got:?}");
        }
        assert!(refused || young, "R53: opened after 180 s");
        assert!(refused || counter < COUNTER_LIMIT, "R53: {counter}");
        if refused {
            return;
        }
        assert!(live.used.insert(counter), "I3: counter {counter} opened twice");
        self.spent.push(d);
        let ours = |ip| ip == inner(INNER) || ip == inner6(INNER);
        match (got, read(&plain)) {
            (Inbound::Consumed, _) => assert!(plain.is_empty()),
            (Inbound::Packet { start, len }, Some((src, _, whole, _))) => {
                assert!(ours(src) && len == whole, "R77 R78");
                let Some(Fact::Delivered(p)) = s.log.last().map(|e| &e.fact) else {
                    panic!("start {start}: the packet is not in the log")
                };
                assert_eq!(p[..], plain[..whole], "I4");
            }
            (Inbound::Dropped(Drop::WrongSource), Some((src, ..))) => assert!(!ours(src)),
            (Inbound::Dropped(Drop::InnerMalformed), None) => assert!(!plain.is_empty()),
            (got, read) => panic!("{got:?} for {read:?}"),
        }
    }

    /// The stranger's own initiation, with any timestamp, whole or damaged.
    fn initiation(&mut self, b: &mut Bytes) {
        let stamp = match b.below(3) {
            0 => b.array(),
            _ => stamp(EPOCH_S, 0).later(self.l.s.now),
        };
        self.index += 1;
        let (pending, mut d) = self.l.who.initiation(self.index, stamp);
        let damaged = damage(b, &mut d, 8..116);
        if damaged {
            d = self.l.who.remac(&d);
            return self.outsider(&d);
        }
        let sent = self.l.s.wire.len();
        if self.l.s.inject(A, v4(ADDRESS), &d) != Inbound::Consumed {
            return assert!(self.l.s.wire[sent..].iter().all(|w| w.kind() == Kind::Cookie));
        }
        assert!(stamp > self.stamp, "R25");
        self.stamp = stamp;
        let answer = self.l.s.wire[sent..].iter().find(|w| w.kind() == Kind::Response);
        let keys = self.l.who.finish(&pending, &answer.expect("an answer").bytes);
        let keys = keys.expect("a response that opens");
        self.sessions.push(Live { keys, since: self.l.s.now, used: BTreeSet::new() });
        self.spent.push(d);
    }

    /// A cookie reply to the initiation that is out, whole or damaged.
    fn cookie(&mut self, b: &mut Bytes) {
        let Some(message) = self.l.initiation() else { return };
        let mut d = self.l.b.cookie_reply(&message, b.array());
        if damage(b, &mut d, 0..64) {
            return self.outsider(&d);
        }
        if self.l.s.inject(A, v4(FOE), &d) == Inbound::Consumed {
            self.spent.push(d);
        }
    }

    /// An answer to it, whole or damaged.
    fn response(&mut self, b: &mut Bytes) {
        let Some(message) = self.l.initiation() else { return };
        self.index += 1;
        let Some((keys, mut d)) = self.l.b.response(&message, self.index) else { return };
        if damage(b, &mut d, 8..60) {
            d = self.l.b.remac(&d);
            return self.outsider(&d);
        }
        let s = &mut self.l.s;
        let sent = s.wire.len();
        if s.inject(A, v4(FOE), &d) == Inbound::Consumed {
            let data = &s.wire[sent..];
            assert!(data.iter().all(|w| w.to == v4(FOE) && keys.open(&w.bytes).is_some()));
            assert!(!data.is_empty(), "R46: the initiator speaks first");
            self.spent.push(d);
        }
    }

    /// What worked once must not work again, whole or damaged.
    fn again(&mut self, b: &mut Bytes) {
        let Some(d) = self.spent.get(b.below(self.spent.len())) else { return };
        let mut d = d.clone();
        let len = d.len();
        damage(b, &mut d, 0..len);
        if b.below(4) == 0 {
            d.truncate(b.below(len));
        }
        self.outsider(&d);
    }

    /// The device sends to the stranger, who must be able to read it.
    fn speak(&mut self, b: &mut Bytes) {
        let p = packet(inner(A), inner(INNER), 0, b.some());
        if let Outbound::Send { len, .. } = self.l.s.send_packet(A, &p) {
            let d = self.l.s.wire.last().expect("sent").bytes.clone();
            assert_eq!(d.len(), len);
            let opened = self.sessions.iter().find_map(|live| live.keys.open(&d));
            assert!(opened.is_some_and(|plain| plain.starts_with(&p)), "sealed for nobody");
        }
    }
}

fn le(d: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(d[at..at + 4].try_into().unwrap())
}

/// Changes one bit within `range` three times out of four; whether it did.
fn damage(b: &mut Bytes, d: &mut [u8], range: std::ops::Range<usize>) -> bool {
    if b.below(4) == 0 {
        return false;
    }
    let at = range.start + usize::from(b.u16()) % range.len().max(1);
    match d.get_mut(at) {
        Some(byte) => *byte ^= 1 << b.below(8),
        None => return false,
    }
    true
}
