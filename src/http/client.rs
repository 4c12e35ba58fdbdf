//! The other side: one request on a connection that is there already, and its answer. No proxies,
//! no redirects, no reuse, no other encodings: whoever answers otherwise is not who was asked.
//!
//! Bounds: the caller's moment for the whole exchange; for a stream that of its head, and 15 s of
//! silence, in which a server that lives has said something.
//!
//! Must not know: who is asked, and for what.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::connection::BEAT;
use super::head::{self, Headers};
use super::{BODY_BYTES, HEAD_BYTES, LINE_BYTES};
use crate::sys::line;

/// Longest silence of a stream.
pub const SILENCE: Duration = Duration::from_secs(3 * BEAT.as_secs());
const PIECE: usize = 16 * 1024;
const SWITCHED: u16 = 101;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failed {
    /// The connection broke.
    Lost(io::Error),
    /// The time ran out.
    Late,
    /// An answer came that is none.
    NotHttp(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Failed::Late,
            _ => Failed::Lost(error),
        }
    }
}

fn not_http(why: &str) -> Failed {
    Failed::NotHttp(why.to_owned())
}

/// What is asked for.
pub struct Request<'a> {
    pub method: &'static str,
    pub path: &'static str,
    pub host: &'a str,
    pub bearer: Option<&'a str>,
    /// The protocol that is to be spoken from the answer on.
    pub upgrade: Option<&'static str>,
    pub body: Option<&'a str>,
}

impl Request<'_> {
    /// Its bytes, for who sends them another way than [`ask`].
    pub fn to_text(&self) -> Zeroizing<String> {
        let Request { method, path, host, bearer, upgrade, body } = self;
        let agent = concat!("hop/", env!("CARGO_PKG_VERSION"));
        let mut text = Zeroizing::new(String::with_capacity(HEAD_BYTES));
        *text += &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n");
        for part in bearer.iter().flat_map(|token| ["Authorization: Bearer ", token, "\r\n"]) {
            *text += part;
        }
        if let Some(body) = body {
            let length = body.len();
            *text += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        }
        match upgrade {
            Some(to) => *text += &format!("Connection: Upgrade\r\nUpgrade: {to}\r\n\r\n"),
            None => *text += "Connection: close\r\n\r\n",
        }
        *text += body.unwrap_or_default();
        text
    }
}

/// An answer of which the head has been read.
pub struct Response {
    pub status: u16,
    headers: Headers,
    stream: TcpStream,
    /// What came after the head.
    bytes: Vec<u8>,
    end: Instant,
}

/// Sends a request, and reads the head of the answer, until `end`.
pub fn ask(stream: TcpStream, request: &Request, end: Instant) -> Result<Response, Failed> {
    stream.set_write_timeout(Some(left(end)?))?;
    let sent = (&stream).write_all(request.to_text().as_bytes());
    let mut bytes = Vec::new();
    let (at, body) = match (read_head(&stream, &mut bytes, end), sent) {
        (Ok(found), _) => found,
        // Who refuses a request need not have read all of it; else why it was not sent says more.
        (Err(_), Err(error)) => return Err(error.into()),
        (Err(failed), Ok(())) => return Err(failed),
    };
    let rest = bytes.split_off(body);
    bytes.truncate(at);
    let (status, headers) = parse(&bytes)?;
    Ok(Response { status, headers, stream, bytes: rest, end })
}

/// Where the head of an answer ends, and where its body begins.
fn read_head(
    stream: &TcpStream,
    bytes: &mut Vec<u8>,
    end: Instant,
) -> Result<(usize, usize), Failed> {
    loop {
        match head::end(bytes) {
            Some(found) if found.0 <= HEAD_BYTES => return Ok(found),
            None if bytes.len() <= HEAD_BYTES => {}
            _ => return Err(not_http("its head is too long")),
        }
        if more(stream, bytes, end)? == 0 {
            return Err(match bytes.is_empty() {
                true => Failed::Lost(ErrorKind::UnexpectedEof.into()),
                false => not_http("it is cut off"),
            });
        }
    }
}

