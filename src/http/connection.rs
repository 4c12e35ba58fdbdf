//! One connection, from its first byte to its end: a request, an answer or a stream, and the rest.
//! Nothing here waits: it takes what is there and says what it waits for next.
//!
//! Bounds: a head of 8 KiB within 1 s, a body of 1 MiB within 10 s more, an answer within 2 s; of a
//! stream 30 s may pass in which the other side takes nothing, or acknowledges nothing of what was
//! sent, and an empty line is sent when there was none for 5 s, so that either side notices that
//! the other is gone. Whatever bytes arrive, the other side gets an HTTP answer or a closed
//! connection, and nothing else changes.
//!
//! Must not know: other connections, what a call does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::request::{Body, Head, Refusal};
use super::service::{Given, Next, Service};
use super::stream::Outlet;
use super::{HEAD_BYTES, answer, code, head};
use crate::sys::poll::Interest;
use crate::sys::tcp;

const HEAD_LIMIT: Duration = Duration::from_secs(1);
const BODY_LIMIT: Duration = Duration::from_secs(10);
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// After the answer the rest of the request is read and dropped for this long: closing with unread
/// bytes would reset the connection and could take the answer with it.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 2 * 1024 * 1024;
/// How long a stream may stand still because the other side takes nothing.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How often a stream says something, if only that it is there.
pub const BEAT: Duration = Duration::from_secs(5);
/// Taken from one connection before others have their turn.
const PIECE: usize = 16 * 1024;
const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

enum Stage<C> {
    Head,
    Body {
        call: C,
        length: usize,
    },
    /// Somebody else works on the answer.
    Work,
    Answer {
        bytes: Vec<u8>,
        sent: usize,
    },
    Stream {
        lines: Outlet,
        bytes: Vec<u8>,
        sent: usize,
        /// None will follow what is in `bytes`.
        ended: bool,
    },
    /// Somebody else reads and writes it.
    Lent,
    Rest {
        dropped: usize,
    },
}

/// What became of a connection.
pub enum Step<C> {
    /// It waits for more.
    Wait,
    /// Its head is read, and it wants a slot for more; [`Connection::take_body`] goes on.
    WantsSlot(C, Body),
    /// A call is to be made with this body; [`Connection::answer`] has the result.
    Call(C, String),
    Over,
}

pub struct Connection<C> {
    pub stream: TcpStream,
    from: Ipv4Addr,
    stage: Stage<C>,
    /// What has arrived and belongs to nothing yet.
    bytes: Vec<u8>,
    moved: Instant,
    end: Option<Instant>,
}

