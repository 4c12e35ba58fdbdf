//! Ctrl-C, and whatever else asks a program to end, as a command hears of it that has begun
//! something elsewhere: its waits end, it cleans up and says so, instead of being no more.
//!
//! Nothing here waits or decides; who waits for something asks [`is_due`] now and then.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::poll::{self, Interest};

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often one came.
static CAME: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHIELDS: Cell<usize> = const { Cell::new(0) };
}

/// From now on they end waits, and not the process. What was ignored before stays ignored, such as
/// the hangup of a nohup(1).
pub fn heed() -> io::Result<()> {
    // No SA_RESTART: a wait in the kernel ends, too.
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in SIGNALS {
        // SAFETY: the handler only adds to an atomic, which is async-signal-safe.
        let before = unsafe { sigaction(signal, &action) }?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: no handler is given.
            unsafe { sigaction(signal, &before) }?;
        }
    }
    Ok(())
}

extern "C" fn note(_signal: i32) {
    CAME.fetch_add(1, Ordering::SeqCst);
}

/// Whether one has come since they are heeded.
pub fn came() -> bool {
    CAME.load(Ordering::SeqCst) > 0
}

/// Whether this thread's wait is to end: one has come; behind a [`Shield`] a second one.
pub fn is_due() -> bool {
    let shielded = SHIELDS.with(Cell::get) > 0;
    CAME.load(Ordering::SeqCst) > usize::from(shielded)
}

/// While it is there, the first signal does not end this thread's waits: something is being put
/// right, or has to come to its end.
pub struct Shield(PhantomData<*const ()>);

impl Shield {
    pub fn raise() -> Shield {
        SHIELDS.with(|shields| shields.set(shields.get() + 1));
        Shield(PhantomData)
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        SHIELDS.with(|shields| shields.set(shields.get().saturating_sub(1)));
    }
}

/// Waits until there is something to be read. False: a signal came instead.
pub fn wait_for(input: BorrowedFd<'_>) -> io::Result<bool> {
    while !is_due() {
        if poll::wait_one(input, Interest::READ, Some(LOOK_EVERY))? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another process, because the signals are for all of one.
    #[test]
    fn the_first_ends_waits_and_the_second_those_behind_a_shield() {
        const INSIDE: &str = "HOPBOX_INTERRUPTED";
        if std::env::var_os(INSIDE).is_none() {
            let mut this = std::process::Command::new(std::env::current_exe().unwrap());
            this.args(["--exact", "sys::interrupt::tests", "--test-threads=1", "--nocapture"]);
            let name =
                "sys::interrupt::tests::the_first_ends_waits_and_the_second_those_behind_a_shield";
            let out = this.args([name]).env(INSIDE, "1").output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
            return;
        }
        let send = || nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        let (read, _write) = poll::pipe().unwrap();
        use std::os::fd::AsFd;
        heed().unwrap();
        assert!(!came() && !is_due());
        send();
        assert!(came() && is_due() && !wait_for(read.as_fd()).unwrap());
        let shield = Shield::raise();
        let inner = Shield::raise();
        assert!(!is_due() && came());
        drop(inner);
        assert!(!is_due());
        send();
        assert!(is_due());
        drop(shield);
        assert!(is_due());
    }
}
