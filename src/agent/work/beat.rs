//! Whoever asks is told now and then that something is being done, and is looked for: one that has
//! gone wants nothing any more.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::joint::BEAT;
use crate::agent::log;
use crate::base::line_socket::put;
use crate::sys::poll::{self, Interest};
use crate::sys::threads;

/// False when the other side has gone: it has nothing more to say.
pub fn wait_until(moment: Instant, stream: &UnixStream) -> bool {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        match poll::wait_one(stream.as_fd(), Interest::READ, Some(left.min(BEAT))) {
            Ok(false) => {}
            _ => return false,
        }
        if left > BEAT && put(stream, "").is_err() {
            return false;
        }
    }
}

pub fn has_gone(stream: &UnixStream) -> bool {
    !matches!(poll::wait_one(stream.as_fd(), Interest::READ, Some(Duration::ZERO)), Ok(false))
}

/// Does what may take long, and says now and then that it is being done. Where there is no thread
/// to say it, who asked waits for as long as for any silence.
pub fn beating<T>(stream: &UnixStream, act: impl FnOnce() -> T) -> T {
    let (over, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let beat = move || {
            while is_over.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = put(stream, "");
            }
        };
        if let Err(error) = threads::start_within(scope, "beat", beat) {
            log(&error.to_string());
        }
        let done = act();
        drop(over);
        done
    })
}
