//! One connection: bytes in, lines out of them; a reply, bytes out. At most one line in each
//! direction is held.
//!
//! Must not know: what the lines say, who may do what.

use crate::core::peer_cred::{Caller, Peer};
use crate::proto::{self, MAX_REQUEST, OpError};
use crate::sys;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// What comes of an operation.
pub enum Done {
    /// The result, and the one descriptor that goes with it.
    Now { result: Value, fd: Option<OwnedFd> },
    /// It has begun; the service will say what came of it (`Service::finished`).
    Later,
}

impl From<Value> for Done {
    fn from(result: Value) -> Done {
        Done::Now { result, fd: None }
    }
}

pub type Outcome = Result<Done, OpError>;

pub struct Conn {
    pub id: u64,
    pub stream: UnixStream,
    pub peer: Peer,
    pub handshaken: bool,
    /// One byte longer than a request may be: the byte behind the longest line shows.
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    fd: Option<OwnedFd>,
    /// Close when the output has left.
    pub closing: bool,
    /// The other end will send no more.
    pub ended: bool,
    pub opened: Instant,
    /// Since when the current wait (rest of a line, reply) has lasted.
    pub since: Instant,
    pub active: Instant,
    /// What it asked for has begun. It is not read from before the answer.
    pub waits: bool,
    /// Not read before: it has asked for more than its share.
    pub rests_until: Option<Instant>,
}

/// Whether a connection goes on: `None` closes it.
pub type Going = Option<()>;

impl Conn {
    pub fn new(id: u64, stream: UnixStream, peer: Peer) -> Conn {
        let now = Instant::now();
        Conn {
            id,
            stream,
            peer,
            handshaken: false,
            input: Vec::new(),
            output: Vec::new(),
            fd: None,
            closing: false,
            ended: false,
            opened: now,
            since: now,
            active: now,
            waits: false,
            rests_until: None,
        }
    }

    pub fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// Reads what there is, up to one byte more than the longest line. Plain reads, never
    /// recvmsg: the kernel then throws descriptors away that a caller may have sent along.
    pub fn fill(&mut self) -> Going {
        let mut buf = [0; MAX_REQUEST + 1];
        while self.output.is_empty() && !self.ended && self.input.len() <= MAX_REQUEST {
            let room = buf.get_mut(self.input.len()..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    if self.input.is_empty() {
                        self.since = Instant::now();
                    }
                    self.input.extend(room.iter().take(count));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// The next whole line, without its newline; a line too long comes as far as it got, and
    /// what is unfinished when the other end is done is never a line.
    pub fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().take(MAX_REQUEST).position(|b| *b == b'\n');
        let Some(end) = end else {
            let long = self.input.len() >= MAX_REQUEST;
            return long.then(|| std::mem::take(&mut self.input));
        };
        let rest = self.input.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.input, rest);
        line.pop();
        self.active = Instant::now();
        Some(line)
    }

    pub fn who(&self) -> Caller {
        self.peer.who(self.id)
    }

    pub fn reply(&mut self, id: &str, outcome: Outcome) {
        self.waits = matches!(outcome, Ok(Done::Later));
        let (answer, fd) = match outcome {
            Ok(Done::Now { result, fd }) => (Ok(result), fd),
            Ok(Done::Later) => return,
            Err(error) => (Err(error), None),
        };
        self.output = proto::reply_line(id, &answer).into_bytes();
        self.fd = fd;
        self.since = Instant::now();
    }

    /// Sends what can be sent now. The descriptor rides on the first byte, and our copy is
    /// closed as soon as that byte has left.
    pub fn flush(&mut self) -> Going {
        while !self.output.is_empty() {
            let sent = match &self.fd {
                Some(fd) => sys::send_with_fd(&self.stream, &self.output, fd.as_fd()),
                None => self.stream.write(&self.output),
            };
            match sent {
                Ok(0) => return None,
                Ok(count) => {
                    self.fd = None;
                    self.output.drain(..count.min(self.output.len()));
                    self.since = Instant::now();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Some(()),
                Err(_) => return None,
            }
        }
        Some(())
    }
}
