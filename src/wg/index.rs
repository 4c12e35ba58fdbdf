//! Receiver indices (R43–R45): random, unique among everything alive, each denoting either a
//! handshake or a session of one peer.

use std::collections::BTreeMap;

use super::Entropy;
use super::peer::PeerId;
use super::time::Time;

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

/// Ordered queue of the peers' next deadlines. Entries are lower bounds: a peer whose deadline
/// moved away later is looked at once in vain and queued again, which is cheaper than reordering
/// the queue for each packet.
#[derive(Default)]
pub struct Agenda {
    queue: std::collections::BTreeSet<(Time, PeerId)>,
    queued: BTreeMap<PeerId, Time>,
}

impl Agenda {
    /// Makes sure that `peer` is looked at no later than `at`.
    pub fn no_later_than(&mut self, peer: PeerId, at: Time) {
        match self.queued.get(&peer) {
            Some(t) if *t <= at => {}
            Some(t) => {
                self.queue.remove(&(*t, peer));
                self.queue.insert((at, peer));
                self.queued.insert(peer, at);
            }
            None => {
                self.queue.insert((at, peer));
                self.queued.insert(peer, at);
            }
        }
    }

    /// The earliest entry.
    pub fn first(&self) -> Option<(Time, PeerId)> {
        self.queue.first().copied()
    }

    /// Takes the earliest entry if it is due.
    pub fn take_due(&mut self, now: Time) -> Option<PeerId> {
        let (at, peer) = self.first()?;
        if at > now {
            return None;
        }
        self.forget(peer);
        Some(peer)
    }

    pub fn forget(&mut self, peer: PeerId) {
        if let Some(t) = self.queued.remove(&peer) {
            self.queue.remove(&(t, peer));
        }
    }
}
