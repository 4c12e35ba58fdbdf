//! When which peer is to be looked at next.
//!
//! Entries are lower bounds: a peer whose deadline moved away later is looked at once in vain and
//! queued again, which is cheaper than reordering the queue for each packet. The peer keeps its own
//! entry's time (`queued`), so that nearly every packet is done with one comparison.

use std::collections::BTreeSet;

use super::index::PeerId;
use super::time::Time;

#[derive(Default)]
pub struct Deadlines(BTreeSet<(Time, PeerId)>);

impl Deadlines {
    /// Look at `peer` at `at` instead of when it is `queued` for.
    pub fn set(&mut self, peer: PeerId, queued: &mut Option<Time>, at: Time) {
        self.forget(peer, queued);
        self.0.insert((at, peer));
        *queued = Some(at);
    }

    /// The earliest entry.
    pub fn first(&self) -> Option<(Time, PeerId)> {
        self.0.first().copied()
    }

    /// Takes the earliest entry if it is due; its peer must know (`queued`).
    pub fn take_due(&mut self, now: Time) -> Option<PeerId> {
        let (_, peer) = self.first().filter(|(at, _)| *at <= now)?;
        self.0.pop_first();
        Some(peer)
    }

    pub fn forget(&mut self, peer: PeerId, queued: &mut Option<Time>) {
        if let Some(at) = queued.take() {
            self.0.remove(&(at, peer));
        }
    }
}
