//! Commands to the data-plane thread: a bounded queue and the descriptor that wakes its poll.

use super::request::Request;
use super::stats::Status;
use crate::sys::poll::Wake;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;
use zeroize::Zeroizing;

/// Commands that may wait. The thread takes all of them in each turn.
pub(super) const COMMANDS: usize = 32;

pub(super) enum Command {
    Apply(Box<Request>, SyncSender<Result<(), i32>>),
    Get(SyncSender<Zeroizing<String>>),
    Status(SyncSender<Status>),
    NetworkChanged,
    /// With every peer that has an endpoint and no session.
    HandshakeAll,
    /// The same, and the peer of this key may be at any of these addresses.
    Reconnect([u8; 32], Vec<SocketAddr>),
    /// One handshake with the peer of this key at these addresses alone.
    TryAt([u8; 32], Vec<SocketAddr>),
    Stop,
}

pub(super) struct Outlet {
    commands: SyncSender<Command>,
    wake: Arc<Wake>,
}

pub(super) struct Inlet {
    commands: Receiver<Command>,
    wake: Arc<Wake>,
}

pub(super) fn pair() -> io::Result<(Outlet, Inlet)> {
    let (send, receive) = sync_channel(COMMANDS);
    let wake = Arc::new(Wake::new()?);
    Ok((Outlet { commands: send, wake: wake.clone() }, Inlet { commands: receive, wake }))
}

impl Outlet {
    /// `WouldBlock` when the queue is full, `BrokenPipe` when the thread has ended.
    pub fn post(&self, command: Command) -> io::Result<()> {
        use std::sync::mpsc::TrySendError;
        self.commands.try_send(command).map_err(|e| match e {
            TrySendError::Full(_) => io::ErrorKind::WouldBlock,
            TrySendError::Disconnected(_) => io::ErrorKind::BrokenPipe,
        })?;
        self.wake.wake();
        Ok(())
    }

    /// Post the command that `make` builds around a reply channel, and wait for the reply.
    pub fn ask<T>(
        &self,
        make: impl FnOnce(SyncSender<T>) -> Command,
        patience: Duration,
    ) -> io::Result<T> {
        use std::sync::mpsc::RecvTimeoutError;
        let (send, receive) = sync_channel(1);
        self.post(make(send))?;
        receive.recv_timeout(patience).map_err(|e| match e {
            RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            RecvTimeoutError::Disconnected => io::ErrorKind::BrokenPipe.into(),
        })
    }
}

impl Inlet {
    /// The next command, without waiting. A handle that is gone means stop.
    pub fn take(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Command::Stop),
        }
    }

    pub fn drain(&self) {
        self.wake.drain();
    }
}

impl AsFd for Inlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
