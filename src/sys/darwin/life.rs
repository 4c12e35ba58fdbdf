//! The beginning and the end of processes: what a new one must let go of, and how one ends.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

/// Close every descriptor above standard error. For the first line of a program that was started
/// with descriptors it did not ask for: nothing in this process may own one of them yet.
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
