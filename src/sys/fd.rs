//! What is set on a descriptor, whatever it is of.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads and writes return EAGAIN instead of waiting.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut on = 1i32;
    // SAFETY: the request reads one i32, which outlives the call.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut on) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Close-on-exec and non-blocking, which socket(2) here cannot set itself.
#[cfg(target_os = "macos")]
pub(super) fn own(fd: BorrowedFd<'_>) -> io::Result<()> {
    close_on_exec(fd)?;
    set_nonblocking(fd)
}

pub(super) fn close_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers; the descriptor is open for the duration of the call.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
