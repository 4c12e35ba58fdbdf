//! Connections within this machine: to whom, who is at their other end, and a listener at 127.0.0.1
//! that nobody can ask from the network.

use nix::errno::Errno;
use nix::sys::socket::{self, SockaddrStorage, sockopt};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::sock_diag::SockDiag;

/// Whose the socket at the other end is of a connection within this machine; nothing where that is
/// not known any more, or to nobody.
pub fn user_at_other_end(stream: &TcpStream) -> Option<u32> {
    let (there, here) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
    let end = SockDiag::open().and_then(|kernel| kernel.end_of(there, here));
    end.ok().flatten().and_then(|end| end.user())
}

/// A connection that is made, or is being made: it is writable when that is decided.
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => socket::AddressFamily::Inet,
        SocketAddr::V6(_) => socket::AddressFamily::Inet6,
    };
    let fd = super::sock::tcp(family)?;
    socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error.into()),
    }
}

/// Closes it so that the other side is told of a reset.
pub fn reset(stream: TcpStream) {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    // What is no TCP is closed as it is.
    let _ = socket::setsockopt(&stream.as_fd(), sockopt::Linger, &now);
}

/// Listens on 127.0.0.1 and nowhere else.
pub struct LoopbackListener(TcpListener);

impl LoopbackListener {
    /// At this port; 0: at one that the kernel chooses. Accepting does not wait.
    pub fn bind(port: u16) -> io::Result<LoopbackListener> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Ok(LoopbackListener(listener))
    }

    pub fn port(&self) -> io::Result<u16> {
        self.0.local_addr().map(|at| at.port())
    }

    /// Whoever is there, as any stream socket.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.0.accept()?;
        let _ = stream.set_nodelay(true);
        stream.set_nonblocking(false)?;
        Ok(UnixStream::from(OwnedFd::from(stream)))
    }
}

impl AsFd for LoopbackListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A connection to 127.0.0.1, as any stream socket.
pub fn connect_local(port: u16, limit: Duration) -> io::Result<UnixStream> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(UnixStream::from(OwnedFd::from(TcpStream::connect_timeout(&at, limit)?)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn whose_the_other_end_is_is_known_and_a_reset_is_told() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let stream = connect(listener.local_addr().unwrap()).unwrap();
            let uid = crate::sys::process::uid();
            assert_eq!(user_at_other_end(&stream), Some(uid), "{at}");
            let (other, _) = listener.accept().unwrap();
            reset(other);
            let gone = io::Read::read(&mut &stream, &mut [0; 1]).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
