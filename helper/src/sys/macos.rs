//! The system calls that macOS alone has. The bytes of their arguments are `xnu`'s.

use super::{check, getsockopt, option_u32, setsockopt, u32_at};
use crate::macos::xnu;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

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
    Ok(Vec::new())
}

/// A debugger needs a right here that is not given to processes of root as such.
pub fn undumpable() -> io::Result<()> {
    Ok(())
}

/// To look at what a path leads to, without waiting.
pub const LOOK: libc::c_int = libc::O_RDONLY | libc::O_NONBLOCK;

/// What this program replaces here are its own files, which have none.
pub fn copy_attributes(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// There is one network on this system.
pub fn netns_cookie(_: BorrowedFd) -> io::Result<Option<u64>> {
    Ok(None)
}

/// Not known here: the read(2) of the connection leaves descriptors behind.
pub fn refuse_rights(_: BorrowedFd) {}

/// The one socket that launchd made for this job under the name `helper` in its property list, if
/// it started us: it says nothing in the environment.
pub fn activated_listener(_: bool) -> io::Result<Option<UnixListener>> {
    let name = c"helper";
    let (mut fds, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: the name ends in NUL, and the two places are writable.
    match unsafe { launch_activate_socket(name.as_ptr(), &mut fds, &mut count) } {
        0 => {}
        libc::ESRCH => return Ok(None),
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
    if is(libc::SO_TYPE, libc::SOCK_STREAM)? && option_u32(fd.as_fd(), libc::SO_ACCEPTCONN)? != 0 {
        return Ok(Some(UnixListener::from(fd)));
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

fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
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
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as libc::c_ulong, argument) }).map(|_| ())
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
