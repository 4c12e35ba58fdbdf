//! Datagrams that wait to be sent together, one behind the other.
//!
//! Neighbours of equal length to one place form a batch, which one system call sends as a whole
//! where the kernel cuts it up again (UDP_SEGMENT). A shorter one may end a batch. What is still to
//! be sealed is sealed here, in the place where it stands, by whatever thread has the queue.

use super::parts::Parts;
use crate::wg::{self, Endpoint, Sealing};

/// Datagrams of one batch, and their bytes: the limits of kernels and of the length field.
const BATCH_SEGMENTS: usize = 64;
const BATCH_BYTES: usize = 65_000;
/// The longest packet that a TUN hands out, with the room that sealing needs around it.
const SLOT: usize = wg::HEADROOM + 65_535 + wg::TAILROOM;

/// Datagrams `start..end` of the bytes, each `segment` bytes long, the last perhaps shorter.
#[derive(Clone, Copy, Debug)]
pub struct GsoBatch {
    pub to: Endpoint,
    pub tos: u8,
    pub start: usize,
    pub end: usize,
    pub segment: usize,
    /// A shorter one has ended it.
    closed: bool,
}

impl GsoBatch {
    fn takes(&self, to: &Endpoint, tos: u8, len: usize) -> bool {
        let bytes = self.end - self.start;
        !self.closed
            && len <= self.segment
            && bytes < BATCH_SEGMENTS * self.segment
            && bytes + len <= BATCH_BYTES
            && self.tos == tos
            && self.to == *to
    }
}

pub struct SendQueue {
    bytes: Box<[u8]>,
    filled: usize,
    /// At most one for each [`BATCHES`]; allocated once.
    batches: Vec<GsoBatch>,
    /// Where datagrams stand that are still to be sealed, and how long they are.
    unsealed: Vec<(usize, usize, Sealing)>,
}

/// Runs that may wait. Datagrams that share nothing take one each.
const BATCHES: usize = 64;

impl SendQueue {
    /// Room for `bytes` of datagrams, and for the longest one at least.
    pub fn new(bytes: usize) -> SendQueue {
        SendQueue {
            bytes: vec![0; bytes.max(SLOT)].into(),
            filled: 0,
            batches: Vec::with_capacity(BATCHES),
            unsealed: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn is_full(&self, packet: usize) -> bool {
        let slot = packet.saturating_add(wg::HEADROOM + wg::TAILROOM);
        self.batches.len() >= BATCHES || self.bytes.len() - self.filled < slot
    }

    /// Where the next datagram will stand: at least as long as [`SendQueue::is_full`] said.
    pub fn slot(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// The first `len` bytes of the slot are a datagram, sealed or to be sealed by `sealing`.
    pub fn push(&mut self, to: &Endpoint, tos: u8, len: usize, sealing: Option<Sealing>) {
        let (start, end) = (self.filled, self.filled + len);
        self.filled = end;
        self.unsealed.extend(sealing.map(|sealing| (start, len, sealing)));
        match self.batches.last_mut() {
            Some(batch) if batch.takes(to, tos, len) => {
                batch.end = end;
                batch.closed = len < batch.segment;
            }
            _ => self.batches.push(GsoBatch {
                to: *to,
                tos,
                start,
                end,
                segment: len,
                closed: len == 0,
            }),
        }
    }

    pub fn batches(&self) -> &[GsoBatch] {
        &self.batches
    }

    pub fn bytes(&self, start: usize, end: usize) -> &[u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Seal what is to be sealed. If one of them did not stand behind the one before, which cannot
    /// be, nothing would be sent.
    pub fn seal(&mut self) {
        let (mut parts, mut is_whole) = (Parts::of(&mut self.bytes), true);
        wg::seal_all(self.unsealed.drain(..).filter_map(|(start, len, sealing)| {
            let datagram = parts.next(start, len);
            is_whole &= datagram.is_some();
            Some((sealing, datagram?))
        }));
        if !is_whole {
            self.batches.clear();
        }
    }

    pub fn clear(&mut self) {
        self.filled = 0;
        self.batches.clear();
        self.unsealed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Endpoint {
        Endpoint { remote: ([198, 51, 100, 1], port).into(), local: None }
    }

    fn batches(list: &[(u16, u8, usize)]) -> Vec<(usize, usize)> {
        let mut queue = SendQueue::new(0);
        for &(port, tos, len) in list {
            assert!(!queue.is_full(len));
            queue.push(&to(port), tos, len, None);
        }
        queue.batches().iter().map(|r| (r.end - r.start, r.segment)).collect()
    }

    #[test]
    fn equal_neighbours_share_a_batch_and_a_shorter_one_ends_it() {
        assert_eq!(
            batches(&[(1, 0, 100), (1, 0, 100), (1, 0, 60), (1, 0, 60)]),
            [(260, 100), (60, 60)]
        );
        assert_eq!(batches(&[(1, 0, 60), (1, 0, 100)]), [(60, 60), (100, 100)]);
        assert_eq!(batches(&[(1, 0, 60), (2, 0, 60), (2, 1, 60)]), [(60, 60); 3]);
    }

    #[test]
    fn a_batch_is_bounded() {
        assert_eq!(batches(&[(1, 0, 32); 65]), [(64 * 32, 32), (32, 32)]);
        let long = batches(&[(1, 0, 1452); 45]);
        assert_eq!(long, [(44 * 1452, 1452), (1452, 1452)]);
    }

    #[test]
    fn it_is_full_when_batches_or_bytes_are_used_up() {
        let mut queue = SendQueue::new(0);
        assert!(!queue.is_full(65_535));
        queue.push(&to(1), 0, 32, None);
        assert!(queue.is_full(65_535) && !queue.is_full(1420));
        for port in 2..=64 {
            queue.push(&to(port), 0, 32, None);
        }
        assert!(queue.is_full(0));
        queue.clear();
        assert!(queue.is_empty() && !queue.is_full(65_535));
    }
}
