//! When to look for more at the TUN: what it is taken to do next, by what it did lately. A wrong
//! guess costs a system call, never a packet: what was not read now makes the next poll return at
//! once.

use crate::wg::Time;
use std::time::Duration;

/// Packets further apart than this come alone: whoever looks for a second one behind the first
/// keeps the first waiting for a system call.
const APART: Duration = Duration::from_micros(50);
/// What comes alone is no longer than this, or it is many packets in one.
const SINGLE: usize = 1500;

#[derive(Default)]
pub(super) struct ReadPolicy {
    now: Time,
    read_at: Time,
    /// The last turn that read had more than one packet.
    bursts: bool,
    wrote_at: Option<Time>,
    /// What was written was answered at once: by the kernel itself, as a ping is, or by a TCP that
    /// acknowledges.
    answers: bool,
}

impl ReadPolicy {
    /// A turn begins; `ready`: there is something to read.
    pub fn turn(&mut self, now: Time, ready: bool) {
        self.now = now;
        self.answers |= ready && self.wrote_at.is_some_and(|at| now.since(at) < APART);
    }

    /// `bytes` were read in this turn so far. Is that all there will be?
    pub fn is_all(&self, bytes: usize) -> bool {
        bytes <= SINGLE && !self.bursts && self.now.since(self.read_at) >= APART
    }

    /// So many packets, or bunches of packets, were read in this turn.
    pub fn read(&mut self, reads: usize) {
        self.answers &= reads > 0;
        self.bursts = reads > 1;
        self.read_at = self.now;
    }

    /// Something was written in this turn.
    pub fn wrote(&mut self) {
        self.wrote_at = Some(self.now);
    }

    /// Is there likely something to read now, although nobody has said so?
    pub fn expects_answer(&self) -> bool {
        self.answers && self.wrote_at == Some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Time {
        Time::from_nanos(n * 1000)
    }

    #[test]
    fn single_packets_are_sent_at_once_and_bursts_are_collected() {
        let mut h = ReadPolicy::default();
        h.turn(us(1000), true);
        assert!(h.is_all(84) && h.is_all(1500) && !h.is_all(1501), "a large one is many");
        h.read(1);
        h.turn(us(1049), true);
        assert!(!h.is_all(84), "close behind another");
        h.read(1);
        h.turn(us(1099), true);
        assert!(h.is_all(84));
        h.read(2);
        h.turn(us(5000), true);
        assert!(!h.is_all(84), "the last time there were two");
        h.read(1);
        h.turn(us(9000), true);
        assert!(h.is_all(84), "and then it was one again");
    }

    #[test]
    fn an_answer_is_expected_of_whom_answered_before() {
        let mut h = ReadPolicy::default();
        h.turn(us(1000), false);
        h.wrote();
        assert!(!h.expects_answer());
        h.turn(us(1049), true);
        assert!(!h.expects_answer(), "nothing was written in this turn");
        h.read(1);
        h.turn(us(2000), false);
        assert!(!h.expects_answer());
        h.wrote();
        assert!(h.expects_answer());
        h.read(1);
        h.turn(us(3000), false);
        h.wrote();
        assert!(h.expects_answer(), "it was there");
        h.read(0);
        assert!(!h.expects_answer(), "this time it was not");
        h.turn(us(3050), true);
        h.wrote();
        assert!(!h.expects_answer(), "too late for an answer");
    }
}
