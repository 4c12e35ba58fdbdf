//! UDP sockets of a tunnel: one family each, with their options.
//!
//! Batched sending and receiving stand in `mmsg.rs`.

use nix::sys::socket::{self, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Receive and send buffer asked for: bridges a stall of about 10 ms at 5 Gbit/s. Cut down by the
/// kernel to its limit where we may not exceed it.
pub const BUFFER_BYTES: usize = 7 << 20;

/// Without DF, as IP_PMTUDISC_DONT, and without regard to what an ICMP said of the path, which
/// anybody may have sent: routers cut what has to be cut. Those of IPv6 do not, so there the kernel
/// may heed it.
const FRAGMENTS_V4: i32 = libc::IP_PMTUDISC_OMIT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// A UDP socket that is bound to every address of one family and tells for each datagram where it
/// was addressed to and its traffic class. Sets DF only when asked to (R84, R103).
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
        let fd = socket::socket(
            if family == Family::V4 {
                socket::AddressFamily::Inet
            } else {
                socket::AddressFamily::Inet6
            },
            socket::SockType::Datagram,
            socket::SockFlag::SOCK_CLOEXEC | socket::SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        match family {
            Family::V4 => set_v4(fd.as_fd())?,
            Family::V6 => set_v6(fd.as_fd())?,
        }
        set_buffers(&fd);
        socket::bind(fd.as_raw_fd(), &socket::SockaddrStorage::from(at))?;
        Ok(Udp { socket: UdpSocket::from(fd), family })
    }

    /// Ask for runs of datagrams of one sender to be received as one; false where the kernel has
    /// no such thing.
    pub fn merge_received(&self) -> bool {
        set_int(self.socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
    }

    /// Send without checksums, for tests: the kernel then takes no runs.
    #[cfg(test)]
    pub fn without_checksums(&self) -> io::Result<()> {
        set_int(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// The port it is bound to; 0 if the system does not tell.
    pub fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |a| a.port())
    }

    /// How many messages it had no room for, or could not use; 0 where the system does not tell.
    pub fn overflows(&self) -> u64 {
        // `SK_MEMINFO_VARS` numbers, `SK_MEMINFO_DROPS` the last of them (linux/sock_diag.h).
        let mut info = [0u32; 9];
        let mut len = size_of_val(&info) as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
        // SAFETY: `info` is writable for `len` bytes, and the kernel writes no more.
        let r = unsafe {
            let value = info.as_mut_ptr().cast();
            libc::getsockopt(self.socket.as_raw_fd(), level, name, value, &raw mut len)
        };
        if r < 0 { 0 } else { info.last().copied().map_or(0, u64::from) }
    }

    /// Whether what is sent from now on may not be cut in pieces on the way, whatever the kernel
    /// remembers of the path.
    pub fn forbid_fragments(&self, on: bool) -> io::Result<()> {
        let (level, name, value) = match (self.family, on) {
            (Family::V4, true) => {
                (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
            }
            (Family::V4, false) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, FRAGMENTS_V4),
            (Family::V6, true) => {
                (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
            }
            (Family::V6, false) => {
                (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
            }
        };
        set_int(self.socket.as_fd(), level, name, value)
    }

    /// Mark outgoing packets for policy routing; 0 for none. Needs CAP_NET_ADMIN.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        Ok(socket::setsockopt(&self.socket, sockopt::Mark, &mark)?)
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Set the bit that forbids fragments, and ignore what is known of the path's MTU (IPv4).
pub(super) fn probe_path_mtu(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
}

/// A TCP socket that does not block.
pub(super) fn tcp(family: socket::AddressFamily) -> io::Result<OwnedFd> {
    let flags = socket::SockFlag::SOCK_CLOEXEC | socket::SockFlag::SOCK_NONBLOCK;
    Ok(socket::socket(family, socket::SockType::Stream, flags, None)?)
}

/// An ICMP echo socket that needs no privilege where `net.ipv4.ping_group_range` allows it; a raw
/// one for those who may.
pub(super) fn icmp(v6: bool) -> io::Result<(OwnedFd, bool)> {
    let (family, protocol) = match v6 {
        false => (libc::AF_INET, libc::IPPROTO_ICMP),
        true => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    let open = |kind: i32| {
        // SAFETY: socket(2) takes no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    match open(libc::SOCK_DGRAM) {
        Ok(fd) => Ok((fd, false)),
        Err(refused) => open(libc::SOCK_RAW).map(|fd| (fd, true)).map_err(|_| refused),
    }
}

fn set_v4(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    set_int(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
    set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, FRAGMENTS_V4)
}

fn set_v6(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
}

/// A small buffer costs speed and never correctness, so failures pass.
fn set_buffers(fd: &OwnedFd) {
    if socket::setsockopt(fd, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
        let _ = socket::setsockopt(fd, sockopt::RcvBuf, &BUFFER_BYTES);
    }
    if socket::setsockopt(fd, sockopt::SndBufForce, &BUFFER_BYTES).is_err() {
        let _ = socket::setsockopt(fd, sockopt::SndBuf, &BUFFER_BYTES);
    }
}

pub(super) fn set_int(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the option value is one i32 that outlives the call, and `len` is its size.
    let r =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
