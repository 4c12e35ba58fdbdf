//! The flows that are open: a table of fixed size, in which only what is sent from here makes or
//! keeps an entry (RFC 4787, REQ-6: an answer that kept one would let the other side do so).
//!
//! 1,024 sets of 16 entries, 256 KiB. A flow is in one of two sets, and which these are depends on
//! a key that is made at random, so nobody finds flows that crowd one. A new flow takes the emptier
//! of its two, which fills all of them evenly: of 12,000 flows side by side none has to go, where
//! one set for each would lose some of 6,000 (Azar, Broder, Karlin, Upfal, "Balanced Allocations").
//! Two full sets give up what is worth least: ended before unanswered, then UDP and echoes, then
//! TCP, and of equals what was sent in longest ago.

use super::headers::{ACK, FIN, Flow, ICMP, RST, SYN, TCP};
use std::hash::{BuildHasher, RandomState};

const SETS: usize = 1024;
const WAYS: usize = 16;
// As the head says.
const _: () = assert!(size_of::<[[Entry; WAYS]; SETS]>() == 256 << 10);

/// How long a flow stays open after the last packet that was sent in it. TCP has no such time: a
/// connection may be silent for days, and over a sleep. The least that RFC 4787 advises.
const UDP_LIMIT_S: u32 = 300;
const ECHO_LIMIT_S: u32 = 60;
/// A connection that was asked for: tries are at most 64 s apart on Linux, 75 s elsewhere.
const UNANSWERED_LIMIT_S: u32 = 130;
/// One that has ended: as long as late copies are answered.
const ENDED_LIMIT_S: u32 = 120;

/// Something came back.
const ANSWERED: u8 = 1;
/// TCP: this side has said all, the other has, or it was cut off.
const END_HERE: u8 = 2;
const END_THERE: u8 = 4;
const RESET: u8 = 8;

/// Of protocol 0, which no flow is of: free.
#[derive(Clone, Copy, Default)]
struct Entry {
    pair: u64,
    /// When something was sent last, or it ended.
    since_s: u32,
    protocol: u8,
    state: u8,
}

impl Entry {
    fn is(&self, flow: &Flow) -> bool {
        self.pair == flow.pair && self.protocol == flow.protocol
    }

    fn has_ended(&self) -> bool {
        self.state & RESET != 0 || self.state & (END_HERE | END_THERE) == END_HERE | END_THERE
    }

    fn limit_s(&self) -> u32 {
        match self.protocol {
            TCP if self.has_ended() => ENDED_LIMIT_S,
            TCP if self.state & ANSWERED == 0 => UNANSWERED_LIMIT_S,
            TCP => u32::MAX,
            ICMP => ECHO_LIMIT_S,
            _ => UDP_LIMIT_S,
        }
    }

    fn is_open(&self, now_s: u32) -> bool {
        self.protocol != 0 && now_s.saturating_sub(self.since_s) <= self.limit_s()
    }

    /// What is worth least is given up first.
    fn worth(&self, now_s: u32) -> (u8, u32) {
        let worth = match self.protocol {
            _ if !self.is_open(now_s) => 0,
            TCP if self.has_ended() => 1,
            _ if self.state & ANSWERED == 0 => 2,
            TCP => 4,
            _ => 3,
        };
        (worth, self.since_s)
    }

    fn begin(&mut self, flow: Flow, now_s: u32, state: u8) {
        let Flow { protocol, pair } = flow;
        *self = Entry { pair, since_s: now_s, protocol, state };
    }
}

pub struct Flows {
    sets: Box<[[Entry; WAYS]]>,
    key: RandomState,
    /// Where the last one was found: packets of a flow come together.
    last: (usize, usize),
}

impl Flows {
    pub fn new() -> Flows {
        let sets = vec![[Entry::default(); WAYS]; SETS].into_boxed_slice();
        Flows { sets, key: RandomState::new(), last: (0, 0) }
    }

    /// A packet with these flags, if it is of TCP, goes out.
    pub fn sent(&mut self, now_s: u32, flow: Flow, flags: u8) {
        let asks = flags & (SYN | ACK) == SYN;
        if let Some(entry) = self.find(now_s, &flow).filter(|_| !asks) {
            entry.since_s = now_s;
            // Whoever goes on was not cut off, whatever the other side said.
            entry.state &= !RESET;
            entry.state |= if flags & FIN != 0 { END_HERE } else { 0 };
            entry.state |= if flags & RST != 0 { RESET } else { 0 };
        } else if flags & RST == 0 && flags & (SYN | ACK) != SYN | ACK {
            // What TCP says in the middle of a connection is of one that is there: the table has
            // forgotten it, or is younger. Refusals, and answers to whoever asks, make none.
            let is_open = flow.protocol == TCP && !asks;
            let end = if flags & FIN != 0 { END_HERE } else { 0 };
            let state = end | if is_open { ANSWERED } else { 0 };
            self.place(now_s, &flow).begin(flow, now_s, state);
        }
    }

    /// A packet came: whether it is of a flow that is open.
    pub fn received(&mut self, now_s: u32, flow: Flow, flags: u8) -> bool {
        let Some(entry) = self.find(now_s, &flow) else { return false };
        let had_ended = entry.has_ended();
        entry.state |= match flags {
            _ if flags & RST != 0 => RESET,
            _ if flags & FIN != 0 => ANSWERED | END_THERE,
            _ => ANSWERED,
        };
        if entry.has_ended() && !had_ended {
            // Once, until this side says more: what it answers to the end is of this connection.
            entry.since_s = now_s;
        }
        true
    }

    pub fn is_open(&mut self, now_s: u32, flow: Flow) -> bool {
        self.find(now_s, &flow).is_some()
    }

    fn find(&mut self, now_s: u32, flow: &Flow) -> Option<&mut Entry> {
        let (set, way) = self.last;
        if !self.sets.get(set)?.get(way)?.is(flow) {
            self.last = self.place_of(flow)?;
        }
        let (set, way) = self.last;
        self.sets.get_mut(set)?.get_mut(way).filter(|entry| entry.is_open(now_s))
    }

    /// Where a flow that is not open is to be, or one that begins anew.
    fn place(&mut self, now_s: u32, flow: &Flow) -> &mut Entry {
        self.last = self.place_of(flow).unwrap_or_else(|| self.least(now_s, flow));
        let (set, way) = self.last;
        &mut self.sets[set][way]
    }

    /// Where a flow has its entry, open or not.
    fn place_of(&self, flow: &Flow) -> Option<(usize, usize)> {
        self.sets_of(flow).into_iter().find_map(|set| {
            let way = self.sets.get(set)?.iter().position(|entry| entry.is(flow))?;
            Some((set, way))
        })
    }

    /// What a flow without an entry takes: what is worth least, and of that what stands in the
    /// emptier set.
    fn least(&self, now_s: u32, flow: &Flow) -> (usize, usize) {
        let ways = self.sets_of(flow).into_iter().flat_map(|set| {
            let entries = &self.sets[set];
            let open = entries.iter().filter(|entry| entry.is_open(now_s)).count();
            entries.iter().enumerate().map(move |(way, entry)| {
                let (worth, since_s) = entry.worth(now_s);
                ((worth, open, since_s), (set, way))
            })
        });
        ways.min().map_or((0, 0), |(_, place)| place)
    }

    fn sets_of(&self, flow: &Flow) -> [usize; 2] {
        let hash = self.key.hash_one(flow) as usize;
        [hash % SETS, hash / SETS % SETS]
    }
}
