//! The system calls that std does not wrap: the only unsafe code of the helper.
//!
//! Every wrapper returns owned descriptors and plain values. What the two platforms share comes
//! first, then one room for each. Must not know: the protocol, leases.

use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

#[cfg(target_os = "linux")]
pub use linux::*;
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

/// Removes variables from the environment. Call before a second thread could exist.
pub fn unset_env(names: &[&str]) {
    for name in names {
        // SAFETY: the helper has one thread, so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
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

/// Takes the exclusive lock of a file without waiting; it lasts as long as the file is open.
pub fn lock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call; no memory is passed.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(|_| ())
}

/// One descriptor to wait for, and what came of it.
pub struct Wait<'a> {
    pub fd: BorrowedFd<'a>,
    pub read: bool,
    pub write: bool,
    /// Readable, hung up or in error.
    pub readable: bool,
    pub writable: bool,
}

impl<'a> Wait<'a> {
    pub fn new(fd: BorrowedFd<'a>, read: bool, write: bool) -> Wait<'a> {
        Wait { fd, read, write, readable: false, writable: false }
    }
}

/// poll(2); an interruption by a signal counts as "nothing ready".
pub fn poll(waits: &mut [Wait], timeout: Duration) -> io::Result<()> {
    let wanted = |wait: &Wait| {
        let read = if wait.read { libc::POLLIN } else { 0 };
        let write = if wait.write { libc::POLLOUT } else { 0 };
        libc::pollfd { fd: wait.fd.as_raw_fd(), events: read | write, revents: 0 }
    };
    let mut fds: Vec<libc::pollfd> = waits.iter().map(wanted).collect();
    let timeout = timeout.as_millis().min(i32::MAX as u128) as libc::c_int;
    // SAFETY: fds is writable for its own length, and its descriptors are borrowed by waits.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    match check(result) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
        result => result?,
    };
    let hung = libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
    for (wait, fd) in waits.iter_mut().zip(fds) {
        wait.readable = fd.revents & (libc::POLLIN | hung) != 0;
        wait.writable = fd.revents & (libc::POLLOUT | hung) != 0;
    }
    Ok(())
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

#[cfg(target_os = "linux")]
mod linux {
    use super::*;

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

    /// Supplementary groups of the process that called connect().
    pub fn peer_groups(fd: BorrowedFd) -> io::Result<Vec<u32>> {
        let mut buf = vec![0; GROUPS_MAX * 4];
        let len = getsockopt(fd, libc::SOL_SOCKET, SO_PEERGROUPS, &mut buf)?;
        let groups = buf.get(..len).unwrap_or_default().chunks_exact(4);
        Ok(groups.filter_map(|group| u32_at(group, 0)).collect())
    }

    /// The network namespace of a socket, as a number that is never reused; for an accepted socket
    /// it is the client's. `None` where the kernel does not tell.
    pub fn netns_cookie(fd: BorrowedFd) -> Option<u64> {
        let mut buf = [0; 8];
        let len = getsockopt(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut buf).ok()?;
        (len == buf.len()).then(|| u64::from_ne_bytes(buf))
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

    /// Takes descriptor 3 as the listening socket that the service manager passed, after checking
    /// that it is one. Call at most once, before any other descriptor is opened.
    pub fn activated_listener() -> io::Result<UnixListener> {
        const FIRST: RawFd = 3;
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
            return Ok(listener);
        }
        Err(io::Error::other("descriptor 3 is not a listening Unix stream socket"))
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

    /// No program that this process could ever run gains rights by being run.
    pub fn no_new_privileges() -> io::Result<()> {
        // SAFETY: prctl with this option takes plain numbers.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(|_| ())
    }

    /// Filters the system calls of this thread and all that it starts.
    pub fn seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
        let len = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
        // SAFETY: program points to len instructions, which the kernel only reads, and copies.
        check(unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
        })
        .map(|_| ())
    }

    fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    /// Version of the kernel's Landlock.
    pub fn landlock_abi() -> io::Result<u32> {
        const VERSION: libc::c_uint = 1;
        let none = std::ptr::null::<u64>();
        // SAFETY: with this flag the kernel reads no memory.
        let abi =
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
        check_long(abi).map(|abi| abi as u32)
    }

    /// A set of rules that refuses what `handled` names: files, then TCP, then scopes, as far as
    /// the kernel's version goes.
    pub fn landlock_ruleset(handled: &[u64]) -> io::Result<OwnedFd> {
        let size = size_of_val(handled);
        // SAFETY: handled is readable for size bytes, and the struct of that size is so many u64.
        let fd = check_long(unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), size, 0)
        })?;
        // SAFETY: the descriptor was just made and is owned by nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    /// Allows `access` to a file, or beneath a directory.
    pub fn landlock_allow(ruleset: BorrowedFd, path: BorrowedFd, access: u64) -> io::Result<()> {
        const PATH_BENEATH: libc::c_uint = 1;
        // struct landlock_path_beneath_attr is packed: 64 bits of access, then the descriptor.
        let mut rule = access.to_ne_bytes().to_vec();
        rule.extend(path.as_raw_fd().to_ne_bytes());
        // SAFETY: rule is readable for the twelve bytes that the kernel copies for this type.
        check_long(unsafe {
            let (set, rule) = (ruleset.as_raw_fd(), rule.as_ptr());
            libc::syscall(libc::SYS_landlock_add_rule, set, PATH_BENEATH, rule, 0)
        })
        .map(|_| ())
    }

    /// From now on this thread, and all that it starts, may touch only what the rules allow.
    pub fn landlock_restrict(ruleset: BorrowedFd) -> io::Result<()> {
        // SAFETY: the call takes a descriptor and flags.
        let done =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
        check_long(done).map(|_| ())
    }

    /// Takes the lock of a file that lckpwdf(3) and shadow's programs take; without waiting.
    pub fn lock_record(file: &File) -> io::Result<()> {
        // SAFETY: flock is plain data, for which all zeroes is a value: the whole file.
        let mut lock: libc::flock = unsafe { zeroed() };
        lock.l_type = libc::F_WRLCK as libc::c_short;
        // SAFETY: the descriptor is open for the duration of the call, and lock readable.
        check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) }).map(|_| ())
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

    /// An ioctl of the TUN driver that reads or writes one int.
    fn tun_int(tun: &File, request: libc::Ioctl, value: &mut libc::c_int) -> io::Result<()> {
        // SAFETY: callers pass only requests whose argument is a pointer to one int.
        check(unsafe { libc::ioctl(tun.as_raw_fd(), request, value as *mut libc::c_int) })
            .map(|_| ())
    }

    /// The IFF_* flags that TUNSETIFF of this kernel understands.
    pub fn tun_features(tun: &File) -> io::Result<libc::c_int> {
        let mut features = 0;
        tun_int(tun, libc::TUNGETFEATURES, &mut features)?;
        Ok(features)
    }

    /// Sets the length of the virtio-net header before each packet, in bytes.
    pub fn tun_set_header(tun: &File, bytes: libc::c_int) -> io::Result<()> {
        let mut bytes = bytes;
        tun_int(tun, libc::TUNSETVNETHDRSZ, &mut bytes)
    }

    /// Makes `tun` (an open /dev/net/tun) the device `name`, which must be shorter than IFNAMSIZ.
    pub fn tun_set_interface(tun: &File, name: &str, flags: libc::c_int) -> io::Result<()> {
        // SAFETY: ifreq is plain data, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which request is.
        check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &mut request) }).map(|_| ())
    }

    /// A routing netlink socket on which every receive waits at most `timeout`.
    pub fn netlink(timeout: Duration) -> io::Result<OwnedFd> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: socket passes no memory.
        let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: raw was just opened and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let time =
            libc::timeval { tv_sec: timeout.as_secs() as _, tv_usec: timeout.subsec_micros() as _ };
        let mut bytes = time.tv_sec.to_ne_bytes().to_vec();
        bytes.extend(time.tv_usec.to_ne_bytes());
        for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
            setsockopt(fd.as_fd(), libc::SOL_SOCKET, option, &bytes)?;
        }
        Ok(fd)
    }

    /// A routing netlink socket that hears of every change of an interface. Reads never wait.
    pub fn netlink_watch() -> io::Result<OwnedFd> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket passes no memory.
        let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: raw was just opened and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: the zeroed address with family and group set is a complete sockaddr_nl, readable
        // for the length given.
        check(unsafe {
            let mut own: libc::sockaddr_nl = zeroed();
            own.nl_family = libc::AF_NETLINK as libc::sa_family_t;
            own.nl_groups = libc::RTMGRP_LINK as u32;
            let len = size_of_val(&own) as libc::socklen_t;
            libc::bind(fd.as_raw_fd(), (&raw const own).cast(), len)
        })?;
        Ok(fd)
    }

    /// Sends one message to the kernel (port id 0).
    pub fn netlink_send(fd: BorrowedFd, message: &[u8]) -> io::Result<()> {
        // SAFETY: the zeroed address with its family set is a complete sockaddr_nl; message and
        // address are readable for the lengths given.
        let sent = unsafe {
            let mut to: libc::sockaddr_nl = zeroed();
            to.nl_family = libc::AF_NETLINK as libc::sa_family_t;
            let len = size_of_val(&to) as libc::socklen_t;
            let to = (&raw const to).cast();
            libc::sendto(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0, to, len)
        };
        match sent {
            n if n < 0 => Err(io::Error::last_os_error()),
            n if n as usize == message.len() => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::WriteZero)),
        }
    }

    /// Receives one datagram: its true length (more than `buf` when it was cut) and the port id of
    /// the sender, which is 0 for the kernel alone.
    pub fn netlink_receive(fd: BorrowedFd, buf: &mut [u8]) -> io::Result<(usize, u32)> {
        // SAFETY: buf and from are writable for the lengths given; all zeroes is a sockaddr_nl.
        let (got, from) = unsafe {
            let mut from: libc::sockaddr_nl = zeroed();
            let mut len = size_of_val(&from) as libc::socklen_t;
            let address = (&raw mut from).cast();
            let (data, room) = (buf.as_mut_ptr().cast(), buf.len());
            let got =
                libc::recvfrom(fd.as_raw_fd(), data, room, libc::MSG_TRUNC, address, &mut len);
            (got, from)
        };
        if got < 0 { Err(io::Error::last_os_error()) } else { Ok((got as usize, from.nl_pid)) }
    }
}