/// What the beginning of an answer says to who asked for another protocol.
#[derive(Debug)]
pub enum Switched {
    /// More has to come.
    Unknown,
    /// What follows so many bytes is the other protocol's.
    At(usize),
    /// The status, and what there is of the body.
    Refused(u16, String),
}

/// Reads the beginning of an answer that came another way than by [`ask`].
pub fn switched(bytes: &[u8], to: &str) -> Result<Switched, Failed> {
    let Some((at, body)) = head::end(bytes).filter(|found| found.0 <= HEAD_BYTES) else {
        let is_long = bytes.len() > HEAD_BYTES;
        return if is_long { Err(not_http("its head is too long")) } else { Ok(Switched::Unknown) };
    };
    let (status, headers) = parse(bytes.get(..at).unwrap_or_default())?;
    if status == SWITCHED {
        let is_meant = headers.only("upgrade") == Ok(Some(to));
        let other = || not_http("it is another protocol");
        return is_meant.then_some(Switched::At(body)).ok_or_else(other);
    }
    let rest = bytes.get(body..).unwrap_or_default();
    let length = headers.content_length().ok().flatten().unwrap_or(0).min(HEAD_BYTES);
    let text = || String::from_utf8_lossy(rest).into_owned();
    let is_whole = rest.len() >= length;
    Ok(if is_whole { Switched::Refused(status, text()) } else { Switched::Unknown })
}

fn parse(bytes: &[u8]) -> Result<(u16, Headers), Failed> {
    let (first, headers) = head::parse(bytes).map_err(|_| not_http("its head is not valid"))?;
    let mut words = first.split(' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    match status.parse::<u16>() {
        Ok(status)
            if digits
                && (status >= 200 || status == SWITCHED)
                && version.starts_with("HTTP/1.") =>
        {
            Ok((status, headers))
        }
        _ => Err(not_http("its first line is not valid")),
    }
}

/// What is left until `end`, if anything.
fn left(end: Instant) -> Result<Duration, Failed> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Failed::Late) } else { Ok(left) }
}

/// Reads what is there, and waits for it until `end`. 0 at the end of the connection.
fn more(mut stream: &TcpStream, bytes: &mut Vec<u8>, end: Instant) -> Result<usize, Failed> {
    let mut piece = [0; PIECE];
    loop {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
            Ok(read) => {
                bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
                return Ok(read);
            }
        }
    }
}

impl Response {
    /// The connection, and what came on it already, if it is the other protocol's from now on.
    pub fn switched(self, to: &str) -> Result<(TcpStream, Vec<u8>), Response> {
        match self.status == SWITCHED && self.headers.only("upgrade") == Ok(Some(to)) {
            true => Ok((self.stream, self.bytes)),
            false => Err(self),
        }
    }

    pub fn is_stream(&self) -> bool {
        self.headers.only("content-type") == Ok(Some("application/x-ndjson"))
    }

    /// The whole body.
    pub fn text(mut self) -> Result<String, Failed> {
        if self.headers.has("transfer-encoding") {
            return Err(not_http("it is in another encoding"));
        }
        let length = self.headers.content_length();
        let length = length.map_err(|_| not_http("its length is not valid"))?;
        if length.is_some_and(|length| length > BODY_BYTES) {
            return Err(not_http("it is too long"));
        }
        while length.is_none_or(|length| self.bytes.len() < length) {
            if more(&self.stream, &mut self.bytes, self.end)? == 0 {
                break;
            }
            if self.bytes.len() > BODY_BYTES + PIECE {
                return Err(not_http("it is too long"));
            }
        }
        if let Some(length) = length {
            if self.bytes.len() < length {
                return Err(not_http("it is cut off"));
            }
            self.bytes.truncate(length);
        }
        String::from_utf8(self.bytes).map_err(|_| not_http("it is not UTF-8"))
    }

