//! Handshake datagrams that wait for their turn behind the data (R38, R42).

use crate::wg::{Arrival, HANDSHAKE_RING};
use std::collections::VecDeque;

/// The longest handshake message is an initiation of 148 bytes; `wg::classify` goes by the exact
/// lengths.
const LEN_MAX: usize = 148;

#[derive(Clone, Copy)]
pub(super) struct Waiting {
    data: [u8; LEN_MAX],
    len: usize,
}

impl Waiting {
    pub fn bytes(&mut self) -> &mut [u8] {
        self.data.get_mut(..self.len).unwrap_or_default()
    }
}

pub(super) struct Ring(VecDeque<(Waiting, Arrival)>);

impl Ring {
    pub fn new() -> Ring {
        Ring(VecDeque::with_capacity(HANDSHAKE_RING))
    }

    /// False if the ring is full or the datagram too long, and the datagram is dropped.
    pub fn push(&mut self, datagram: &[u8], from: Arrival) -> bool {
        let mut data = [0u8; LEN_MAX];
        let Some(room) = data.get_mut(..datagram.len()) else { return false };
        room.copy_from_slice(datagram);
        let free = self.0.len() < HANDSHAKE_RING;
        if free {
            self.0.push_back((Waiting { data, len: datagram.len() }, from));
        }
        free
    }

    pub fn pop(&mut self) -> Option<(Waiting, Arrival)> {
        self.0.pop_front()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_keeps_order() {
        let from = Arrival { remote: ([192, 0, 2, 1], 1).into(), local: None, ecn: 0 };
        let mut ring = Ring::new();
        for i in 0..HANDSHAKE_RING {
            assert!(ring.push(&[i as u8; LEN_MAX], from));
        }
        assert!(!ring.push(&[0; 64], from), "full");
        for i in 0..HANDSHAKE_RING {
            let (mut w, _) = ring.pop().expect("there");
            assert_eq!(w.bytes(), [i as u8; LEN_MAX]);
        }
        assert!(ring.is_empty());
        assert!(!ring.push(&[0; LEN_MAX + 1], from), "too long");
    }
}