#[cfg(target_os = "macos")]
mod macos {
    use super::*;
    use crate::xnu;
    use std::ffi::CString;

    pub(super) use libc::__error as errno_location;

    /// Level of the options of a Unix socket (sys/un.h).
    const SOL_LOCAL: libc::c_int = 0;
    /// How often a dump is asked for again that has grown meanwhile.
    const DUMP_TRIES: usize = 4;

    unsafe extern "C" {
        /// launch.h: fills `fds` with an array for free(3), and returns an errno.
        fn launch_activate_socket(
            name: *const libc::c_char,
            fds: *mut *mut libc::c_int,
            count: *mut libc::size_t,
        ) -> libc::c_int;
        /// sandbox.h: with no flags `profile` is a text in its language.
        fn sandbox_init(
            profile: *const libc::c_char,
            flags: u64,
            error: *mut *mut libc::c_char,
        ) -> libc::c_int;
    }

    /// pid, uid and gid of the process that called connect(), the ids fixed at that moment.
    pub fn peer_ids(fd: BorrowedFd) -> io::Result<(u32, u32, u32)> {
        let mut buf = [0; size_of::<libc::xucred>()];
        let len = getsockopt(fd, SOL_LOCAL, libc::LOCAL_PEERCRED, &mut buf)?;
        let ids = xnu::credentials(buf.get(..len).unwrap_or_default());
        let (uid, gid) = ids.ok_or_else(|| io::Error::other("LOCAL_PEERCRED of another form"))?;
        let mut pid = [0; 4];
        // For the log alone: that it cannot be told is no reason to refuse.
        let _ = getsockopt(fd, SOL_LOCAL, libc::LOCAL_PEERPID, &mut pid);
        Ok((u32::from_ne_bytes(pid), uid, gid))
    }

