//! One thread that carries up to 256 connections.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, PIECE};
use super::order::Ended;
use crate::sys::poll::{self, Interest, Wake};

/// Of a thread: its buffer is not there.
const STACK_BYTES: usize = 128 * 1024;
/// After a poll that failed, which only happens where the system has no memory.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Lane {
    /// Those that it carries, and those that wait to be taken.
    count: AtomicUsize,
    waiting: Mutex<Vec<Connection>>,
    has_stopped: AtomicBool,
    wake: Wake,
    #[cfg(test)]
    wakes: std::sync::atomic::AtomicU64,
}

impl Lane {
    pub fn start(name: &str) -> io::Result<Arc<Lane>> {
        let lane = Arc::new(Lane {
            count: AtomicUsize::new(0),
            waiting: Mutex::default(),
            has_stopped: AtomicBool::new(false),
            wake: Wake::new()?,
            #[cfg(test)]
            wakes: Default::default(),
        });
        let its = lane.clone();
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || its.run())?;
        Ok(lane)
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A place for one that [`Lane::take`] gets.
    pub fn reserve(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn take(&self, connection: Connection) {
        self.waiting().push(connection);
        self.wake.wake();
    }

    #[cfg(test)]
    pub fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.has_stopped.store(true, Ordering::Release);
        self.wake.wake();
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut piece = vec![0; PIECE];
        let mut connections: Vec<Connection> = Vec::new();
        let mut seen = Vec::new();
        while !self.has_stopped.load(Ordering::Acquire) {
            connections.append(&mut self.waiting());
            if self.wait(&connections, &mut seen).is_err() {
                thread::sleep(PAUSE);
                continue;
            }
            if seen.first().is_some_and(|it| it.any()) {
                self.wake.drain();
            }
            #[cfg(test)]
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.turn(&mut connections, &seen, &mut piece);
        }
        connections.append(&mut self.waiting());
        connections.drain(..).for_each(|connection| connection.end(Ended::Stopped));
    }

    /// Until something happens to one of them: each has two places in `seen`, after the first.
    fn wait(&self, connections: &[Connection], seen: &mut Vec<Interest>) -> io::Result<()> {
        let nothing = (self.wake.as_fd(), Interest::NONE);
        let mut fds = Vec::with_capacity(1 + 2 * connections.len());
        fds.push((self.wake.as_fd(), Interest::READ));
        for connection in connections {
            fds.extend(connection.fds().map(|fd| fd.unwrap_or(nothing)));
        }
        let due = connections.iter().filter_map(Connection::due).min();
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        poll::wait(&fds, seen, left)?;
        Ok(())
    }

    fn turn(&self, connections: &mut Vec<Connection>, seen: &[Interest], piece: &mut [u8]) {
        let now = Instant::now();
        // From the last on: one that goes makes room for one that was looked at.
        for at in (0..connections.len()).rev() {
            let seen = |end: usize| seen.get(1 + 2 * at + end).copied().unwrap_or(Interest::NONE);
            let connection = &mut connections[at]; // `at` is below their number
            if let Some(ended) = connection.turn([seen(0), seen(1)], piece, now) {
                self.count.fetch_sub(1, Ordering::Relaxed);
                connections.swap_remove(at).end(ended);
            }
        }
        if connections.is_empty() {
            connections.shrink_to_fit();
        }
    }
}
