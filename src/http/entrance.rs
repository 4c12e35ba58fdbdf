//! Where a server's connections come from: a listening socket, or somebody in this process who has
//! them from elsewhere and knows whose they are.
//!
//! Bounds: 64 that were handed over and not yet taken, of which one more is refused; 1024 at a
//! port, where one more has to try again.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::sys::poll::Wake;
use crate::sys::tcp;

const WAITING: usize = 64;
/// More than one turn takes, and more than come while this process has no turn on a busy machine.
const AT_PORT: i32 = 1024;

pub enum Entrance {
    Port(TcpListener),
    Handed(Handed),
}

/// Takes what a [`Hand`] gives.
pub struct Handed {
    given: Receiver<(TcpStream, Ipv4Addr)>,
    wake: Arc<Wake>,
}

/// Gives connections to a server.
pub struct Hand {
    give: SyncSender<(TcpStream, Ipv4Addr)>,
    wake: Arc<Wake>,
}

/// An entrance without a port: what comes in there is handed over.
pub fn handed() -> io::Result<(Hand, Entrance)> {
    let (give, given) = mpsc::sync_channel(WAITING);
    let wake = Arc::new(Wake::new()?);
    let hand = Hand { give, wake: wake.clone() };
    Ok((hand, Entrance::Handed(Handed { given, wake })))
}

impl Hand {
    /// The other end of a new connection from this address, if the server takes it. A stream is a
    /// stream: nothing but its options tells it from TCP, and nobody else on this machine can have
    /// made it.
    pub fn connect(&self, from: Ipv4Addr) -> Option<TcpStream> {
        let (ours, theirs) = UnixStream::pair().ok()?;
        ours.set_nonblocking(true).ok()?;
        let stream = |end: UnixStream| TcpStream::from(OwnedFd::from(end));
        self.give.try_send((stream(theirs), from)).ok()?;
        self.wake.wake();
        Some(stream(ours))
    }
}

impl Entrance {
    pub(super) fn open(&self) -> io::Result<()> {
        match self {
            Entrance::Port(listener) => {
                tcp::let_wait(listener, AT_PORT)?;
                listener.set_nonblocking(true)
            }
            Entrance::Handed(_) => Ok(()),
        }
    }

    /// A connection, and from where; `None` for one of which that cannot be said. `WouldBlock` when
    /// there is none.
    pub(super) fn accept(&self) -> io::Result<Option<(TcpStream, Ipv4Addr)>> {
        match self {
            Entrance::Port(listener) => match listener.accept()? {
                (stream, SocketAddr::V4(from)) => Ok(Some((stream, *from.ip()))),
                _ => Ok(None),
            },
            Entrance::Handed(Handed { given, wake }) => {
                let first = given.try_recv().or_else(|_| {
                    // Not before there is nothing: it is to wake as long as there is something.
                    wake.drain();
                    given.try_recv()
                });
                first.map(Some).map_err(|_| ErrorKind::WouldBlock.into())
            }
        }
    }
}

impl AsFd for Entrance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Entrance::Port(listener) => listener.as_fd(),
            Entrance::Handed(handed) => handed.wake.as_fd(),
        }
    }
}

impl From<TcpListener> for Entrance {
    fn from(listener: TcpListener) -> Entrance {
        Entrance::Port(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn whoever_comes_while_nobody_is_taken_waits_and_does_not_try_again() {
        let bound = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        if bound.trim().parse().is_ok_and(|most: i32| most < AT_PORT) {
            return println!("SKIP whoever_comes: this system lets no more than {bound}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let entrance = Entrance::from(listener);
        entrance.open().unwrap();
        // A try that is not taken is followed by another after a second.
        let soon = Duration::from_millis(900);
        let many: Vec<_> = (0..300).map(|_| TcpStream::connect_timeout(&at, soon)).collect();
        assert!(many.iter().all(Result::is_ok), "{:?}", many.iter().position(Result::is_err));
    }
}
