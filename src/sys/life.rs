//! Beginning and end of processes: what one inherits, whose death ends it, and killing it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

/// Close every descriptor above standard error. For the first line of a program that was started
/// with descriptors it did not ask for: nothing in this process may own one of them yet.
#[cfg(target_os = "linux")]
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: takes numbers only; the caller promises that no owner of any of them exists.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// As on Linux, one by one: there is no call for a range.
#[cfg(target_os = "macos")]
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: takes nothing.
    let most = unsafe { libc::getdtablesize() };
    for fd in 3..most {
        // SAFETY: takes a number; the caller promises that no owner of any of them exists.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Point standard output at /dev/null, so that its reader sees the end.
pub fn stdout_to_null() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    // SAFETY: dup2 takes two numbers; 1 is standard output, which std never closes.
    if unsafe { libc::dup2(null.as_raw_fd(), 1) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Point standard error at a file; the caller keeps its own descriptor of it.
pub fn stderr_to(file: &std::fs::File) -> io::Result<()> {
    // SAFETY: dup2 takes two numbers; 2 is standard error, which std never closes.
    if unsafe { libc::dup2(file.as_raw_fd(), 2) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The group this process acts as.
pub fn gid() -> u32 {
    nix::unistd::Gid::effective().as_raw()
}

/// Have the kernel kill this process when the thread that started it ends. A parent that ended
/// earlier is not noticed: the caller must look after this call.
#[cfg(target_os = "linux")]
pub fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)
}

/// Whether there is a process of this number, whoever's it is.
pub fn is_alive(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    asked != Err(nix::errno::Errno::ESRCH)
}

/// Ask a process that this one started to end (SIGTERM); one that is not there has.
pub fn ask_to_end(pid: u32) -> io::Result<()> {
    use nix::errno::Errno;
    let number =
        i32::try_from(pid).ok().filter(|pid| *pid > 1).ok_or(io::ErrorKind::InvalidInput)?;
    match nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::SIGTERM) {
        Err(Errno::ESRCH) => Ok(()),
        other => Ok(other?),
    }
}

/// Kill a process that this one started, or that became its child, and wait until it is gone.
/// At most two seconds; a process that is not there is gone.
pub fn kill_and_reap(pid: u32) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let number =
        i32::try_from(pid).ok().filter(|pid| *pid > 1).ok_or(io::ErrorKind::InvalidInput)?;
    let pid = nix::unistd::Pid::from_raw(number);
    match nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL) {
        Err(Errno::ESRCH) => return Ok(()),
        other => other?,
    }
    for _ in 0..400 {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            Ok(_) | Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err(io::ErrorKind::TimedOut.into())
}
