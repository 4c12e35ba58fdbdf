//! What is served, as the server sees it: a head is judged at once, a call is answered by a thread.
//!
//! Must not know: connections, sockets.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use serde_json::Value;

use super::request::{Body, Head, Refusal};
use super::slots::Source;
use super::stream::{self, Outlet, Sink};
use crate::sys::poll::Wake;

/// What is served.
pub trait Service: Send + Sync + 'static {
    /// What a head asks for, once it is known who asks.
    type Call: Send + 'static;

    /// Whether somebody at this address gets a slot, and which.
    fn source(&self, from: Ipv4Addr) -> Option<Source>;

    /// Once there is a head. Must not wait for anything.
    fn begin(&self, head: &Head, from: Ipv4Addr) -> Result<Next<Self::Call>, Refusal>;

    /// The answer to a call, in a thread of its own.
    fn call(&self, call: Self::Call, body: &str, reply: Reply);

    /// Whether a call is for its connection: it is taken, and has no slot any more.
    fn takes(&self, _: &Self::Call) -> bool {
        false
    }

    /// Such a connection, for good, in the one thread for all of them.
    fn take(&self, _: Self::Call, _: &str, _: Given) {}
}

/// A connection that is not served any more.
pub struct Given {
    /// It does not wait.
    pub stream: TcpStream,
    /// What came after the body.
    pub first: Vec<u8>,
}

/// What a head is followed by.
pub enum Next<C> {
    Answer(Value),
    /// This is to be called with a body that is to come.
    Call(C, Body),
}

/// How a call is answered: once. One that is dropped without an answer closes the connection.
pub struct Reply {
    id: u64,
    done: Option<Sender<(u64, Done)>>,
    wake: Arc<Wake>,
}

/// What became of a call.
pub enum Done {
    Answer(Vec<u8>),
    Stream(Outlet),
    /// Whoever answers wants the connection itself.
    Lend(Sender<TcpStream>),
    Nothing,
}

impl Reply {
    /// To the connection with this number.
    pub fn new(id: u64, done: Sender<(u64, Done)>, wake: Arc<Wake>) -> Reply {
        Reply { id, done: Some(done), wake }
    }

    pub fn answer(mut self, bytes: Vec<u8>) {
        self.tell(Done::Answer(bytes));
    }

    /// Lines instead of an answer; `None` when there is no room for one more, and the client has
    /// been told, or is gone.
    pub fn stream(mut self) -> Option<Sink> {
        let (sink, outlet) = stream::pair(self.wake.clone()).ok()?;
        self.tell(Done::Stream(outlet));
        sink.admitted()
    }

    /// The connection itself, for a protocol other than HTTP; `None` as above. It counts as a
    /// stream as long as this lives, does not wait, and nothing has been sent on it.
    pub fn lend(mut self) -> Option<Lent> {
        let (send, receive) = mpsc::channel();
        let id = self.id;
        let back = self.done.clone()?;
        let wake = self.wake.clone();
        self.tell(Done::Lend(send));
        let stream = receive.recv().ok()?;
        Some(Lent { stream, _back: Reply::new(id, back, wake) })
    }

    fn tell(&mut self, done: Done) {
        // Who asked may have gone, and the server with it.
        let _ = self.done.take().map(|send| send.send((self.id, done)));
        self.wake.wake();
    }
}

/// A connection that is somebody's for as long as they keep it. The server ends it when it ends
/// itself.
pub struct Lent {
    pub stream: TcpStream,
    /// Dropped, it frees the slot.
    _back: Reply,
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.done.is_some() {
            self.tell(Done::Nothing);
        }
    }
}
