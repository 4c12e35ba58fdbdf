//! One connection of the API, from its first byte to its end: a request, an answer, and the rest.
//! Nothing here waits: it takes what is there and says what it waits for next.
//!
//! Bounds: a head of 8 KiB within 1 s, a body of 1 MiB within 10 s more, an answer within 2 s.
//! Whatever bytes arrive, the other side gets an HTTP answer or a closed connection, and nothing
//! else changes.
//!
//! Must not know: other connections, what a method does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::http::{self, Api, Next};
use super::hub::Caller;
use super::request::{Head, Refusal};
use crate::rpc::{HEAD_BYTES, code};
use crate::sys::poll::Interest;

pub const HEAD_LIMIT: Duration = Duration::from_secs(1);
const BODY_LIMIT: Duration = Duration::from_secs(10);
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// After the answer the rest of the request is read and dropped for this long: closing with unread
/// bytes would reset the connection and could take the answer with it.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 2 * 1024 * 1024;
/// Taken from one connection before others have their turn.
const PIECE: usize = 16 * 1024;
const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

enum Stage {
    Head,
    Body {
        caller: Caller,
        length: usize,
    },
    /// Somebody else works on the answer.
    Work,
    Answer {
        bytes: Vec<u8>,
        sent: usize,
    },
    Rest {
        dropped: usize,
    },
}

/// What became of a connection.
pub enum Step {
    /// It waits for more.
    Wait,
    /// A method is to be called with this body; [`Connection::answer`] has the result.
    Call(Caller, String),
    Over,
}

pub struct Connection {
    pub stream: TcpStream,
    from: Ipv4Addr,
    stage: Stage,
    /// What has arrived and belongs to nothing yet.
    bytes: Vec<u8>,
    moved: Instant,
    end: Option<Instant>,
}

