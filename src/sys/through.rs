//! IPv4 sockets that use one interface and nothing else, whatever routes and rules say.

use nix::errno::Errno;
use nix::sys::socket::{self, SockaddrIn, SockaddrStorage};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::poll::{self, Interest};

#[cfg(target_os = "macos")]
const ONE_INTERFACE: (i32, i32) = (libc::IPPROTO_IP, libc::IP_BOUND_IF);
/// SO_BINDTOIFINDEX, which libc has no name for here (asm-generic/socket.h).
#[cfg(target_os = "linux")]
const ONE_INTERFACE: (i32, i32) = (libc::SOL_SOCKET, 62);

/// An interface of this machine and our address on it. By its index: a name may be another's a
/// moment later, and no later interface gets an index that was given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub local: Ipv4Addr,
}

/// Packets of this socket leave and come by this interface, or not at all. Any user may ask that
/// of a new socket, on Linux since 5.7; before, and where the interface is gone, it is an error.
pub fn bind_to(fd: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    let index = i32::try_from(ifindex).ok().filter(|index| *index > 0);
    let index = index.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let (level, name) = ONE_INTERFACE;
    super::sock::set_int(fd, level, name, index)?;
    Ok(())
}

/// A connection to `to` through `link`, within `limit`.
pub fn connect(link: Link, to: SocketAddrV4, limit: Duration) -> io::Result<TcpStream> {
    let fd = tcp()?;
    bind_to(fd.as_fd(), link.ifindex)?;
    finish(fd, link.local, to, limit)
}

/// The same without waiting: a connection that is being made, writable when that is decided.
pub fn begin(link: Link, to: SocketAddrV4) -> io::Result<OwnedFd> {
    let fd = tcp()?;
    bind_to(fd.as_fd(), link.ifindex)?;
    start(&fd, link.local, to)?;
    Ok(fd)
}

/// The same where the system does not let us name the interface: from its address alone, which
/// says less. Not for a secret.
pub fn connect_from(local: Ipv4Addr, to: SocketAddrV4, limit: Duration) -> io::Result<TcpStream> {
    finish(tcp()?, local, to, limit)
}

fn tcp() -> io::Result<OwnedFd> {
    let fd = super::sock::tcp(socket::AddressFamily::Inet)?;
    socket::setsockopt(&fd, socket::sockopt::TcpNoDelay, &true)?;
    Ok(fd)
}

/// Whether it is made already.
fn start(fd: &OwnedFd, local: Ipv4Addr, to: SocketAddrV4) -> io::Result<bool> {
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(local, 0)))?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(std::net::SocketAddr::V4(to))) {
        Ok(()) => Ok(true),
        Err(Errno::EINPROGRESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn finish(
    fd: OwnedFd,
    local: Ipv4Addr,
    to: SocketAddrV4,
    limit: Duration,
) -> io::Result<TcpStream> {
    let is_made = start(&fd, local, to)?;
    if !is_made && !poll::wait_one(fd.as_fd(), Interest::WRITE, Some(limit))? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let stream = TcpStream::from(fd);
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn index(name: &str) -> u32 {
        nix::net::if_::if_nametoindex(name).unwrap()
    }

    #[test]
    fn a_connection_is_through_its_interface_or_not_at_all() {
        let lo = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!() };
        let link = Link { ifindex: index(lo), local: Ipv4Addr::LOCALHOST };
        let limit = Duration::from_secs(5);
        let stream = connect(link, at, limit).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), at.into());
        drop(listener);
        let refused = connect(link, at, limit).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        for ifindex in [0, i32::MAX as u32, u32::MAX] {
            let listener = TcpListener::bind(at).unwrap();
            assert!(connect(Link { ifindex, ..link }, at, limit).is_err(), "{ifindex}");
            drop(listener);
        }
        let elsewhere = Link { local: Ipv4Addr::new(192, 0, 2, 1), ..link };
        assert!(connect(elsewhere, at, limit).is_err(), "from an address that is not ours");
    }
}
