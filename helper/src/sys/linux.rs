//! The system calls that Linux alone has.

use super::*;

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

/// Nobody but a process with every right of ours looks into this one, or takes its descriptors.
/// First of all that a program does.
pub fn undumpable() -> io::Result<()> {
    // SAFETY: prctl with this option takes plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }).map(|_| ())
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
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
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
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
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

/// Most bytes of all names, or of one value, of the attributes of a file.
const ATTRIBUTE_MAX: usize = 65_536;
/// What the kernel says of a file's bytes, or lets a program do for them: worth nothing for others.
const OF_THE_BYTES: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];

/// Gives `to` the attributes of the file at `from`, labels and access lists among them. One that
/// cannot be carried over is an error.
pub fn copy_attributes(from: &Path, to: &File) -> io::Result<()> {
    let from = open_at(None, from, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK)?;
    let (mut names, mut value) = (vec![0; ATTRIBUTE_MAX], vec![0; ATTRIBUTE_MAX]);
    // SAFETY: names is writable for its length.
    let len = unsafe { libc::flistxattr(from.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let len = match check_size(len) {
        Err(e) if e.raw_os_error() == Some(libc::ENOTSUP) => 0,
        len => len?,
    };
    let names = names.get(..len).unwrap_or_default().split(|b| *b == 0);
    for name in names.filter(|name| !name.is_empty() && !OF_THE_BYTES.contains(name)) {
        let name = CString::new(name)?;
        // SAFETY: name is a string of C, and value writable for its length.
        let len = check_size(unsafe {
            let room = value.as_mut_ptr().cast();
            libc::fgetxattr(from.as_raw_fd(), name.as_ptr(), room, value.len())
        })?;
        // SAFETY: as above, and the kernel has filled len bytes of value.
        check(unsafe {
            libc::fsetxattr(to.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), len, 0)
        })?;
    }
    Ok(())
}

fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
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
    check(unsafe { libc::ioctl(tun.as_raw_fd(), request, value as *mut libc::c_int) }).map(|_| ())
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

/// A netlink socket on which every receive waits at most `timeout`.
pub fn netlink(protocol: libc::c_int, timeout: Duration) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket passes no memory.
    let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
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

/// A netlink socket that hears the news of these groups, a bit for each. Reads never wait.
pub fn netlink_watch(protocol: libc::c_int, groups: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket passes no memory.
    let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
    // SAFETY: raw was just opened and is owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: the zeroed address with family and group set is a complete sockaddr_nl, readable
    // for the length given.
    check(unsafe {
        let mut own: libc::sockaddr_nl = zeroed();
        own.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        own.nl_groups = groups;
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
        let got = libc::recvfrom(fd.as_raw_fd(), data, room, libc::MSG_TRUNC, address, &mut len);
        (got, from)
    };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok((got as usize, from.nl_pid)) }
}
