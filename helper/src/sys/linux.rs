//! The system calls that Linux alone has.

use super::{check, getsockopt, option_u32, setsockopt, u32_at};
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

/// To look at what a path leads to, and no more: needs no right to it, and waits for nothing.
pub const LOOK: libc::c_int = libc::O_PATH;

pub(super) use libc::__errno_location as errno_location;

/// Numbers of the kernel's ABI that the libc crate lacks on some targets. Kernels older than
/// 4.13, 5.14 and 6.16 (in this order) answer ENOPROTOOPT.
const SO_PEERGROUPS: libc::c_int = 59;
const SO_NETNS_COOKIE: libc::c_int = 71;
const SO_PASSRIGHTS: libc::c_int = 83;

/// Most supplementary groups that are looked at; a longer list counts as unreadable.
const GROUPS_MAX: usize = 4096;

/// pid, uid and gid of the process that called connect(), fixed at that moment.
pub fn peer_ids(fd: BorrowedFd) -> io::Result<(u32, u32, u32)> {
    let mut buf = [0; size_of::<libc::ucred>()];
    let len = getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut buf)?;
    // struct ucred is pid, uid, gid.
    match (len == buf.len(), u32_at(&buf, 0), u32_at(&buf, 4), u32_at(&buf, 8)) {
        (true, Some(pid), Some(uid), Some(gid)) => Ok((pid, uid, gid)),
        _ => Err(io::Error::other("short SO_PEERCRED")),
    }
}

/// Supplementary groups of the process that called connect(); none where the kernel has no way to
/// tell them.
pub fn peer_groups(fd: BorrowedFd) -> io::Result<Vec<u32>> {
    let mut buf = vec![0; GROUPS_MAX * 4];
    let len = match getsockopt(fd, libc::SOL_SOCKET, SO_PEERGROUPS, &mut buf) {
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => 0,
        len => len?,
    };
    let groups = buf.get(..len).unwrap_or_default().chunks_exact(4);
    Ok(groups.filter_map(|group| u32_at(group, 0)).collect())
}

/// The network namespace of a socket, as a number that is never reused; for an accepted socket
/// it is the client's. `None` where the kernel has no such option; every other failure is one.
pub fn netns_cookie(fd: BorrowedFd) -> io::Result<Option<u64>> {
    let mut buf = [0; 8];
    match getsockopt(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut buf) {
        Ok(len) if len == buf.len() => Ok(Some(u64::from_ne_bytes(buf))),
        Ok(_) => Err(io::Error::other("short SO_NETNS_COOKIE")),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes senders of descriptors fail with EPERM; older kernels drop them at our read(2).
pub fn refuse_rights(listener: BorrowedFd) {
    let off = 0_i32.to_ne_bytes();
    let _ = setsockopt(listener, libc::SOL_SOCKET, SO_PASSRIGHTS, &off);
}

/// Marks every descriptor from 3 up that this process was started with as close-on-exec. Not
/// there before Linux 5.11, where nothing is lost: the helper executes nothing.
pub fn seal_inherited() {
    // SAFETY: close_range with this flag closes nothing and touches no memory of ours.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
}

/// Takes descriptor 3 as the listening socket that the service manager passed, if it said so, after
/// checking that it is one. Call at most once, before any other descriptor is opened.
pub fn activated_listener(passed: bool) -> io::Result<Option<UnixListener>> {
    const FIRST: RawFd = 3;
    if !passed {
        return Ok(None);
    }
    // SAFETY: fcntl on a number has no memory effects; a closed one answers EBADF.
    check(unsafe { libc::fcntl(FIRST, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open (checked above) and belongs to this process by the
    // LISTEN_FDS contract; nothing else in this program refers to it.
    let fd = unsafe { OwnedFd::from_raw_fd(FIRST) };
    let listener = UnixListener::from(fd);
    let is = |name, value: libc::c_int| {
        Ok::<bool, io::Error>(option_u32(listener.as_fd(), name)? == value as u32)
    };
    let unix = is(libc::SO_DOMAIN, libc::AF_UNIX)? && is(libc::SO_TYPE, libc::SOCK_STREAM)?;
    if unix && is(libc::SO_ACCEPTCONN, 1)? {
        return Ok(Some(listener));
    }
    Err(io::Error::other("descriptor 3 is not a listening Unix stream socket"))
}

/// Names a process for as long as it is held, whoever gets its number afterwards.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    check(fd as libc::c_int)?;
    // SAFETY: the descriptor was just made and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether there is something to read, at once; of a process held by `pidfd`: it has ended.
pub fn is_readable(fd: BorrowedFd) -> bool {
    let ready = super::poll(&[(fd, libc::POLLIN)], Some(std::time::Duration::ZERO));
    ready.is_ok_and(|ready| ready.contains(&true))
}

/// Eight random bytes of the kernel.
pub fn random() -> io::Result<u64> {
    let mut buf = [0; 8];
    // SAFETY: buf is writable for its length. So few bytes come whole or not at all.
    let got = unsafe { libc::getrandom(buf.as_mut_ptr().cast(), buf.len(), 0) };
    match got {
        8 => Ok(u64::from_ne_bytes(buf)),
        n if n < 0 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}

/// Nobody but a process with every right of ours looks into this one, or takes its descriptors.
/// First of all that a program does.
pub fn undumpable() -> io::Result<()> {
    // SAFETY: prctl with this option takes plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }).map(|_| ())
}

/// Holds the file against everybody: until it is closed here, whoever opens it waits (for at
/// most /proc/sys/fs/lease-break-time). Fails at once where another process has it open for
/// writing.
pub fn lease(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call; the argument is a number.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) }).map(|_| ())
}

/// The kernel's word that somebody waits for a `lease` would end the process otherwise.
pub fn ignore_lease_breaks() -> io::Result<()> {
    // SAFETY: ignoring a signal installs no code.
    match unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
