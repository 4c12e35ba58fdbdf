//! Children of a process that keeps others: their start, how each ended, told before it is reaped,
//! and a signal that reaches who is meant or nobody.

use std::io;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::{open_files, process};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

/// What is sent to a process that is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Asked,
    Forced,
}

/// A program that runs as long as it likes, in a session of its own: no terminal, and nobody's
/// signals. It reads nothing; what it says is for the caller to hear, and its end to reap.
pub fn start(command: &mut Command) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    open_files::as_given(process::in_new_session(command)).spawn()
}

/// The same, that says what it says where this process does.
pub fn start_aloud(command: &mut Command) -> io::Result<Child> {
    open_files::as_given(process::in_new_session(command.stdin(Stdio::null()))).spawn()
}

/// A child that has ended, if there is one. It stays until it is reaped: its number means no other
/// until then, and whoever is killed in between has lost nothing that it had not seen.
pub fn ended() -> io::Result<Option<(u32, Ended)>> {
    // SAFETY: a record of plain numbers, for which all zeros are valid.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the record is writable for the call; the rest are numbers.
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut found, how) } < 0 {
        let error = io::Error::last_os_error();
        let none = [Some(libc::ECHILD), Some(libc::EINTR)].contains(&error.raw_os_error());
        return if none { Ok(None) } else { Err(error) };
    }
    // SAFETY: waitid(2) has filled in the record, or left its zeros.
    let (pid, status) = unsafe { (found.si_pid(), found.si_status()) };
    let ended = match found.si_code {
        libc::CLD_EXITED => Ended::Code(status),
        _ => Ended::Signal(status),
    };
    Ok(u32::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| (pid, ended)))
}

/// Lets go of a child that has ended.
pub fn reap(pid: u32) {
    if let Some(pid) = number(pid) {
        let _ = waitpid(pid, None);
    }
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).map(Pid::from_raw)
}

fn signal(ending: Ending) -> Signal {
    match ending {
        Ending::Asked => Signal::SIGTERM,
        Ending::Forced => Signal::SIGKILL,
    }
}

/// Sends to process `pid` if it is the one that is meant, which `is_meant` looks at while the
/// number is held; without a hold, where the kernel has none, right before.
pub fn end(pid: u32, ending: Ending, is_meant: impl FnOnce() -> bool) -> io::Result<bool> {
    let Some(pid) = number(pid) else { return Ok(false) };
    #[cfg(target_os = "linux")]
    match hold(pid) {
        Ok(held) => return Ok(is_meant() && send(&held, signal(ending))?),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
        Err(_) => {}
    }
    Ok(is_meant() && kill(pid, signal(ending)).is_ok())
}

/// A descriptor of a process (pidfd): it means that one, whoever gets its number.
#[cfg(target_os = "linux")]
pub(super) fn hold(pid: Pid) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made it, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// False if it has gone.
#[cfg(target_os = "linux")]
pub(super) fn send(held: &std::os::fd::OwnedFd, signal: Signal) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes an open descriptor, numbers and no record.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, held.as_raw_fd(), signal as i32, nothing, 0)
    };
    match (sent, io::Error::last_os_error()) {
        (0, _) => Ok(true),
        (_, error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        (_, error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_signal_reaches_who_is_meant_alone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!end(child.id(), Ending::Forced, || false).unwrap());
        assert!(child.try_wait().unwrap().is_none(), "it was not meant");
        assert!(end(child.id(), Ending::Forced, || true).unwrap());
        child.wait().unwrap();
        assert!(!end(child.id(), Ending::Forced, || true).unwrap(), "it is gone");
        for nobody in [0, 1, u32::MAX] {
            assert!(!end(nobody, Ending::Forced, || panic!("never looked at")).unwrap());
        }
    }
}
