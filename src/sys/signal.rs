//! Signals as bytes in a pipe, so that one poll waits for them together with everything else.

use super::poll;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;
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
    Quit,
    User1,
    User2,
    Child,
    /// A terminal's Ctrl-Z.
    Suspend,
    Continue,
    /// The terminal has another size.
    Resized,
    /// Cannot be caught.
    Kill,
}

const ALL: [(Kind, Signal); 11] = [
    (Kind::Terminate, Signal::SIGTERM),
    (Kind::Interrupt, Signal::SIGINT),
    (Kind::Hangup, Signal::SIGHUP),
    (Kind::Quit, Signal::SIGQUIT),
    (Kind::User1, Signal::SIGUSR1),
    (Kind::User2, Signal::SIGUSR2),
    (Kind::Child, Signal::SIGCHLD),
    (Kind::Suspend, Signal::SIGTSTP),
    (Kind::Continue, Signal::SIGCONT),
    (Kind::Resized, Signal::SIGWINCH),
    (Kind::Kill, Signal::SIGKILL),
];

impl Kind {
    pub(super) fn signal(self) -> Signal {
        let found = ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or(Signal::SIGKILL, |(_, signal)| *signal)
    }
}

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

    /// The same without those that whoever started us has us ignore, as nohup(1) and a shell's `&`
    /// do.
    pub fn catch_heeded(kinds: &[Kind]) -> io::Result<Signals> {
        let heeded: Vec<Kind> = kinds.iter().filter(|kind| !is_ignored(**kind)).copied().collect();
        Signals::catch(&heeded)
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

/// What whoever started us has us ignore does what it does by default again, here and in what is
/// started from here: it was not meant for that.
pub fn heed_all() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for (kind, signal) in &ALL {
        if is_ignored(*kind) {
            // SAFETY: no handler is given.
            unsafe { sigaction(*signal, &default) }?;
        }
    }
    Ok(())
}

fn is_ignored(kind: Kind) -> bool {
    // SAFETY: a record for which all zeros are valid.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the record is writable for the call, and nothing is set.
    let asked = unsafe { libc::sigaction(kind.signal() as i32, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

extern "C" fn note(signal: i32) {
    let saved = nix::errno::Errno::last_raw();
    let byte = signal as u8;
    // SAFETY: one readable byte; the descriptor is never closed once published. A full pipe loses
    // the byte, which is fine: the reader is awake already.
    unsafe { libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
    nix::errno::Errno::set_raw(saved);
}

fn number(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().filter(|p| *p > 1).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Pid::from_raw(pid))
}

/// Send a signal to a process that the caller started.
pub fn send(pid: u32, kind: Kind) -> io::Result<()> {
    Ok(nix::sys::signal::kill(number(pid)?, kind.signal())?)
}

/// The same to all of its process group, which it leads.
pub fn send_group(leader: u32, kind: Kind) -> io::Result<()> {
    Ok(nix::sys::signal::killpg(number(leader)?, kind.signal())?)
}

/// Stop this process as Ctrl-Z would, until somebody continues it.
pub fn stop_here() {
    let _ = nix::sys::signal::raise(Signal::SIGSTOP);
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
