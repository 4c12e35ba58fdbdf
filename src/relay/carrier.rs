//! Who carries what: each connection has a place on one of several threads.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::connection::Connection;
use super::lane::Lane;
use super::order::{Done, Ended, Order};

/// Connections of one thread: poll(2) looks at two descriptors of each.
const PER_LANE: usize = 256;
const LANES: usize = 64;
/// Threads that share the first connections, so that a busy one is in the way of few.
const SPREAD: usize = 4;

pub struct Relay {
    name: String,
    pub(super) lanes: Mutex<Vec<Arc<Lane>>>,
    refused: AtomicU64,
}

/// A relay that is there once somebody needs it.
pub struct Lazy {
    name: &'static str,
    started: Mutex<Option<Arc<Relay>>>,
}

impl Lazy {
    pub const fn new(name: &'static str) -> Lazy {
        Lazy { name, started: Mutex::new(None) }
    }

    pub fn get(&self) -> io::Result<Arc<Relay>> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(relay) = &*started {
            return Ok(relay.clone());
        }
        let relay = Arc::new(Relay::start(self.name)?);
        *started = Some(relay.clone());
        Ok(relay)
    }
}

impl Relay {
    /// `name` is what its threads are called.
    pub fn start(name: &str) -> io::Result<Relay> {
        let lanes = Mutex::new(vec![Lane::start(name)?]);
        Ok(Relay { name: name.to_owned(), lanes, refused: AtomicU64::new(0) })
    }

    /// Carries until both ways have ended; `first` goes to the far side before anything else.
    pub fn carry(&self, near: OwnedFd, far: OwnedFd, first: Vec<u8>, done: Done) {
        let tally = Arc::default();
        self.carry_as(Order { near, far, first, opening: None, tally, done });
    }

    /// The same with what is said before, and a tally of the caller's.
    pub fn carry_as(&self, order: Order) {
        let connection = Connection::new(order, Instant::now());
        match self.lane() {
            Some(lane) => lane.take(connection),
            None => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                connection.end(Ended::Full);
            }
        }
    }

    /// How many there was no room for.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A place on the thread that has the least to do.
    fn lane(&self) -> Option<Arc<Lane>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let least = lanes.iter().min_by_key(|lane| lane.count()).cloned();
        let room = |most: usize| least.as_ref().filter(|lane| lane.count() < most).cloned();
        let few = if lanes.len() < SPREAD { 1 } else { PER_LANE };
        let new = || Lane::start(&self.name).ok().filter(|_| lanes.len() < LANES);
        let lane = match room(few) {
            Some(lane) => lane,
            None => match (lanes.len() < LANES).then(new).flatten() {
                Some(lane) => {
                    lanes.push(lane.clone());
                    lane
                }
                None => room(PER_LANE)?,
            },
        };
        lane.reserve();
        Some(lane)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let lanes = self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().for_each(|lane| lane.stop());
    }
}
