//! Connections that are begun here, as another thread asks for them: it waits, and gets one end of
//! a pair of streams, of which the stack has the other. So what reads, writes, ends and waits for
//! TCP's streams does the same with these; `shutdown` of one half ends that half alone.
//!
//! What they are not: a pair knows no resets, so a connection that was reset has an end like any
//! other. Who reads must know by the bytes whether they are whole, as HTTP does.
//!
//! Bounds: 64 that wait to be begun; 64 connections (`run`); the caller's time for each.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use crate::sys::poll::Wake;

const WAITING: usize = 64;

/// Somebody wants a connection, and waits for it.
pub(super) struct Wish {
    pub to: SocketAddr,
    pub limit: Duration,
    caller: SyncSender<io::Result<TcpStream>>,
}

/// Where wishes come in.
pub(super) struct Wishes {
    given: Receiver<Wish>,
    wake: Arc<Wake>,
}

/// Begins connections, from any thread, as long as there is the stack.
#[derive(Clone)]
pub struct Connector {
    give: SyncSender<Wish>,
    wake: Arc<Wake>,
}

pub(super) fn connector() -> io::Result<(Connector, Wishes)> {
    let (give, given) = mpsc::sync_channel(WAITING);
    let wake = Arc::new(Wake::new()?);
    Ok((Connector { give, wake: wake.clone() }, Wishes { given, wake }))
}

impl Connector {
    /// A connection to there, once it is made. Errors: `ConnectionRefused`; `TimedOut` after
    /// `limit`; `AddrNotAvailable` where the tunnel has no address of that family; `ResourceBusy`
    /// where there are as many as there may be; `NotConnected` without a stack.
    pub fn connect(&self, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        let (caller, answer) = mpsc::sync_channel(1);
        self.give.try_send(Wish { to, limit, caller }).map_err(|error| match error {
            TrySendError::Full(_) => ErrorKind::ResourceBusy,
            TrySendError::Disconnected(_) => ErrorKind::NotConnected,
        })?;
        self.wake.wake();
        // Who is no longer there to take it has it ended.
        answer.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => ErrorKind::TimedOut,
            RecvTimeoutError::Disconnected => ErrorKind::NotConnected,
        })?
    }
}

impl Wishes {
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    pub fn next(&self) -> Option<Wish> {
        self.given.try_recv().ok().or_else(|| {
            // Not before there is nothing: it is to wake as long as there is something.
            self.wake.drain();
            self.given.try_recv().ok()
        })
    }
}

impl Wish {
    /// One, and where its answer comes.
    #[cfg(test)]
    pub fn new(to: SocketAddr, limit: Duration) -> (Wish, Receiver<io::Result<TcpStream>>) {
        let (caller, answer) = mpsc::sync_channel(1);
        (Wish { to, limit, caller }, answer)
    }

    /// Its end of the connection, which is there; `None` if nobody waits for it any more.
    pub fn grant(self) -> Option<TcpStream> {
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            Ok((ours, theirs))
        });
        let stream = |end: UnixStream| TcpStream::from(OwnedFd::from(end));
        match pair {
            Ok((ours, theirs)) => {
                self.caller.try_send(Ok(stream(theirs))).ok()?;
                Some(stream(ours))
            }
            Err(error) => {
                self.deny(error);
                None
            }
        }
    }

    pub fn deny(self, why: impl Into<io::Error>) {
        // Nobody may wait for it any more.
        let _ = self.caller.try_send(Err(why.into()));
    }
}
