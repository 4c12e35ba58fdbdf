//! Lines from a thread that makes them to a connection that is read at its own pace.
//!
//! Bounds: 64 KiB wait to be sent, and one line more; then whoever makes lines waits, too. A
//! connection that takes nothing for 30 s is ended (`connection`), and its end is seen at once:
//! [`Sink::send`] fails, and [`Sink`] is readable for a poll(2) that waits for something else.
//!
//! Must not know: sockets, HTTP.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::LINE_BYTES;
use crate::sys::poll::Wake;

/// Bytes that wait to be sent before whoever makes them waits.
const QUEUE_BYTES: usize = 64 * 1024;

/// The other side has gone, or is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is not decided yet whether there is room for one more stream.
    Asked,
    Open,
    /// No line will follow.
    Ended,
    Gone,
}

struct State {
    phase: Phase,
    queue: VecDeque<u8>,
}

struct Shared {
    state: Mutex<State>,
    /// Something has been taken, or decided.
    moved: Condvar,
    /// Wakes whoever takes.
    filled: Arc<Wake>,
    /// Readable once nobody takes any more.
    gone: Wake,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a stream; `filled` is woken when there is something to take.
pub fn pair(filled: Arc<Wake>) -> io::Result<(Sink, Outlet)> {
    let state = Mutex::new(State { phase: Phase::Asked, queue: VecDeque::new() });
    let shared = Arc::new(Shared { state, moved: Condvar::new(), filled, gone: Wake::new()? });
    Ok((Sink(shared.clone()), Outlet(shared)))
}

/// Where lines are put. Dropped, it ends the stream once all of them are sent.
pub struct Sink(Arc<Shared>);

impl Sink {
    /// Waits until it is decided whether this stream is served.
    pub fn admitted(self) -> Option<Sink> {
        let mut state = self.0.state();
        while state.phase == Phase::Asked {
            state = self.0.wait(state);
        }
        let open = state.phase == Phase::Open;
        drop(state);
        open.then_some(self)
    }

    /// One line, without its end. Waits while too much is waiting.
    pub fn send(&self, line: &str) -> Result<(), Gone> {
        debug_assert!(line.len() <= LINE_BYTES && !line.contains('\n'));
        let mut state = self.0.state();
        while state.phase == Phase::Open && state.queue.len() >= QUEUE_BYTES {
            state = self.0.wait(state);
        }
        if state.phase != Phase::Open {
            return Err(Gone);
        }
        state.queue.extend(line.as_bytes());
        state.queue.push_back(b'\n');
        drop(state);
        self.0.filled.wake();
        Ok(())
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.gone.as_fd()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Ended;
        }
        drop(state);
        self.0.filled.wake();
    }
}

/// Where they are taken from. Dropped, it tells whoever makes them.
pub struct Outlet(Arc<Shared>);

impl Outlet {
    /// It is served.
    pub fn admit(&self) {
        self.0.state().phase = Phase::Open;
        self.0.moved.notify_all();
    }

    /// All that waits to be sent. True if nothing will follow.
    pub fn take(&self, into: &mut Vec<u8>) -> bool {
        let mut state = self.0.state();
        into.extend(state.queue.drain(..));
        self.0.moved.notify_all();
        state.phase == Phase::Ended
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.phase = Phase::Gone;
        // Before the lock is open: whoever is told that this is gone finds the descriptor readable.
        self.0.gone.wake();
        drop(state);
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, look};
    use std::thread;
    use std::time::Duration;

    fn open() -> (Sink, Outlet) {
        let (sink, outlet) = pair(Arc::new(Wake::new().unwrap())).unwrap();
        outlet.admit();
        (sink.admitted().unwrap(), outlet)
    }

    #[test]
    fn who_makes_more_than_is_read_waits() {
        let (sink, outlet) = open();
        let line = "x".repeat(1000);
        let made =
            thread::spawn(move || (0..1000).take_while(|_| sink.send(&line).is_ok()).count());
        thread::sleep(Duration::from_millis(200));
        let mut bytes = Vec::new();
        assert!(!outlet.take(&mut bytes));
        assert!((QUEUE_BYTES..QUEUE_BYTES + 1001).contains(&bytes.len()), "{}", bytes.len());
        while !outlet.take(&mut bytes) {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((made.join().unwrap(), bytes.len()), (1000, 1_001_000), "nothing is lost");
    }

    #[test]
    fn who_makes_lines_for_nobody_is_told() {
        let (sink, outlet) = open();
        sink.send("a").unwrap();
        assert!(!look(sink.as_fd(), Interest::READ).readable());
        let line = "x".repeat(QUEUE_BYTES);
        let waits = thread::spawn(move || {
            let full = sink.send(&line).and_then(|()| sink.send(&line));
            (full, look(sink.as_fd(), Interest::READ).readable(), sink.send("b"))
        });
        thread::sleep(Duration::from_millis(100));
        drop(outlet);
        assert_eq!(waits.join().unwrap(), (Err(Gone), true, Err(Gone)));
        let (sink, outlet) = pair(Arc::new(Wake::new().unwrap())).unwrap();
        drop(outlet);
        assert!(sink.admitted().is_none(), "there was no room");
    }
}
