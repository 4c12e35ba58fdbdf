//! Listens on 127.0.0.1 and nowhere else: whoever has only this cannot be asked from the network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
pub fn connect(port: u16, limit: Duration) -> io::Result<UnixStream> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(UnixStream::from(OwnedFd::from(TcpStream::connect_timeout(&at, limit)?)))
}