impl<C> Connection<C> {
    pub fn new(stream: TcpStream, from: Ipv4Addr) -> io::Result<Connection<C>> {
        stream.set_nonblocking(true)?;
        // What was handed over may be no TCP, and sends at once anyway.
        let _ = stream.set_nodelay(true);
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

    pub fn is_lent(&self) -> bool {
        matches!(self.stage, Stage::Lent)
    }

    /// In lines or any other way.
    pub fn is_stream(&self) -> bool {
        matches!(self.stage, Stage::Stream { .. } | Stage::Lent)
    }

    pub fn is_past_head(&self) -> bool {
        !matches!(self.stage, Stage::Head)
    }

    /// Until when it may stay as it is.
    pub fn end(&self) -> Option<Instant> {
        self.end
    }

    pub fn interest(&self) -> Interest {
        match &self.stage {
            Stage::Head | Stage::Body { .. } | Stage::Rest { .. } => Interest::READ,
            Stage::Answer { .. } => Interest::WRITE,
            Stage::Stream { bytes, .. } if bytes.is_empty() => Interest::READ,
            Stage::Stream { .. } => Interest::BOTH,
            // That its client has gone is found out later.
            Stage::Work | Stage::Lent => Interest::NONE,
        }
    }

    fn enter(&mut self, stage: Stage<C>, limit: Option<Duration>) {
        self.stage = stage;
        self.moved = Instant::now();
        self.end = limit.map(|limit| self.moved + limit);
    }

    /// The result of what was called, or a refusal.
    pub fn answer(&mut self, bytes: Vec<u8>) -> Step<C> {
        self.bytes = Vec::new();
        self.enter(Stage::Answer { bytes, sent: 0 }, Some(WRITE_LIMIT));
        self.go_on()
    }

    /// Somebody else's from now on, for good.
    pub fn give(mut self) -> io::Result<Given> {
        Ok(Given { stream: self.stream.try_clone()?, first: std::mem::take(&mut self.bytes) })
    }

    /// What was called answers with lines.
    pub fn stream(&mut self, lines: Outlet) -> Step<C> {
        self.bytes = Vec::new();
        lines.admit();
        // A laptop that has vanished takes the beats of an idle stream for as long as the kernel
        // has room for them. Where the limit cannot be set the kernel has one of its own.
        let _ = tcp::end_unacknowledged(&self.stream, STALL_LIMIT);
        let bytes = answer::stream_head();
        self.enter(Stage::Stream { lines, bytes, sent: 0, ended: false }, Some(STALL_LIMIT));
        self.lines()
    }

    /// Whoever was called has the connection from now on.
    pub fn lend(&mut self) -> io::Result<TcpStream> {
        let stream = self.stream.try_clone()?;
        self.bytes = Vec::new();
        self.enter(Stage::Lent, None);
        Ok(stream)
    }

    pub fn refuse(&mut self, refusal: &Refusal) -> Step<C> {
        self.answer(answer::refused(refusal))
    }

    /// Its time is over.
    pub fn late(&mut self) -> Step<C> {
        match &mut self.stage {
            Stage::Head if self.bytes.is_empty() => Step::Over,
            Stage::Head | Stage::Body { .. } => {
                let why = "the request did not arrive in time";
                self.refuse(&Refusal::of(408, code::TIMEOUT, why))
            }
            Stage::Work | Stage::Lent => Step::Wait,
            Stage::Stream { bytes, .. } if bytes.is_empty() => {
                bytes.push(b'\n');
                self.end = Some(Instant::now() + STALL_LIMIT);
                self.lines()
            }
            Stage::Stream { .. } | Stage::Answer { .. } | Stage::Rest { .. } => Step::Over,
        }
    }

    /// Takes what has arrived.
    pub fn take(&mut self, service: &impl Service<Call = C>) -> Step<C> {
        match self.stage {
            Stage::Head => self.head(service),
            Stage::Body { .. } => self.body(),
            Stage::Work | Stage::Lent => Step::Wait,
            Stage::Answer { .. } => self.go_on(),
            Stage::Stream { .. } => self.stream_turn(),
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

    fn head(&mut self, service: &impl Service<Call = C>) -> Step<C> {
        match self.more(HEAD_BYTES - self.bytes.len().min(HEAD_BYTES)) {
            None => return Step::Wait,
            Some(Err(_)) => return Step::Over,
            Some(Ok(0)) if self.bytes.is_empty() => return Step::Over,
            Some(Ok(0)) if self.bytes.len() < HEAD_BYTES => {
                return self.refuse(&Refusal::of(400, code::BAD_REQUEST, "the request is cut off"));
            }
            Some(Ok(_)) => {}
        }
        let Some((end, body)) = head::end(&self.bytes) else {
            if self.bytes.len() < HEAD_BYTES {
                return Step::Wait;
            }
            let why = format!("a head may have {HEAD_BYTES} bytes");
            return self.refuse(&Refusal::of(431, code::TOO_LARGE, why));
        };
        let rest = self.bytes.split_off(body);
        self.bytes.truncate(end);
        let next = Head::parse(&self.bytes).and_then(|head| service.begin(&head, self.from));
        self.bytes = rest;
        match next {
            Ok(Next::Answer(value)) => self.answer(answer::whole(200, &[], &value)),
            Ok(Next::Call(call, body)) => Step::WantsSlot(call, body),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// There is a slot for a body and what follows it.
    pub fn take_body(&mut self, call: C, Body { length, asks }: Body) -> Step<C> {
        // A client may wait to be told that its body is wanted (RFC 9110 §10.1.1).
        if asks && !matches!(self.stream.write(GO_ON), Ok(sent) if sent == GO_ON.len()) {
            return Step::Over;
        }
        self.enter(Stage::Body { call, length }, Some(BODY_LIMIT));
        self.whole_body()
    }

    fn body(&mut self) -> Step<C> {
        let Stage::Body { length, .. } = self.stage else { return Step::Wait };
        match self.more(length.saturating_sub(self.bytes.len()).max(1)) {
            None => Step::Wait,
            Some(Err(_)) => Step::Over,
            Some(Ok(0)) => self.refuse(&Refusal::of(400, code::BAD_REQUEST, "the body is cut off")),
            Some(Ok(_)) => self.whole_body(),
        }
    }

    fn whole_body(&mut self) -> Step<C> {
        let (call, length) = match std::mem::replace(&mut self.stage, Stage::Work) {
            Stage::Body { call, length } if self.bytes.len() >= length => (call, length),
            other => {
                self.stage = other;
                return Step::Wait;
            }
        };
        let mut body = std::mem::take(&mut self.bytes);
        self.bytes = body.split_off(length);
        match String::from_utf8(body) {
            Ok(body) => {
                self.enter(Stage::Work, None);
                Step::Call(call, body)
            }
            Err(_) => self.refuse(&Refusal::of(400, code::BAD_REQUEST, "the body is not UTF-8")),
        }
    }

    /// Notices that the other side has gone, and sends what there is. A client that only says that
    /// it will send no more has gone, too: nothing else is to be heard from it.
    fn stream_turn(&mut self) -> Step<C> {
        match self.more(PIECE) {
            Some(Ok(read)) if read > 0 => self.bytes.clear(),
            Some(_) => return Step::Over,
            None => {}
        }
        self.lines()
    }

    /// Takes what there is when all before it is sent, so that whoever makes lines waits for us.
    fn lines(&mut self) -> Step<C> {
        let Stage::Stream { lines, bytes, sent, ended } = &mut self.stage else {
            return Step::Wait;
        };
        let was_idle = bytes.is_empty();
        if was_idle {
            *ended = lines.take(bytes);
        }
        let mut moved = false;
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(more) if more > 0 => *sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => return Step::Over,
            }
            moved = true;
        }
        if *sent == bytes.len() {
            (*bytes, *sent) = (Vec::new(), 0);
            // Whoever made more while this was being sent has woken us for it already.
            if !was_idle && !*ended {
                *ended = lines.take(bytes);
            }
        }
        let is_idle = bytes.is_empty();
        if is_idle && *ended {
            return self.no_more();
        }
        if moved || was_idle != is_idle {
            self.moved = Instant::now();
            self.end = Some(self.moved + if is_idle { BEAT } else { STALL_LIMIT });
        }
        Step::Wait
    }

    /// Sends as much of the answer as goes.
    fn go_on(&mut self) -> Step<C> {
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
        self.no_more()
    }

    fn no_more(&mut self) -> Step<C> {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return Step::Over;
        }
        self.enter(Stage::Rest { dropped: 0 }, Some(LINGER));
        self.rest(0)
    }

    /// Reads what nobody wants.
    fn rest(&mut self, dropped: usize) -> Step<C> {
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

impl<C> Drop for Connection<C> {
    /// Whoever has it is told.
    fn drop(&mut self) {
        if self.is_lent() {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::stream;
    use super::*;
    use crate::sys::poll::Wake;
    use std::net::TcpListener;
    use std::sync::Arc;

    #[test]
    fn what_was_made_while_the_other_side_took_nothing_is_sent_as_soon_as_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut laptop = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        laptop.set_nonblocking(true).unwrap();
        let (served, _) = listener.accept().unwrap();
        let mut connection = Connection::<()>::new(served, Ipv4Addr::LOCALHOST).unwrap();
        let (sink, outlet) = stream::pair(Arc::new(Wake::new().unwrap())).unwrap();
        connection.stream(outlet);
        let sink = sink.admitted().unwrap();
        while connection.interest() == Interest::READ {
            sink.send(&"x".repeat(60_000)).unwrap();
            connection.lines();
        }
        sink.send("last").unwrap();
        let mut heard = Vec::new();
        let end = Instant::now() + Duration::from_secs(10);
        while !heard.ends_with(b"\nlast\n") {
            let mut piece = vec![0; 1 << 20];
            heard.extend(laptop.read(&mut piece).map_or(&b""[..], |read| &piece[..read]));
            // As poll(2) would have it.
            if connection.interest() != Interest::READ {
                connection.lines();
            }
            assert!(Instant::now() < end, "nobody asks for it");
        }
    }

    #[test]
    fn a_stream_of_which_nothing_is_acknowledged_ends_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _laptop = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        let mut connection = Connection::<()>::new(served, Ipv4Addr::LOCALHOST).unwrap();
        let (_sink, outlet) = stream::pair(Arc::new(Wake::new().unwrap())).unwrap();
        assert!(matches!(connection.stream(outlet), Step::Wait));
        assert_eq!(tcp::unacknowledged_limit(&connection.stream).unwrap(), STALL_LIMIT);
    }
}
