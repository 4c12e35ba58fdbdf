//! Packets that wait for a session: 128 at most, the oldest goes first (R42, R52).

use std::collections::VecDeque;

use super::consts::STAGED_PACKETS;

#[derive(Default)]
pub struct Staged(VecDeque<Box<[u8]>>);

impl Staged {
    /// Keeps a copy. True if the oldest packet had to go for it.
    pub fn push(&mut self, packet: &[u8]) -> bool {
        let full = self.0.len() >= STAGED_PACKETS;
        if full {
            self.0.pop_front();
        }
        self.0.push_back(packet.into());
        full
    }

    /// The oldest packet, in the order they came (R86).
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        self.0.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops all and says how many there were.
    pub fn purge(&mut self) -> usize {
        let n = self.0.len();
        self.0 = VecDeque::new();
        n
    }
}
