//! Who may ask something of a session: its user by signals, programs at its control socket.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde_json::Value;

use super::control::Control;
use super::log::log;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::paths::Paths;
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind as Signal, Signals};

pub struct Requests {
    pub control: Control,
    signals: Signals,
}

impl Requests {
    /// The caller holds the session's lock.
    pub fn open(paths: &Paths, host: &str) -> Result<Requests, Failure> {
        let fail = |what: &str, why: String| {
            let [usual, other] = paths.session_places();
            Failure::new(Fault::Failed, what, why, fix!("ls -la {} {}", usual, other))
        };
        let signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
            .map_err(|error| fail("cannot listen for signals", error.to_string()))?;
        let control = Control::open(paths, host)
            .map_err(|error| fail("there is no place for the session's socket", error.why))?;
        Ok(Requests { control, signals })
    }

    pub fn fds(&self) -> [(BorrowedFd<'_>, Interest); 2] {
        [(self.signals.as_fd(), Interest::READ), (self.control.as_fd(), Interest::READ)]
    }

    /// Whether a signal asked for the end.
    pub fn stopped(&mut self) -> bool {
        let mut end = false;
        while let Some(signal) = self.signals.take() {
            end |= matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::Hangup);
        }
        end
    }
}

/// Those requests while the host comes up: everybody is told that it is starting.
pub struct WhileStarting<'a> {
    pub requests: &'a mut Requests,
    pub answer: Value,
}

impl WhileStarting<'_> {
    /// Waits at most `limit`, or until `extra` is readable. True: stop, and undo everything.
    pub fn pause(&mut self, extra: Option<BorrowedFd<'_>>, limit: Duration) -> bool {
        let mut fds = self.requests.fds().to_vec();
        fds.extend(extra.map(|fd| (fd, Interest::READ)));
        if let Err(error) = poll::wait(&fds, &mut Vec::new(), Some(limit)) {
            log(&format!("cannot wait: {error}"));
            return true;
        }
        let answer = &self.answer;
        self.requests.stopped() | self.requests.control.serve(|_| Some(answer.clone()))
    }
}
