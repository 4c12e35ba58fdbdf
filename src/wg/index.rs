//! Receiver indices (R43–R45): random, unique among everything alive, each denoting either a
//! handshake or a session of one peer; and what names a peer.

use std::collections::BTreeMap;

use super::Entropy;

/// Names a peer for the life of the device; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// What an index stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Handshake(PeerId),
    Session(PeerId),
}

impl Owner {
    pub fn peer(self) -> PeerId {
        match self {
            Owner::Handshake(p) | Owner::Session(p) => p,
        }
    }
}

/// At most four entries a peer: one handshake and three sessions.
#[derive(Default)]
pub struct Indices(BTreeMap<u32, Owner>);

impl Indices {
    /// A fresh random index for `owner`. Terminates: the table holds a tiny part of 2^32 values.
    pub fn allot(&mut self, owner: Owner, entropy: &mut dyn Entropy) -> u32 {
        loop {
            let mut bytes = [0; 4];
            entropy.fill(&mut bytes);
            let index = u32::from_le_bytes(bytes);
            if let std::collections::btree_map::Entry::Vacant(slot) = self.0.entry(index) {
                slot.insert(owner);
                return index;
            }
        }
    }

    /// A handshake became a session and keeps its index (R44).
    pub fn become_session(&mut self, index: u32) {
        if let Some(owner) = self.0.get_mut(&index) {
            *owner = Owner::Session(owner.peer());
        }
    }

    pub fn get(&self, index: u32) -> Option<Owner> {
        self.0.get(&index).copied()
    }

    pub fn free(&mut self, index: u32) {
        self.0.remove(&index);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