    /// Groups do not count on this system: everybody is in `staff`, and launchd does not promise
    /// the group of a socket.
    pub fn peer_groups(_: BorrowedFd) -> io::Result<Vec<u32>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// There is one network on this system.
    pub fn netns_cookie(_: BorrowedFd) -> Option<u64> {
        None
    }

    /// Not known here: the read(2) of the connection leaves descriptors behind.
    pub fn refuse_rights(_: BorrowedFd) {}

    /// The one socket that launchd made for this job under `name` in its property list.
    pub fn activated_listener(name: &str) -> io::Result<UnixListener> {
        let name = CString::new(name)?;
        let (mut fds, mut count) = (std::ptr::null_mut(), 0);
        // SAFETY: the name ends in NUL, and the two places are writable.
        match unsafe { launch_activate_socket(name.as_ptr(), &mut fds, &mut count) } {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        // SAFETY: launchd fills an array of count descriptors, which are ours from here on.
        let fds: Vec<OwnedFd> = unsafe {
            let own = (0..count).map(|n| OwnedFd::from_raw_fd(*fds.add(n))).collect();
            libc::free(fds.cast());
            own
        };
        let Ok([fd]) = <[OwnedFd; 1]>::try_from(fds) else {
            return Err(io::Error::other("launchd passed more or less than one socket"));
        };
        close_on_exec(fd.as_fd())?;
        let is = |name, value: libc::c_int| {
            Ok::<_, io::Error>(option_u32(fd.as_fd(), name)? == value as u32)
        };
        if is(libc::SO_TYPE, libc::SOCK_STREAM)?
            && option_u32(fd.as_fd(), libc::SO_ACCEPTCONN)? != 0
        {
            return Ok(UnixListener::from(fd));
        }
        Err(io::Error::other("launchd passed something that is no listening stream socket"))
    }

    /// Eight random bytes of the kernel.
    pub fn random() -> io::Result<u64> {
        let mut buf = [0; 8];
        // SAFETY: buf is writable for its length, which is below the 256 that are allowed.
        check(unsafe { libc::getentropy(buf.as_mut_ptr().cast(), buf.len()) })?;
        Ok(u64::from_ne_bytes(buf))
    }

    /// There are no leases of files here, and so no word about them.
    pub fn ignore_lease_breaks() -> io::Result<()> {
        Ok(())
    }

    /// launchd closes what is not ours, and the helper executes nothing.
    pub fn seal_inherited() {}

    /// From now on this process may do only what the profile says (sandbox.h).
    pub fn sandbox(profile: &str) -> io::Result<()> {
        let profile = CString::new(profile)?;
        let mut said = std::ptr::null_mut();
        // SAFETY: the profile ends in NUL, and the place for the error's text is writable.
        let result = unsafe { sandbox_init(profile.as_ptr(), 0, &mut said) };
        // The text is not freed: this happens once.
        if result == 0 { Ok(()) } else { Err(io::Error::other("sandbox_init has refused")) }
    }

    /// Nobody can be kept from opening a file here.
    pub fn lease(_: &File) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn close_on_exec(fd: BorrowedFd) -> io::Result<()> {
        // SAFETY: the descriptor is open for the duration of the call; no memory is passed.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }).map(|_| ())
    }

    fn socket(
        domain: libc::c_int,
        kind: libc::c_int,
        protocol: libc::c_int,
    ) -> io::Result<OwnedFd> {
        // SAFETY: socket passes no memory.
        let raw = check(unsafe { libc::socket(domain, kind, protocol) })?;
        // SAFETY: raw was just opened and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // This system knows no SOCK_CLOEXEC; there is no second thread that could fork in between.
        close_on_exec(fd.as_fd()).map(|()| fd)
    }

    /// An ioctl(2) whose argument is the bytes of a struct.
    fn ioctl(fd: BorrowedFd, request: u64, argument: &mut [u8]) -> io::Result<()> {
        if argument.len() != xnu::argument_len(request) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let argument = argument.as_mut_ptr();
        // SAFETY: the kernel reads and writes as many bytes as the request says, which was checked.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), request as libc::c_ulong, argument) })
            .map(|_| ())
    }

    /// A request about an interface, whose name is at the start of the argument.
    pub fn interface(request: u64, argument: &mut [u8]) -> io::Result<()> {
        let any = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        ioctl(any.as_fd(), request, argument)
    }

    /// A new utun with the lowest free number, and its name. It is there as long as the descriptor.
    pub fn utun(control: &str) -> io::Result<(OwnedFd, String)> {
        let fd = socket(libc::PF_SYSTEM, libc::SOCK_DGRAM, libc::SYSPROTO_CONTROL)?;
        let mut info = xnu::control(control);
        ioctl(fd.as_fd(), xnu::CTLIOCGINFO, &mut info)?;
        let id = u32_at(&info, 0).unwrap_or(0);
        // SAFETY: sockaddr_ctl is plain data, for which all zeroes is a value; unit 0 is any unit.
        let mut to: libc::sockaddr_ctl = unsafe { zeroed() };
        to.sc_len = size_of_val(&to) as libc::c_uchar;
        to.sc_family = libc::AF_SYSTEM as libc::c_uchar;
        to.ss_sysaddr = libc::AF_SYS_CONTROL as u16;
        to.sc_id = id;
        let len = size_of_val(&to) as libc::socklen_t;
        // SAFETY: the address is readable for the length given.
        check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const to).cast(), len) })?;
        let mut name = [0; xnu::NAME_LEN];
        let (level, option) = (libc::SYSPROTO_CONTROL, libc::UTUN_OPT_IFNAME);
        let len = getsockopt(fd.as_fd(), level, option, &mut name)?;
        let name = name.get(..len).unwrap_or_default().split(|b| *b == 0).next();
        let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        Ok((fd, name))
    }

    /// A routing socket that hears of every change of interfaces, addresses and routes. Reads
    /// never wait.
    pub fn route_watch() -> io::Result<File> {
        let fd = socket(libc::PF_ROUTE, libc::SOCK_RAW, 0)?;
        // SAFETY: the descriptor is open for the duration of the call; no memory is passed.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        Ok(File::from(fd))
    }

    /// A routing socket for requests: the answer to each is the result of its write.
    pub fn route_requests() -> io::Result<File> {
        let fd = socket(libc::PF_ROUTE, libc::SOCK_RAW, 0)?;
        setsockopt(fd.as_fd(), libc::SOL_SOCKET, libc::SO_USELOOPBACK, &0_i32.to_ne_bytes())?;
        Ok(File::from(fd))
    }

    /// What the kernel has of interfaces (NET_RT_IFLIST) or IPv4 routes (NET_RT_DUMP).
    pub fn route_dump(what: libc::c_int) -> io::Result<Vec<u8>> {
        let mut path = [libc::CTL_NET, libc::PF_ROUTE, 0, libc::AF_INET, what, 0];
        let none = std::ptr::null_mut();
        for _ in 0..DUMP_TRIES {
            let mut len = 0;
            let parts = path.len() as libc::c_uint;
            // SAFETY: path has as many parts as said; without a buffer only the length is written.
            check(unsafe { libc::sysctl(path.as_mut_ptr(), parts, none, &mut len, none, 0) })?;
            let mut bytes = vec![0_u8; len + len / 4 + 4096];
            len = bytes.len();
            let to = bytes.as_mut_ptr().cast();
            // SAFETY: as before, and bytes is writable for len bytes.
            match check(unsafe { libc::sysctl(path.as_mut_ptr(), parts, to, &mut len, none, 0) }) {
                Err(e) if e.raw_os_error() == Some(libc::ENOMEM) => {}
                result => {
                    result?;
                    bytes.truncate(len);
                    return Ok(bytes);
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOMEM))
    }
}
