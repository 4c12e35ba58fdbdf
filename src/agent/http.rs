//! Connections of the API: accept, one request, one answer, close.
//!
//! Bounds: 16 connections, each with its own thread; a head of 8 KiB within 5 s, a body of 1 MiB
//! within 10 s more, an answer within 5 s. Whatever bytes arrive, the peer gets an HTTP answer or
//! a closed connection, and nothing else changes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::request::{Head, Refusal};
use super::rpc::{self, Desk};
use super::{auth, health};
use crate::rpc::{HEAD_BYTES, code};

pub const CONNECTIONS: usize = 16;
const HEAD_LIMIT: Duration = Duration::from_secs(5);
const BODY_LIMIT: Duration = Duration::from_secs(10);
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// After an early refusal the rest of the request is read and dropped for this long: closing with
/// unread bytes would reset the connection and could take the answer with it.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 2 * 1024 * 1024;

/// What requests are answered from.
pub struct Api {
    local_ip: Ipv4Addr,
    desk: Arc<dyn Desk>,
}

impl Api {
    pub fn new(local_ip: Ipv4Addr, desk: Arc<dyn Desk>) -> Api {
        Api { local_ip, desk }
    }

    /// The answer to a request whose body is read by `body`, once it is known to be wanted.
    fn respond(
        &self,
        head: &Head,
        from: Ipv4Addr,
        body: impl FnOnce(usize) -> Result<String, Refusal>,
    ) -> Result<Value, Refusal> {
        auth::not_a_page(head, self.local_ip)?;
        match (head.path.as_str(), head.method.as_str()) {
            ("/health", "GET") => Ok(health::health(self.local_ip)),
            ("/health", _) => Err(wrong_method("GET")),
            ("/rpc", "POST") => {
                let caller = auth::caller(head, &*self.desk, from)?;
                let length = head.body_length()?.ok_or_else(|| {
                    Refusal::of(411, code::LENGTH_REQUIRED, "the Content-Length field is missing")
                })?;
                let result = rpc::call(&*self.desk, caller, &body(length)?)?;
                Ok(json!({"result": result}))
            }
            ("/rpc", _) => Err(wrong_method("POST")),
            _ => Err(Refusal::of(404, code::NOT_FOUND, "there is /health and /rpc")),
        }
    }
}

fn wrong_method(allowed: &'static str) -> Refusal {
    let why = format!("only {allowed} works here");
    Refusal::of(405, code::METHOD_NOT_ALLOWED, why).with("Allow", allowed)
}

/// A listening socket and its open connections.
pub struct Server {
    listener: TcpListener,
    api: Arc<Api>,
    open: Arc<AtomicUsize>,
}

