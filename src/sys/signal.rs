//! Signals as bytes in a pipe, so that one poll waits for them together with everything else.

use super::poll;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Write end of the pipe; -1 before the first use. Never closed, so that a late signal cannot hit
/// a descriptor that was given to something else meanwhile.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The signals a program of ours reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Terminate,
    Interrupt,
    Hangup,
    Child,
}

const ALL: [(Kind, Signal); 4] = [
    (Kind::Terminate, Signal::SIGTERM),
    (Kind::Interrupt, Signal::SIGINT),
    (Kind::Hangup, Signal::SIGHUP),
    (Kind::Child, Signal::SIGCHLD),
];

/// Readable when one of the chosen signals came. At most one in a process.
pub struct Signals(File);

impl Signals {
    /// Take over `kinds`; fails with `AlreadyExists` the second time.
    pub fn catch(kinds: &[Kind]) -> io::Result<Signals> {
        let (read, write) = poll::pipe()?;
        let number = write.as_raw_fd();
        if PIPE.compare_exchange(-1, number, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let _published = write.into_raw_fd();
        let action =
            SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        for (_, signal) in ALL.iter().filter(|(k, _)| kinds.contains(k)) {
            // SAFETY: the handler only loads an atomic and calls write(2), both of which are
            // async-signal-safe, and restores errno.
            unsafe { sigaction(*signal, &action) }?;
        }
        Ok(Signals(File::from(read)))
    }

    /// The next signal that came, if any.
    pub fn take(&mut self) -> Option<Kind> {
        let mut byte = [0u8; 1];
        match self.0.read(&mut byte) {
            Ok(1) => ALL.iter().find(|(_, s)| *s as i32 == i32::from(byte[0])).map(|(k, _)| *k),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

extern "C" fn note(signal: i32) {
    let saved = nix::errno::Errno::last_raw();
    let byte = signal as u8;
    // SAFETY: one readable byte; the descriptor is never closed once published. A full pipe loses
    // the byte, which is fine: the reader is awake already.
    unsafe { libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
    nix::errno::Errno::set_raw(saved);
}

/// Send a signal to a process that the caller started.
pub fn send(pid: u32, kind: Kind) -> io::Result<()> {
    let signal = ALL.iter().find(|(k, _)| *k == kind).map(|(_, s)| *s);
    let pid = i32::try_from(pid).ok().filter(|p| *p > 1).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, wait_one};
    use std::time::Duration;

    #[test]
    fn a_signal_becomes_readable() {
        let mut s = Signals::catch(&[Kind::Hangup]).expect("first catch");
        assert!(Signals::catch(&[Kind::Hangup]).is_err());
        assert_eq!(s.take(), None);
        send(std::process::id(), Kind::Hangup).expect("kill");
        assert!(wait_one(s.as_fd(), Interest::READ, Some(Duration::from_secs(2))).expect("poll"));
        assert_eq!(s.take(), Some(Kind::Hangup));
    }
}
