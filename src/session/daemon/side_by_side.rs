//! The same work for several hosts at a time.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::sys::threads;

/// Hosts that are started or ended at the same time.
pub const AT_ONCE: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs `work` for each name in a thread of its own. `told` hears every outcome, an error when
/// there was no thread to be had; `meanwhile` is called now and then while they run.
pub fn side_by_side<T: Send>(
    names: &[String],
    work: impl Fn(&str) -> T + Sync,
    mut told: impl FnMut(&str, io::Result<T>),
    mut meanwhile: impl FnMut(),
) {
    thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        for name in names {
            let (send, work) = (send.clone(), &work);
            let job = move || drop(send.send((name, work(name))));
            if let Err(error) = threads::start_within(scope, "host", job) {
                told(name, Err(error));
            }
        }
        drop(send);
        loop {
            match receive.recv_timeout(LOOK_EVERY) {
                Ok((name, outcome)) => told(name, Ok(outcome)),
                Err(RecvTimeoutError::Timeout) => meanwhile(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}
