//! UDP sockets of a tunnel: one family each, with their options.
//!
//! Sending and receiving stand in `mmsg.rs`.

use super::fd;
use nix::sys::socket::{self, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Receive and send buffer asked for; the system's limit (kern.ipc.maxsockbuf) may be lower.
pub const BUFFER_BYTES: usize = 4 << 20;
/// netinet6/in6.h: RFC 3542's option.
const IPV6_RECVPKTINFO: i32 = 61;
const IPV6_DONTFRAG: i32 = 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// A UDP socket that is bound to every address of one family and tells for each datagram where it
/// was addressed to and its traffic class. Sets DF only when asked to (R84, R103): the system does
/// so by itself for no datagram.
pub struct Udp {
    socket: UdpSocket,
    family: Family,
}

impl Udp {
    /// Bind to `port`, or to one that the system picks for 0.
    pub fn bind(family: Family, port: u16) -> io::Result<Udp> {
        let any = match family {
            Family::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            Family::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        };
        Udp::bind_at(family, any)
    }

    /// One that this machine alone reaches, over IPv4, at a port that the system picks.
    pub fn on_loopback() -> io::Result<Udp> {
        Udp::bind_at(Family::V4, (Ipv4Addr::LOCALHOST, 0).into())
    }

    fn bind_at(family: Family, at: SocketAddr) -> io::Result<Udp> {
        let kind = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
        let fd = open(kind, libc::SOCK_DGRAM, 0)?;
        fd::own(fd.as_fd())?;
        match family {
            Family::V4 => set_v4(fd.as_fd())?,
            Family::V6 => set_v6(fd.as_fd())?,
        }
        // A small buffer costs speed and never correctness, so failures pass.
        let _ = socket::setsockopt(&fd, sockopt::RcvBuf, &BUFFER_BYTES);
        let _ = socket::setsockopt(&fd, sockopt::SndBuf, &BUFFER_BYTES);
        socket::bind(fd.as_raw_fd(), &socket::SockaddrStorage::from(at))?;
        Ok(Udp { socket: UdpSocket::from(fd), family })
    }

    /// This system puts no datagrams together.
    pub fn merge_received(&self) -> bool {
        false
    }

    /// This system does not tell what it had no room for.
    pub fn overflows(&self) -> u64 {
        0
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// The port it is bound to; 0 if the system does not tell.
    pub fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |a| a.port())
    }

    /// Whether what is sent from now on may not be cut in pieces on the way.
    pub fn forbid_fragments(&self, on: bool) -> io::Result<()> {
        let (level, name) = match self.family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_DONTFRAG),
            Family::V6 => (libc::IPPROTO_IPV6, IPV6_DONTFRAG),
        };
        set_int(self.socket.as_fd(), level, name, i32::from(on))
    }

    /// There are no marks here: only "none" can be set.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        if mark == 0 { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

pub(super) fn open(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    fd::close_on_exec(fd.as_fd())?;
    Ok(fd)
}

/// Set the bit that forbids fragments (IPv4).
pub(super) fn probe_path_mtu(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_DONTFRAG, 1)
}

/// A TCP socket that does not block.
pub(super) fn tcp(family: socket::AddressFamily) -> io::Result<OwnedFd> {
    let fd = open(family as i32, libc::SOCK_STREAM, 0)?;
    fd::own(fd.as_fd())?;
    Ok(fd)
}

/// An ICMP echo socket that needs no privilege; its replies come with their IPv4 header, as on a
/// raw one.
pub(super) fn icmp(v6: bool) -> io::Result<(OwnedFd, bool)> {
    let (family, protocol) = match v6 {
        false => (libc::AF_INET, libc::IPPROTO_ICMP),
        true => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    Ok((open(family, libc::SOCK_DGRAM, protocol)?, true))
}

fn set_v4(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    set_int(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
}

fn set_v6(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
}

pub(super) fn set_int(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the option value is one i32 that outlives the call, and `len` is its size.
    let r =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