impl Server {
    pub fn new(listener: TcpListener, api: Arc<Api>) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        Ok(Server { listener, api, open: Arc::new(AtomicUsize::new(0)) })
    }

    /// Takes the connections that wait, at most as many as may be open, and returns.
    pub fn accept(&self) {
        for _ in 0..CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else { return };
            let Some(place) = Place::take(&self.open) else {
                let refusal = Refusal::of(503, code::BUSY, "too many connections");
                let _ = stream.set_nonblocking(true);
                let _ = (&stream).write_all(&refused(&refusal));
                continue;
            };
            let api = self.api.clone();
            // A thread that cannot be made drops the connection, and its place with it.
            let _ = thread::Builder::new().name("http".to_owned()).spawn(move || {
                let _ = attend(&stream, &api);
                drop(place);
            });
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// One of the places for connections; free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Place> {
        let more = |open: usize| (open < CONNECTIONS).then_some(open + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Place(open.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One connection, from its first byte to its end.
fn attend(stream: &TcpStream, api: &Api) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    stream.set_nodelay(true)?;
    let IpAddr::V4(from) = stream.peer_addr()?.ip() else { return Ok(()) };
    let mut input = Input { stream, bytes: Vec::new() };
    let outcome = match input.head() {
        // Nothing was asked.
        Ok(None) => return Ok(()),
        Ok(Some(head)) => api.respond(&head, from, |length| input.body(&head, length)),
        Err(refusal) => Err(refusal),
    };
    let answer = match &outcome {
        Ok(value) => answer(200, &[], value),
        Err(refusal) => refused(refusal),
    };
    (&*stream).write_all(&answer)?;
    stream.shutdown(Shutdown::Write)?;
    input.drain();
    Ok(())
}

/// The bytes of a request as they arrive.
struct Input<'a> {
    stream: &'a TcpStream,
    /// What has arrived and belongs to nothing yet.
    bytes: Vec<u8>,
}

impl Input<'_> {
    /// The head; `None` when the peer left without asking anything.
    fn head(&mut self) -> Result<Option<Head>, Refusal> {
        let end = Instant::now() + HEAD_LIMIT;
        loop {
            if let Some(at) = find(&self.bytes, b"\r\n\r\n") {
                let rest = self.bytes.split_off(at);
                let head = Head::parse(&self.bytes)?;
                self.bytes = rest.get(4..).unwrap_or_default().to_vec();
                return Ok(Some(head));
            }
            if self.bytes.len() >= HEAD_BYTES {
                let why = format!("a head may have {HEAD_BYTES} bytes");
                return Err(Refusal::of(431, code::TOO_LARGE, why));
            }
            match self.more(HEAD_BYTES - self.bytes.len(), end) {
                Ok(0) if self.bytes.is_empty() => return Ok(None),
                Ok(0) => return Err(Refusal::of(400, code::BAD_REQUEST, "the request is cut off")),
                Ok(_) => {}
                Err(_) if self.bytes.is_empty() => return Ok(None),
                Err(_) => return Err(slow()),
            }
        }
    }

    fn body(&mut self, head: &Head, length: usize) -> Result<String, Refusal> {
        self.expect(head)?;
        let end = Instant::now() + BODY_LIMIT;
        while self.bytes.len() < length {
            match self.more(length - self.bytes.len(), end) {
                Ok(0) => return Err(Refusal::of(400, code::BAD_REQUEST, "the body is cut off")),
                Ok(_) => {}
                Err(_) => return Err(slow()),
            }
        }
        let mut body = std::mem::take(&mut self.bytes);
        body.truncate(length);
        String::from_utf8(body)
            .map_err(|_| Refusal::of(400, code::BAD_REQUEST, "the body is not UTF-8"))
    }

    /// A client may wait to be told that its body is wanted (RFC 9110 §10.1.1).
    fn expect(&mut self, head: &Head) -> Result<(), Refusal> {
        match head.only("expect")? {
            None => Ok(()),
            Some(value) if value.eq_ignore_ascii_case("100-continue") => {
                let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
                self.stream.write_all(go_on).map_err(|_| slow())
            }
            Some(_) => Err(Refusal::of(417, code::NOT_IMPLEMENTED, "that cannot be expected")),
        }
    }

    /// Waits for at most `most` further bytes, until `end`.
    fn more(&mut self, most: usize, end: Instant) -> io::Result<usize> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut piece = [0u8; 4096];
        let room = piece.len().min(most);
        let read = match piece.get_mut(..room) {
            Some(room) => self.stream.read(room)?,
            None => 0,
        };
        self.bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
        Ok(read)
    }

    fn drain(&mut self) {
        let end = Instant::now() + LINGER;
        let mut dropped = 0;
        while dropped < LINGER_BYTES {
            self.bytes.clear();
            match self.more(4096, end) {
                Ok(read) if read > 0 => dropped += read,
                _ => return,
            }
        }
    }
}

fn slow() -> Refusal {
    Refusal::of(408, code::TIMEOUT, "the request did not arrive in time")
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

fn refused(refusal: &Refusal) -> Vec<u8> {
    let value = json!({"error": {"code": refusal.code, "message": refusal.why}});
    answer(refusal.status, &refusal.fields, &value)
}

fn answer(status: u16, fields: &[(&str, &str)], value: &Value) -> Vec<u8> {
    let body = value.to_string();
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    head += "Content-Type: application/json\r\nCache-Control: no-store\r\n";
    head += "X-Content-Type-Options: nosniff\r\nConnection: close\r\n";
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    (head + &body).into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
