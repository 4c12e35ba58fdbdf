//! Which connections a stack has, for whoever chooses, packet by packet, what it is sent. To ask
//! while there is none costs one load.
//!
//! Bound: as many as the stack has places (`places`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::packet::Flow;

#[derive(Clone, Default)]
pub struct Flows(Arc<All>);

#[derive(Default)]
struct All {
    count: AtomicUsize,
    /// Hashed with a key: who connects chooses half of what a flow is.
    set: Mutex<HashSet<Flow>>,
}

impl Flows {
    fn set(&self) -> MutexGuard<'_, HashSet<Flow>> {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn has(&self, flow: &Flow) -> bool {
        self.0.count.load(Ordering::Acquire) > 0 && self.set().contains(flow)
    }

    pub(super) fn add(&self, flow: Flow) {
        let mut set = self.set();
        set.insert(flow);
        self.0.count.store(set.len(), Ordering::Release);
    }

    pub(super) fn remove(&self, flow: &Flow) {
        let mut set = self.set();
        set.remove(flow);
        self.0.count.store(set.len(), Ordering::Release);
    }

    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }
}
