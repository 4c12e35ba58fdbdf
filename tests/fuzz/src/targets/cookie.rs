//! Cookies both ways under load (R32–R41): a device hands one out and takes it back only from the
//! address it was for and while its secret lives; and it uses the one it was given.

use super::bytes::Bytes;
use super::lab::*;
use hopbox::wg::{Drop, Inbound};
use std::collections::VecDeque;

const STEPS: usize = 40;
const SECRET_LIVES: u64 = 120 * SEC;
/// Five seconds less, because a message is under way for a while.
const COOKIE_LIVES: u64 = 115 * SEC;

struct Run {
    l: Lab,
    /// When the secret was made that cookies come from, and how many were made before it.
    secret: Option<(u64, u32)>,
    /// Cookies A gave out: address, number of the secret, cookie.
    given: VecDeque<(u8, u32, [u8; 16])>,
    /// The cookie B gave to A, and when.
    held: Option<([u8; 16], u64)>,
    /// The initiation that a cookie reply was accepted for.
    answered: Option<Vec<u8>>,
    read: usize,
}

pub fn cookie(data: &[u8]) {
    let mut l = Lab::new();
    l.s.forget();
    let mut run =
        Run { l, secret: None, given: VecDeque::new(), held: None, answered: None, read: 0 };
    run.pass(6 * SEC);
    let mut b = Bytes::new(data);
    for _ in 0..STEPS {
        if b.is_empty() {
            break;
        }
        match b.u8() % 4 {
            0 => run.ask(&mut b),
            1 => run.reply(&mut b),
            2 => run.pass(u64::from(b.u8()) * SEC),
            _ => run.pass(u64::from(b.u8()) * 20 * MS),
        }
    }
}

impl Run {
    /// Time passes; each initiation to B then carries what A holds.
    fn pass(&mut self, ns: u64) {
        self.l.s.send(A, B, b"still there?");
        self.l.s.run(ns);
        for w in &self.l.s.wire[self.read..] {
            if w.kind() == Kind::Initiation && w.to == self.l.s.nodes[B].addr {
                match self.held.filter(|(_, since)| w.t < since + COOKIE_LIVES) {
                    Some((cookie, _)) => assert!(mac2_is_right(&w.bytes, &cookie), "R31"),
                    None => assert!(!w.has_mac2(), "R31: mac2 out of nothing"),
                }
            }
        }
        self.read = self.l.s.wire.len();
    }

    /// The stranger initiates from one of four addresses, with no cookie, one it was given (here or
    /// there, now or before), or a damaged one.
    fn ask(&mut self, b: &mut Bytes) {
        let host = 60 + b.below(4) as u8;
        let s = &mut self.l.s;
        s.load(A);
        let (secret_since, number) = match self.secret {
            Some((since, n)) if s.now < since + SECRET_LIVES => (since, n),
            old => (s.now, old.map_or(0, |(_, n)| n + 1)),
        };
        self.secret = Some((secret_since, number));
        let stamp = stamp(EPOCH_S, 0).later(s.now);
        let (_, mut d) = self.l.who.initiation(0x5000 + u32::from(b.u8()), stamp);
        let mut right = false;
        if let Some((for_host, n, cookie)) = self.given.get(b.below(8)) {
            let mut cookie = *cookie;
            let flip = b.u8();
            cookie[usize::from(flip >> 3) % 16] ^= if flip & 7 == 7 { 1 << (flip >> 5) } else { 0 };
            right = (*for_host, *n) == (host, number) && flip & 7 != 7;
            d = with_cookie(&d, &cookie);
        }
        let sent = s.wire.len();
        let got = s.inject(A, v4(host), &d);
        if right {
            assert_ne!(got, Inbound::Dropped(Drop::CookieSent), "R39: a good cookie was refused");
            return;
        }
        assert_eq!(got, Inbound::Dropped(Drop::CookieSent));
        let [reply] = &s.wire[sent..] else { panic!("one reply") };
        assert_eq!((reply.to, reply.kind()), (v4(host), Kind::Cookie));
        assert_eq!(reply.bytes[4..8], d[4..8], "R34");
        let cookie = self.l.who.cookie(&reply.bytes, &d).expect("R33: opens with our mac1");
        self.given.push_front((host, number, cookie));
        self.given.truncate(8);
    }

    /// B answers A's initiation with a cookie, whole or damaged, in time or late.
    fn reply(&mut self, b: &mut Bytes) {
        let Some(message) = self.l.initiation() else { return };
        let cookie = b.array();
        let mut d = self.l.b.cookie_reply(&message, cookie);
        let flip = b.u8();
        let whole = flip & 3 != 3;
        if !whole {
            let at = usize::from(flip >> 2);
            d[at] ^= 1 << b.below(8);
        }
        let got = self.l.s.inject(A, v4(FOE), &d);
        if got == Inbound::Consumed {
            assert!(whole, "R35: a damaged reply was taken");
            assert_ne!(self.answered.as_ref(), Some(&message), "R35: one message, two cookies");
            self.held = Some((cookie, self.l.s.now));
            self.answered = Some(message);
        } else {
            assert!(matches!(got, Inbound::Dropped(_)));
        }
    }
}