    /// The lines of a stream.
    pub fn lines(self) -> Lines {
        Lines { stream: self.stream, bytes: self.bytes }
    }
}

/// Lines as they come. Dropped, the connection ends, and with it what makes them.
pub struct Lines {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end of the connection. Empty lines only say that it lives.
    pub fn next_line(&mut self) -> Result<Option<String>, Failed> {
        let mut seen = 0;
        let mut end = Instant::now() + SILENCE;
        loop {
            if let Some(line) = line::take(&mut self.bytes, seen) {
                seen = 0;
                if line.is_empty() {
                    continue;
                }
                let line = String::from_utf8(line).map_err(|_| not_http("it is not UTF-8"))?;
                return Ok(Some(line));
            }
            seen = self.bytes.len();
            if seen > LINE_BYTES {
                return Err(not_http("a line is too long"));
            }
            if more(&self.stream, &mut self.bytes, end)? == 0 {
                return if seen == 0 { Ok(None) } else { Err(not_http("a line is cut off")) };
            }
            end = Instant::now() + SILENCE;
        }
    }

    /// Ends it from another thread.
    pub fn canceller(&self) -> io::Result<Canceller> {
        self.stream.try_clone().map(Canceller)
    }
}

/// Ends a stream, whoever waits for its next line.
pub struct Canceller(TcpStream);

impl Canceller {
    pub fn cancel(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn a_refusal_is_heard_also_of_what_was_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        });
        let body = "x".repeat(32 * 1024 * 1024);
        let (method, path, host, body) = ("POST", "/x", "h:1", Some(body.as_str()));
        let request = Request { method, path, host, bearer: None, upgrade: None, body };
        let end = Instant::now() + Duration::from_secs(30);
        let answer = ask(TcpStream::connect(at).unwrap(), &request, end).unwrap();
        assert_eq!((answer.status, answer.text().unwrap().as_str()), (413, "{}"));
        server.join().unwrap();
    }

    /// What becomes of an answer with these bytes, after which the connection ends.
    fn told(bytes: Vec<u8>) -> Result<(u16, String), Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).unwrap();
            let _ = stream.write_all(&bytes);
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let request = Request {
            method: "POST",
            path: "/x",
            host: "h:1",
            bearer: Some("t"),
            upgrade: None,
            body: Some("{}"),
        };
        let end = Instant::now() + Duration::from_secs(5);
        let stream = TcpStream::connect(at).unwrap();
        let answer = ask(stream, &request, end).and_then(|it| Ok((it.status, it.text()?)));
        let asked = server.join().unwrap();
        let agent = concat!("User-Agent: hop/", env!("CARGO_PKG_VERSION"));
        let expected = format!(
            "POST /x HTTP/1.1\r\nHost: h:1\r\n{agent}\r\nAuthorization: Bearer t\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        assert_eq!(asked, expected);
        answer
    }

    #[test]
    fn an_answer_is_what_it_says_or_none() {
        let fine = |text: &str| told(text.as_bytes().to_vec()).unwrap();
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay";
        assert_eq!(fine(length), (200, "ok".to_owned()));
        assert_eq!(fine("HTTP/1.0 502 x y\r\nA: b\r\n\r\npage"), (502, "page".to_owned()));
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(BODY_BYTES + 2 * PIECE));
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nokay",
            "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\nokay",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nokay",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            &long,
            &endless,
        ] {
            let shown = bad.get(..40).unwrap_or(bad);
            assert!(matches!(told(bad.into()), Err(Failed::NotHttp(_))), "{shown:?}");
        }
        assert!(matches!(told(Vec::new()), Err(Failed::Lost(_))));
        assert!(matches!(told(b"HTTP/1.1 200 OK\r\n\r\n\xff".to_vec()), Err(Failed::NotHttp(_))));
    }
}
