//! TCP sockets that listen: one of the system's; whether a number can be had on this machine, and a
//! number that is kept while nobody is listened to.

use nix::sys::socket::{self, SockaddrStorage, sockopt};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

/// What a system without IPv6 says.
pub const NO_SUCH_FAMILY: i32 = libc::EAFNOSUPPORT;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub ip: IpAddr,
    pub port: u16,
    /// Whose it is.
    pub uid: u32,
    pub inode: u64,
}

/// Listens there, and does not wait for who comes. Nobody else has the address and number then,
/// nor all addresses with that number: where somebody has, it is `AddrInUse`.
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let family = match at {
        SocketAddr::V4(_) => socket::AddressFamily::Inet,
        SocketAddr::V6(_) => socket::AddressFamily::Inet6,
    };
    let fd = super::sock::tcp(family)?;
    if at.is_ipv6() {
        socket::setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    count_who_listens_alone(&fd, true)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    let listener = TcpListener::from(fd);
    again(&listener)?;
    Ok(listener)
}

/// Connections are refused from now on, those that wait to be accepted, too; the number stays ours.
#[cfg(target_os = "linux")]
pub fn refuse(listener: &TcpListener) -> io::Result<()> {
    socket::shutdown(listener.as_raw_fd(), socket::Shutdown::Read)?;
    count_who_listens_alone(listener, false)
}

/// This system cannot: whoever accepts closes them at once.
#[cfg(target_os = "macos")]
pub fn refuse(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Accepts again, after [`refuse`].
pub fn accept_again(listener: &TcpListener) -> io::Result<()> {
    count_who_listens_alone(listener, true)?;
    again(listener)
}

fn again(listener: &TcpListener) -> io::Result<()> {
    // SAFETY: takes two numbers; the descriptor is open for the duration of the call.
    let done = unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Connections that were here and have ended are in nobody's way; only with this on Linux, where a
/// socket that listens is in the way all the same. One that is bound alone is so while this is off.
#[cfg(target_os = "linux")]
fn count_who_listens_alone(socket: &impl std::os::fd::AsFd, so: bool) -> io::Result<()> {
    Ok(socket::setsockopt(socket, sockopt::ReuseAddr, &so)?)
}

/// With this, here, two may listen at one number.
#[cfg(target_os = "macos")]
fn count_who_listens_alone(_: &impl std::os::fd::AsFd, _: bool) -> io::Result<()> {
    Ok(())
}

/// The first port that every user may listen at.
pub fn first_unprivileged() -> u16 {
    let known = super::bounded::text("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    known.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Whether a program could listen at this port, in all the ways in which programs do: one family
/// does not see the other's.
pub fn is_free(port: u16) -> bool {
    let is_taken = |ip: &str| {
        TcpListener::bind((ip, port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    !["127.0.0.1", "::1", "0.0.0.0", "::"].into_iter().any(is_taken)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, wait_one};
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn kind<T>(outcome: io::Result<T>) -> Option<ErrorKind> {
        outcome.err().map(|error| error.kind())
    }

    /// A number that nobody has at any address.
    fn free() -> u16 {
        TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_number_is_had_where_nobody_listens_at_it() {
        let (one, any) = ([127, 0, 0, 1], [0, 0, 0, 0]);
        for other in [one, any] {
            let there = TcpListener::bind(SocketAddr::from((other, 0))).unwrap();
            let port = there.local_addr().unwrap().port();
            let at = SocketAddr::from((one, port));
            assert_eq!(kind(listen(at)), Some(ErrorKind::AddrInUse), "{other:?}");
        }
        let both = TcpListener::bind("[::]:0").unwrap();
        let port = both.local_addr().unwrap().port();
        for at in
            [SocketAddr::from((one, port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))]
        {
            assert_eq!(kind(listen(at)), Some(ErrorKind::AddrInUse), "{at}");
        }
    }

    #[test]
    fn a_number_stays_ours_while_nobody_is_listened_to() {
        let at = SocketAddr::from(([127, 0, 0, 1], free()));
        let listener = listen(at).unwrap();
        let other = TcpStream::connect(at).unwrap();
        assert!(wait_one(listener.as_fd(), Interest::READ, Some(Duration::from_secs(5))).unwrap());
        let (here, _) = listener.accept().unwrap();
        for _ in 0..3 {
            refuse(&listener).unwrap();
            assert_eq!(kind(TcpStream::connect(at)), Some(ErrorKind::ConnectionRefused));
            for taken in [at, SocketAddr::from(([0, 0, 0, 0], at.port()))] {
                assert_eq!(kind(listen(taken)), Some(ErrorKind::AddrInUse), "{taken}");
                assert_eq!(kind(TcpListener::bind(taken)), Some(ErrorKind::AddrInUse));
            }
            accept_again(&listener).unwrap();
            TcpStream::connect(at).unwrap();
        }
        // Connections outlive it, and those that have ended are in nobody's way.
        drop(here);
        assert_eq!(std::io::Read::read(&mut &other, &mut [0]).unwrap(), 0);
        drop((other, listener));
        listen(at).unwrap();
    }

    #[test]
    fn one_that_is_listened_at_is_seen_in_every_way() {
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
            // The kernel gives those below its own to nobody else.
            let first = 10_000 + (std::process::id() % 10_000) as u16;
            let port = (first..).find(|port| is_free(*port)).unwrap();
            // Without IPv6 there is nothing to see.
            let Ok(listener) = TcpListener::bind((ip, port)) else { continue };
            assert!(!is_free(port), "{ip}");
            drop(listener);
            assert!(is_free(port), "{ip}");
        }
    }
}
