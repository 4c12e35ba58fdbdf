//! The system calls that std does not wrap: the only unsafe code of the helper.
//!
//! Every wrapper returns owned descriptors and plain values. Each platform has a room of its own
//! for what the other one lacks. Must not know: the protocol, leases.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::{size_of_val, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod install;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod mount;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod tun;
#[cfg(target_os = "linux")]
pub use self::{confine::*, install::*, linux::*, mount::*, netlink::*, tun::*};
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub use macos::*;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Reads a socket option into `buf`; returns how many bytes the kernel filled.
fn getsockopt(
    fd: BorrowedFd,
    level: libc::c_int,
    name: libc::c_int,
    buf: &mut [u8],
) -> io::Result<usize> {
    let mut len = buf.len() as libc::socklen_t;
    // SAFETY: buf is writable for len bytes, and the kernel writes no more than len.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, buf.as_mut_ptr().cast(), &mut len) };
    check(result).map(|_| (len as usize).min(buf.len()))
}

fn option_u32(fd: BorrowedFd, name: libc::c_int) -> io::Result<u32> {
    let mut buf = [0; 4];
    getsockopt(fd, libc::SOL_SOCKET, name, &mut buf)?;
    Ok(u32::from_ne_bytes(buf))
}

fn setsockopt(
    fd: BorrowedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: value is readable for len bytes; the kernel copies it.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    check(result).map(|_| ())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// Sets the file mode creation mask and returns the old one.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: umask cannot fail and touches no memory of ours.
    unsafe { libc::umask(mask as libc::mode_t) as u32 }
}

pub fn effective_uid() -> u32 {
    // SAFETY: geteuid cannot fail and touches no memory of ours.
    unsafe { libc::geteuid() }
}

/// Opens what stands under a name in an open directory, or under a path. std knows no openat(2).
pub fn open_at(dir: Option<&File>, name: &Path, flags: libc::c_int) -> io::Result<File> {
    let name = CString::new(name.as_os_str().as_bytes())?;
    let dir = dir.map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd);
    // SAFETY: name is a string of C; the directory, if any, is open for the duration of the call.
    let fd = check(unsafe { libc::openat(dir, name.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the descriptor was just made and is owned by nobody else.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Takes the exclusive lock of a file without waiting; it lasts as long as the file is open.
pub fn lock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call; no memory is passed.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(|_| ())
}

/// poll(2) for these events of each descriptor, without end if no time is given. Which are ready,
/// hung up or in error; an interruption by a signal counts as "none".
pub fn poll(
    waits: &[(BorrowedFd, libc::c_short)],
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let wait = |(fd, events): &(BorrowedFd, libc::c_short)| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: *events,
        revents: 0,
    };
    let mut fds: Vec<libc::pollfd> = waits.iter().map(wait).collect();
    let timeout = timeout.map_or(-1, |t| t.as_millis().min(i32::MAX as u128) as libc::c_int);
    // SAFETY: fds is writable for its own length, and its descriptors are borrowed by waits.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    match check(result) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(vec![false; fds.len()]),
        result => result.map(|_| fds.iter().map(|fd| fd.revents != 0).collect()),
    }
}

static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(signal: libc::c_int) {
    let number = signal as u8;
    let pipe = SIGNAL_PIPE.load(Ordering::Relaxed);
    // SAFETY: only write(2), which is async-signal-safe, on a descriptor that is never closed;
    // errno is put back for the code that was interrupted.
    unsafe {
        let errno = *errno_location();
        libc::write(pipe, (&raw const number).cast(), 1);
        *errno_location() = errno;
    }
}

/// Turns these signals into bytes (the signal's number) on the returned stream.
pub fn signals(numbers: &[libc::c_int]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    SIGNAL_PIPE.store(std::os::fd::IntoRawFd::into_raw_fd(write), Ordering::Relaxed);
    for number in numbers {
        // SAFETY: the zeroed sigaction is completed with a handler of the right type, which
        // does only what a handler may do; the kernel copies the struct.
        check(unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(*number, &action, std::ptr::null_mut())
        })?;
    }
    Ok(read)
}

/// Sends `bytes` with one descriptor on its first byte. Never blocks, never raises SIGPIPE.
pub fn send_with_fd(stream: &UnixStream, bytes: &[u8], fd: BorrowedFd) -> io::Result<usize> {
    let raw = fd.as_raw_fd();
    // u64 for the alignment of cmsghdr; more than CMSG_SPACE(4) on every platform.
    let mut control = [0_u64; 8];
    // SAFETY: the zeroed msghdr gets pointers to bytes and control, which outlive the call;
    // control is aligned and longer than the one header and descriptor written into it.
    let sent = unsafe {
        let space = libc::CMSG_SPACE(size_of_val(&raw) as u32);
        let mut iov =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = space as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of_val(&raw) as u32) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(raw);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        libc::sendmsg(stream.as_raw_fd(), &message, flags)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Writes to standard error if it is a socket that takes all of it at once; nobody who reads slowly
/// can make us wait.
pub fn say_at_once(text: &[u8]) {
    // SAFETY: text is readable for its length; that the descriptor is no socket is an error only.
    unsafe {
        libc::send(libc::STDERR_FILENO, text.as_ptr().cast(), text.len(), libc::MSG_DONTWAIT)
    };
}
