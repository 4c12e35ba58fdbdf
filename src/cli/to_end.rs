//! What is done on a host, heard to its end; Ctrl-C ends it there, too.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::rpc::client::{CallError, Events};
use crate::rpc::method::Stream;
use crate::sys::interrupt;
use crate::sys::threads;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Until the last event. Signals are heeded (`interrupt::heed`) before the stream is opened.
///
/// # Errors
/// Also where it was ended by Ctrl-C: `interrupt::is_due` then.
pub fn read<S: Stream>(
    events: &mut Events<S>,
    mut hear: impl FnMut(S::Event),
) -> Result<(), CallError> {
    until(events, |event| {
        hear(event);
        false
    })
}

/// The same, or until an event is the last one to be heard; the stream stays open then.
pub fn until<S: Stream>(
    events: &mut Events<S>,
    mut hear: impl FnMut(S::Event) -> bool,
) -> Result<(), CallError> {
    let here = |error: std::io::Error| CallError::Unreachable(error.to_string());
    let canceller = events.canceller().map_err(here)?;
    let (over, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let heed = move || {
            while is_over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if interrupt::is_due() {
                    return canceller.cancel();
                }
            }
        };
        threads::start_within(scope, "Ctrl-C", heed).map_err(here)?;
        let _over = over;
        while let Some(event) = events.next_event()? {
            if hear(event) {
                break;
            }
        }
        Ok(())
    })
}
