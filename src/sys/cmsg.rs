//! Unix stream sockets that carry descriptors: connect with a bound, send and receive with
//! SCM_RIGHTS.

use nix::sys::socket::sockopt::SendTimeout;
#[cfg(target_os = "linux")]
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::socket::{
    ControlMessage, MsgFlags, UnixAddr, connect, getsockopt, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, IoSlice, Write};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Most descriptors that one receive takes. One is what we want; there is room for a second, so
/// that "too many" is seen as such and not cut to "one".
const FDS_MAX: usize = 2;

#[cfg(target_os = "linux")]
const RECEIVE: i32 = libc::MSG_CMSG_CLOEXEC;
/// macOS cannot mark descriptors as close-on-exec while it hands them out.
#[cfg(target_os = "macos")]
const RECEIVE: i32 = 0;

/// What one receive brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; 0 when the other end has closed.
    pub bytes: usize,
    /// Owned, close-on-exec; dropping the value closes them.
    pub fds: Vec<OwnedFd>,
    /// The kernel had to throw descriptors away.
    pub truncated: bool,
}

/// Connects to the socket at `path`. Waits at most `timeout` while the other end's queue of
/// connections is full (then EAGAIN).
pub fn connect_unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    #[cfg(target_os = "linux")]
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    #[cfg(target_os = "macos")]
    let fd = super::sock::open(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    setsockopt(&fd, SendTimeout, &TimeVal::milliseconds(millis))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

/// Sends bytes, all of them, and with the first of them a descriptor.
pub fn send(mut stream: &UnixStream, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd.as_raw_fd()];
    let (pieces, rights) = ([IoSlice::new(bytes)], [ControlMessage::ScmRights(&fds)]);
    let flags = MsgFlags::empty();
    let sent = sendmsg::<()>(stream.as_raw_fd(), &pieces, &rights, flags, None)?;
    stream.write_all(bytes.get(sent..).unwrap_or_default())
}

/// The user of the process at the other end of `stream`: fixed when it began to listen, if we
/// connected, else when it did.
pub fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    #[cfg(target_os = "linux")]
    let found = getsockopt(stream, sockopt::PeerCredentials)?.uid();
    #[cfg(target_os = "macos")]
    let found = getsockopt(stream, sockopt::LocalPeerCred)?.uid();
    Ok(found)
}

/// Whether a user's number is no user's: it stands for all that a user namespace has no number
/// for, or for none.
pub fn is_nobody(uid: u32) -> bool {
    let overflow = super::bounded::text("/proc/sys/kernel/overflowuid").unwrap_or_default();
    matches!(uid, 65_534 | 0xffff_fffe | u32::MAX) || overflow.trim().parse() == Ok(uid)
}

/// Receives up to `buf.len()` bytes and the descriptors that came with them.
///
/// nix's recvmsg is not used: when descriptors were cut it answers an error without handing
/// out those that did arrive, which would then stay open for ever.
pub fn receive(stream: &UnixStream, buf: &mut [u8]) -> io::Result<Received> {
    // u64 for the alignment of cmsghdr; CMSG_SPACE of two descriptors is 24 bytes.
    let mut control = [0_u64; 8];
    let mut fds = Vec::new();
    // SAFETY: buf and control are writable for the lengths given and outlive the call. The
    // header walk is bounded by msg_controllen, which the kernel set to what it filled. Each
    // descriptor was installed for us by this very call, so it has no other owner.
    let (bytes, flags) = unsafe {
        let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE((FDS_MAX * size_of::<RawFd>()) as u32) as _;
        let got = libc::recvmsg(stream.as_raw_fd(), &raw mut message, RECEIVE);
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while got >= 0 && !header.is_null() {
            if ((*header).cmsg_level, (*header).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let len = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for at in 0..len / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        (got, message.msg_flags)
    };
    if bytes < 0 {
        return Err(io::Error::last_os_error());
    }
    #[cfg(target_os = "macos")]
    for fd in &fds {
        super::fd::close_on_exec(std::os::fd::AsFd::as_fd(fd))?;
    }
    Ok(Received { bytes: bytes as usize, fds, truncated: flags & libc::MSG_CTRUNC != 0 })
}