impl Connection {
    pub fn new(stream: TcpStream, from: Ipv4Addr) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let moved = Instant::now();
        let end = Some(moved + HEAD_LIMIT);
        Ok(Connection { stream, from, stage: Stage::Head, bytes: Vec::new(), moved, end })
    }

    /// When it last got further. Single bytes of a head are no progress.
    pub fn moved(&self) -> Instant {
        self.moved
    }

    pub fn is_at_work(&self) -> bool {
        matches!(self.stage, Stage::Work)
    }

    /// Until when it may stay as it is.
    pub fn end(&self) -> Option<Instant> {
        self.end
    }

    pub fn interest(&self) -> Interest {
        match self.stage {
            Stage::Head | Stage::Body { .. } | Stage::Rest { .. } => Interest::READ,
            Stage::Answer { .. } => Interest::WRITE,
            Stage::Work => Interest::NONE,
        }
    }

    fn enter(&mut self, stage: Stage, limit: Option<Duration>) {
        self.stage = stage;
        self.moved = Instant::now();
        self.end = limit.map(|limit| self.moved + limit);
    }

    /// The result of what was called, or a refusal.
    pub fn answer(&mut self, bytes: Vec<u8>) -> Step {
        self.bytes = Vec::new();
        self.enter(Stage::Answer { bytes, sent: 0 }, Some(WRITE_LIMIT));
        self.go_on()
    }

    fn refuse(&mut self, refusal: &Refusal) -> Step {
        self.answer(http::refused(refusal))
    }

    /// Its time is over.
    pub fn late(&mut self) -> Step {
        match self.stage {
            Stage::Head if self.bytes.is_empty() => Step::Over,
            Stage::Head | Stage::Body { .. } => {
                let why = "the request did not arrive in time";
                self.refuse(&Refusal::of(408, code::TIMEOUT, why))
            }
            Stage::Work => Step::Wait,
            Stage::Answer { .. } | Stage::Rest { .. } => Step::Over,
        }
    }

    /// Takes what has arrived.
    pub fn take(&mut self, api: &Api) -> Step {
        match self.stage {
            Stage::Head => self.head(api),
            Stage::Body { .. } => self.body(),
            Stage::Work => Step::Wait,
            Stage::Answer { .. } => self.go_on(),
            Stage::Rest { dropped } => self.rest(dropped),
        }
    }

    /// Reads at most `most` bytes more: `None` if there are none now.
    fn more(&mut self, most: usize) -> Option<io::Result<usize>> {
        let mut piece = [0u8; PIECE];
        let room = piece.get_mut(..most.min(PIECE)).unwrap_or_default();
        match self.stream.read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Err(error) => Some(Err(error)),
            Ok(read) => {
                self.bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
                Some(Ok(read))
            }
        }
    }

    fn head(&mut self, api: &Api) -> Step {
        match self.more(HEAD_BYTES - self.bytes.len().min(HEAD_BYTES)) {
            None => return Step::Wait,
            Some(Err(_)) => return Step::Over,
            Some(Ok(0)) if self.bytes.is_empty() => return Step::Over,
            Some(Ok(0)) if self.bytes.len() < HEAD_BYTES => {
                return self.refuse(&Refusal::of(400, code::BAD_REQUEST, "the request is cut off"));
            }
            Some(Ok(_)) => {}
        }
        let Some(at) = find(&self.bytes, b"\r\n\r\n") else {
            if self.bytes.len() < HEAD_BYTES {
                return Step::Wait;
            }
            let why = format!("a head may have {HEAD_BYTES} bytes");
            return self.refuse(&Refusal::of(431, code::TOO_LARGE, why));
        };
        let rest = self.bytes.split_off(at);
        let next = Head::parse(&self.bytes).and_then(|head| api.begin(&head, self.from));
        self.bytes = rest.get(4..).unwrap_or_default().to_vec();
        match next {
            Ok(Next::Answer(value)) => self.answer(http::answer(200, &[], &value)),
            Ok(Next::Body { caller, length, asks }) => {
                // A client may wait to be told that its body is wanted (RFC 9110 §10.1.1).
                if asks && !matches!(self.stream.write(GO_ON), Ok(sent) if sent == GO_ON.len()) {
                    return Step::Over;
                }
                self.enter(Stage::Body { caller, length }, Some(BODY_LIMIT));
                self.whole_body(caller, length)
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn body(&mut self) -> Step {
        let Stage::Body { caller, length } = self.stage else { return Step::Wait };
        match self.more(length.saturating_sub(self.bytes.len()).max(1)) {
            None => Step::Wait,
            Some(Err(_)) => Step::Over,
            Some(Ok(0)) => self.refuse(&Refusal::of(400, code::BAD_REQUEST, "the body is cut off")),
            Some(Ok(_)) => self.whole_body(caller, length),
        }
    }

    fn whole_body(&mut self, caller: Caller, length: usize) -> Step {
        if self.bytes.len() < length {
            return Step::Wait;
        }
        let mut body = std::mem::take(&mut self.bytes);
        body.truncate(length);
        match String::from_utf8(body) {
            Ok(body) => {
                self.enter(Stage::Work, None);
                Step::Call(caller, body)
            }
            Err(_) => self.refuse(&Refusal::of(400, code::BAD_REQUEST, "the body is not UTF-8")),
        }
    }

    /// Sends as much of the answer as goes.
    fn go_on(&mut self) -> Step {
        let Stage::Answer { bytes, sent } = &mut self.stage else { return Step::Wait };
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Step::Over,
                Ok(more) => *sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Wait,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Step::Over,
            }
        }
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return Step::Over;
        }
        self.enter(Stage::Rest { dropped: 0 }, Some(LINGER));
        self.rest(0)
    }

    /// Reads what nobody wants.
    fn rest(&mut self, dropped: usize) -> Step {
        self.bytes.clear();
        match self.more(PIECE) {
            None => Step::Wait,
            Some(Ok(read)) if read > 0 && dropped + read < LINGER_BYTES => {
                self.bytes.clear();
                self.stage = Stage::Rest { dropped: dropped + read };
                Step::Wait
            }
            Some(_) => Step::Over,
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
