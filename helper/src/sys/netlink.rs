//! Netlink sockets.

use super::check;
use std::io;
use std::mem::{size_of_val, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A netlink socket; `more` are flags of its kind. What is sent on it goes to the kernel.
pub fn netlink(protocol: libc::c_int, more: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | more;
    // SAFETY: socket passes no memory.
    let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
    // SAFETY: raw was just opened and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A netlink socket that hears the news of these groups, a bit for each. Reads never wait.
pub fn netlink_watch(protocol: libc::c_int, groups: u32) -> io::Result<OwnedFd> {
    let fd = netlink(protocol, libc::SOCK_NONBLOCK)?;
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
