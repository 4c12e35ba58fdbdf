//! The ways of a tunnel that no session looks after: one of this process's own, to a host that is
//! down. A thread tries them as the ladder says, and goes on after the first answer, so that SSH
//! stands in there as it does for a session.
//!
//! Bounds: those of `Ways`. Ended with the value, within the time that a pipe takes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Ways;
use crate::base::failure::Failure;
use crate::session::userspace::Userspace;
use crate::sys::poll::{self, Interest, Wake};
use crate::sys::{clock, threads};

/// From one look to the next at least.
const PAUSE: Duration = Duration::from_millis(20);

pub struct KeptWays {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: Wake,
    /// Why SSH could not stand in.
    failure: Mutex<Option<Failure>>,
}

impl KeptWays {
    /// Errors: no descriptor or thread to be had.
    pub fn begin(
        ways: Ways,
        own: Arc<Userspace>,
        remotes: Vec<SocketAddr>,
    ) -> io::Result<KeptWays> {
        let shared = Arc::new(Shared { stop: Wake::new()?, failure: Mutex::default() });
        let (its, ways) = (shared.clone(), ways.quiet());
        let thread = threads::start("ways", move || its.keep(ways, &own, &remotes))?;
        Ok(KeptWays { shared, thread: Some(thread) })
    }

    /// Why SSH could not stand in, if it was tried.
    pub fn failure(&self) -> Option<Failure> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn keep(&self, mut ways: Ways, own: &Userspace, remotes: &[SocketAddr]) {
        loop {
            let now = Duration::from_nanos(clock::boot_nanos());
            ways.look(now, own.tunnel(), remotes);
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = ways.failure().cloned();
            let due = ways.due(now).map(|due| due.saturating_sub(now).max(PAUSE));
            let mut fds = vec![(self.stop.as_fd(), Interest::READ)];
            fds.extend(ways.fds().map(|fd| (fd, Interest::READ)));
            let mut ready = Vec::with_capacity(fds.len());
            let waited = poll::wait(&fds, &mut ready, due);
            let is_over = ready.first().is_some_and(|stop| stop.any());
            if waited.is_err() || is_over {
                return;
            }
        }
    }
}

impl Drop for KeptWays {
    fn drop(&mut self) {
        self.shared.stop.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
