//! Work that may take its time, on threads of its own, so that whoever waits for other things, too,
//! is not held up: a question to an agent, to a resolver, to a helper that is being started.
//!
//! Work cannot be broken off: it has to have a limit, or to be what the end of the process may
//! end. What it finds after nobody waits any more is lost.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::sys::poll::Wake;

/// Work of one kind, `most` of it at a time; readable when there may be something to take.
pub struct Tasks<T> {
    /// Of the threads.
    name: &'static str,
    most: usize,
    out: usize,
    wake: Arc<Wake>,
    send: Sender<T>,
    found: Receiver<T>,
}

impl<T: Send + 'static> Tasks<T> {
    pub fn new(name: &'static str, most: usize) -> io::Result<Tasks<T>> {
        let (send, found) = mpsc::channel();
        Ok(Tasks { name, most, out: 0, wake: Arc::new(Wake::new()?), send, found })
    }

    /// One piece of work, begun at once.
    pub fn one(
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Tasks<T>> {
        let mut tasks = Tasks::new(name, 1)?;
        tasks.start(work)?;
        Ok(tasks)
    }

    /// Begins it. `false`: there are enough already, and nothing was begun.
    pub fn start(&mut self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<bool> {
        if self.out >= self.most {
            return Ok(false);
        }
        let (send, wake) = (self.send.clone(), self.wake.clone());
        thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            let _ = send.send(work());
            wake.wake();
        })?;
        self.out += 1;
        Ok(true)
    }

    /// Whether some is not done, or not taken.
    pub fn is_working(&self) -> bool {
        self.out > 0
    }

    /// What one piece found, if one is done. Call it until there is nothing more.
    pub fn take(&mut self) -> Option<T> {
        self.wake.drain();
        let found = self.found.try_recv().ok()?;
        self.out = self.out.saturating_sub(1);
        Some(found)
    }

    /// The same, with time for it to be done.
    pub fn wait(&mut self, limit: Duration) -> Option<T> {
        let found = self.found.recv_timeout(limit).ok()?;
        self.out = self.out.saturating_sub(1);
        Some(found)
    }
}

impl<T> AsFd for Tasks<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{self, Interest};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn so_many_at_a_time_and_each_is_heard() {
        let mut tasks = Tasks::new("test", 2).unwrap();
        let (go, gate) = mpsc::channel::<()>();
        assert!(tasks.start(move || gate.recv().is_ok()).unwrap());
        assert!(tasks.start(|| false).unwrap());
        assert!(!tasks.start(|| false).unwrap(), "two are enough");
        assert_eq!(tasks.wait(LONG), Some(false));
        assert!(tasks.is_working() && tasks.take().is_none());
        assert_eq!(tasks.wait(Duration::ZERO), None);
        go.send(()).unwrap();
        // What was waited for may wake once more.
        let found = (0..2).find_map(|_| {
            assert!(poll::wait_one(tasks.as_fd(), Interest::READ, Some(LONG)).unwrap());
            tasks.take()
        });
        assert_eq!(found, Some(true));
        assert!(!tasks.is_working());
    }

    #[test]
    fn nobody_waits_for_work_that_is_not_wanted_any_more() {
        let (done, end) = mpsc::channel();
        let task = Tasks::one("test", || thread::sleep(Duration::from_millis(20))).unwrap();
        drop(task);
        let mut other = Tasks::one("test", move || done.send(())).unwrap();
        assert!(end.recv_timeout(LONG).is_ok() && other.wait(LONG).is_some());
    }
}
