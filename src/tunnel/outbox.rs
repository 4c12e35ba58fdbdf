//! Datagrams that wait to be sent together, one behind the other.
//!
//! Neighbours of equal length to one place form a run, which one system call sends as a whole where
//! the kernel cuts it up again (UDP_SEGMENT). A shorter one may end a run.

use crate::wg::{self, Endpoint};

/// Datagrams of one run, and their bytes: the limits of kernels and of the length field.
const RUN_SEGMENTS: usize = 64;
const RUN_BYTES: usize = 65_000;
/// The longest packet that a TUN hands out, with the room that sealing needs around it.
const SLOT: usize = wg::HEADROOM + 65_535 + wg::TAILROOM;

/// Datagrams `start..end` of the bytes, each `segment` bytes long, the last perhaps shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub to: Endpoint,
    pub tos: u8,
    pub start: usize,
    pub end: usize,
    pub segment: usize,
    /// A shorter one has ended it.
    closed: bool,
}

impl Run {
    fn takes(&self, to: &Endpoint, tos: u8, len: usize) -> bool {
        let bytes = self.end - self.start;
        !self.closed
            && len <= self.segment
            && bytes < RUN_SEGMENTS * self.segment
            && bytes + len <= RUN_BYTES
            && self.tos == tos
            && self.to == *to
    }
}

pub(super) struct Outbox {
    bytes: Box<[u8]>,
    filled: usize,
    /// At most one for each [`RUNS`]; allocated once.
    runs: Vec<Run>,
}

/// Runs that may wait. Datagrams that share nothing take one each.
const RUNS: usize = 64;

impl Outbox {
    /// Room for `bytes` of datagrams, and for the longest one at least.
    pub fn new(bytes: usize) -> Outbox {
        Outbox { bytes: vec![0; bytes.max(SLOT)].into(), filled: 0, runs: Vec::with_capacity(RUNS) }
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn is_full(&self, packet: usize) -> bool {
        let slot = packet.saturating_add(wg::HEADROOM + wg::TAILROOM);
        self.runs.len() >= RUNS || self.bytes.len() - self.filled < slot
    }

    /// Where the next datagram will stand: at least as long as [`Outbox::is_full`] said.
    pub fn slot(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// The first `len` bytes of the slot are a datagram.
    pub fn push(&mut self, to: &Endpoint, tos: u8, len: usize) {
        let (start, end) = (self.filled, self.filled + len);
        self.filled = end;
        match self.runs.last_mut() {
            Some(run) if run.takes(to, tos, len) => {
                run.end = end;
                run.closed = len < run.segment;
            }
            _ => self.runs.push(Run { to: *to, tos, start, end, segment: len, closed: len == 0 }),
        }
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub fn bytes(&self, start: usize, end: usize) -> &[u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Where the slot begins.
    pub fn filled(&self) -> usize {
        self.filled
    }

    pub fn bytes_mut(&mut self, start: usize, len: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(start..start.checked_add(len)?)
    }

    pub fn clear(&mut self) {
        self.filled = 0;
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Endpoint {
        Endpoint { remote: ([198, 51, 100, 1], port).into(), local: None }
    }

    fn runs(list: &[(u16, u8, usize)]) -> Vec<(usize, usize)> {
        let mut outbox = Outbox::new(0);
        for &(port, tos, len) in list {
            assert!(!outbox.is_full(len));
            outbox.push(&to(port), tos, len);
        }
        outbox.runs().iter().map(|r| (r.end - r.start, r.segment)).collect()
    }

    #[test]
    fn equal_neighbours_share_a_run_and_a_shorter_one_ends_it() {
        assert_eq!(
            runs(&[(1, 0, 100), (1, 0, 100), (1, 0, 60), (1, 0, 60)]),
            [(260, 100), (60, 60)]
        );
        assert_eq!(runs(&[(1, 0, 60), (1, 0, 100)]), [(60, 60), (100, 100)]);
        assert_eq!(runs(&[(1, 0, 60), (2, 0, 60), (2, 1, 60)]), [(60, 60); 3]);
    }

    #[test]
    fn a_run_is_bounded() {
        assert_eq!(runs(&[(1, 0, 32); 65]), [(64 * 32, 32), (32, 32)]);
        let long = runs(&[(1, 0, 1452); 45]);
        assert_eq!(long, [(44 * 1452, 1452), (1452, 1452)]);
    }

    #[test]
    fn it_is_full_when_runs_or_bytes_are_used_up() {
        let mut outbox = Outbox::new(0);
        assert!(!outbox.is_full(65_535));
        outbox.push(&to(1), 0, 32);
        assert!(outbox.is_full(65_535) && !outbox.is_full(1420));
        for port in 2..=64 {
            outbox.push(&to(port), 0, 32);
        }
        assert!(outbox.is_full(0));
        outbox.clear();
        assert!(outbox.is_empty() && !outbox.is_full(65_535));
    }
}
