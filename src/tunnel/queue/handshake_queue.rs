//! Handshake datagrams that wait for their turn behind the data (R38, R42). The longest that there
//! is, is an initiation.

use crate::wg::{Arrival, HANDSHAKE_QUEUE, INITIATION_LEN as LEN_MAX};
use std::collections::VecDeque;

#[derive(Clone, Copy)]
pub struct Waiting {
    data: [u8; LEN_MAX],
    len: usize,
}

impl Waiting {
    pub fn bytes(&mut self) -> &mut [u8] {
        self.data.get_mut(..self.len).unwrap_or_default()
    }
}

pub struct HandshakeQueue(VecDeque<(Waiting, Arrival)>);

impl HandshakeQueue {
    pub fn new() -> HandshakeQueue {
        HandshakeQueue(VecDeque::with_capacity(HANDSHAKE_QUEUE))
    }

    /// False if the queue is full or the datagram too long, and the datagram is dropped.
    pub fn push(&mut self, datagram: &[u8], from: Arrival) -> bool {
        let mut data = [0u8; LEN_MAX];
        let Some(room) = data.get_mut(..datagram.len()) else { return false };
        room.copy_from_slice(datagram);
        let free = self.0.len() < HANDSHAKE_QUEUE;
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
    fn the_queue_is_bounded_and_keeps_order() {
        let from = Arrival { remote: ([192, 0, 2, 1], 1).into(), local: None, ecn: 0 };
        let mut queue = HandshakeQueue::new();
        for i in 0..HANDSHAKE_QUEUE {
            assert!(queue.push(&[i as u8; LEN_MAX], from));
        }
        assert!(!queue.push(&[0; 64], from), "full");
        for i in 0..HANDSHAKE_QUEUE {
            let (mut w, _) = queue.pop().expect("there");
            assert_eq!(w.bytes(), [i as u8; LEN_MAX]);
        }
        assert!(queue.is_empty());
        assert!(!queue.push(&[0; LEN_MAX + 1], from), "too long");
    }
}
