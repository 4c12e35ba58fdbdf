//! One output of this process, written by a thread: whoever reads it slowly keeps nothing else
//! waiting.
//!
//! Bound: what the other side was given room for.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::screen::Screen;
use crate::rpc::frames::{Channel, OUT_ROOM, PIECE};
use crate::sys::poll::Wake;

/// Room is given back in pieces of this.
const STEP: u32 = 4 * PIECE as u32;

#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    /// Bytes in it, and those that are being written.
    waiting: u32,
    /// Written, and not yet told.
    written: u32,
    /// Nothing more will come.
    ended: bool,
    broken: bool,
}

struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece; `None` when there will be none.
    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            match state.queue.pop_front() {
                Some(bytes) => return Some(bytes),
                None if state.ended => return None,
                None => {
                    state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

pub struct Writer {
    pub channel: Channel,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    wake: Arc<Wake>,
    told_broken: bool,
}

impl Writer {
    pub fn start(mut to: Screen, channel: Channel, wake: Arc<Wake>) -> io::Result<Writer> {
        let shared = Arc::new(Shared { state: Mutex::default(), moved: Condvar::new() });
        let (its, waker) = (shared.clone(), wake.clone());
        let write = move || {
            while let Some(bytes) = its.next() {
                let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let broken = its.state().broken || to.write(&bytes).is_err();
                let mut state = its.state();
                state.broken |= broken;
                state.waiting = state.waiting.saturating_sub(count);
                state.written = state.written.saturating_add(count);
                if state.broken || state.written >= STEP || state.queue.is_empty() {
                    waker.wake();
                }
            }
            to.end();
        };
        let thread = thread::Builder::new().name("output".to_owned()).spawn(write)?;
        Ok(Writer { channel, shared, thread, wake, told_broken: false })
    }

    /// False if it is more than there was room for.
    pub fn add(&self, bytes: Vec<u8>) -> bool {
        let mut state = self.shared.state();
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        state.waiting = state.waiting.saturating_add(count);
        let fits = state.waiting.saturating_add(state.written) <= OUT_ROOM;
        state.queue.push_back(bytes);
        drop(state);
        self.shared.moved.notify_one();
        fits
    }

    /// Nobody reads it any more, which a write would find out, too.
    pub fn unread(&self) {
        self.shared.state().broken = true;
        self.wake.wake();
    }

    /// How much was written since it was asked last; `None`, once, when nobody reads it any more.
    pub fn written(&mut self) -> Option<u32> {
        let mut state = self.shared.state();
        if state.broken && !self.told_broken {
            self.told_broken = true;
            return None;
        }
        Some(std::mem::take(&mut state.written))
    }

    /// Waits until all is written.
    pub fn finish(self) {
        self.shared.state().ended = true;
        self.shared.moved.notify_one();
        let _ = self.thread.join();
    }
}
