//! One look at whether a service works: an HTTP answer, a TCP connection that lasts, or a command
//! that ends well. Whoever looks says where: it is the same for a process and for a container.
//!
//! A connection that is made proves nothing: what publishes a port of a container takes it with
//! nothing behind, and closes it. So a byte counts, or that it is still there a moment later.
//!
//! Bounds: the caller's time for all of it; 64 KiB of an answer decide and 256 KiB are read; of
//! what a command says 4 KiB are kept.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::sys::child::{self, Broken, Limits};
use crate::workspace::manifest::{Command as Line, Probe as Asked};

/// A connection that nobody has closed after this is one.
const LASTS: Duration = Duration::from_millis(100);
/// Until a status must have come.
const HEAD_BYTES: usize = 64 * 1024;
/// After the status the rest is read, so that no server complains of who asked, but not for long.
const REST_BYTES: usize = 256 * 1024;
const REST_WITHIN: Duration = Duration::from_millis(200);
const SAID_BYTES: usize = 4096;
const WHY_CHARS: usize = 200;

/// Makes the command of one look, or says why there is none.
pub type Make = Box<dyn Fn() -> Result<Command, String> + Send>;

pub enum Probe {
    /// `GET`; 2xx and 3xx are well. `host` is what the server is told of itself.
    Http {
        at: Vec<SocketAddr>,
        host: String,
        path: String,
    },
    Tcp {
        at: Vec<SocketAddr>,
    },
    /// Made anew for each look; exit status 0 is well.
    Exec(Make),
}

/// Why it is not well.
#[derive(Debug)]
pub enum Failing {
    NoConnection(io::Error),
    /// The connection was taken, and closed at once.
    Closed,
    /// In this time.
    NoAnswer(Duration),
    NotHttp,
    Status(u16),
    Command(Broken),
    /// How it ended, and what it said last.
    Ended(String),
}

impl fmt::Display for Failing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failing::NoConnection(error) => write!(out, "no connection: {error}"),
            Failing::Closed => out.write_str("its port takes connections and closes them"),
            Failing::NoAnswer(limit) => write!(out, "no answer within {} ms", limit.as_millis()),
            Failing::NotHttp => out.write_str("what answers is not HTTP"),
            Failing::Status(status) => write!(out, "HTTP status {status}"),
            Failing::Command(broken) => broken.fmt(out),
            Failing::Ended(how) => out.write_str(how),
        }
    }
}

impl Probe {
    /// What a manifest says of it, for a service whose ports are at these addresses. `exec` makes
    /// the command that runs beside it, or in its container.
    pub fn of(asked: &Asked, ips: &[IpAddr], exec: impl FnOnce(&Line) -> Make) -> Probe {
        let at = |port: u16| ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        match asked {
            Asked::Http { port, path } => {
                let host = format!("localhost:{port}");
                Probe::Http { at: at(*port), host, path: path.clone() }
            }
            Asked::Tcp { port } => Probe::Tcp { at: at(*port) },
            Asked::Exec(line) => Probe::Exec(exec(line)),
        }
    }

    /// All of it within `limit`; a command that does not end when it is asked to takes 2 s more.
    pub fn ask(&self, limit: Duration) -> Result<(), Failing> {
        let end = Instant::now() + limit;
        match self {
            Probe::Http { at, host, path } => {
                let stream = connect(at, end, limit)?;
                let asked = ask_http(&stream, host, path, end);
                asked.map_err(|error| late(error, limit))?
            }
            Probe::Tcp { at } => lasts(&connect(at, end, limit)?, end),
            Probe::Exec(make) => run(&mut make().map_err(Failing::Ended)?, limit),
        }
    }
}

/// The first of these that takes the connection.
fn connect(at: &[SocketAddr], end: Instant, limit: Duration) -> Result<TcpStream, Failing> {
    let mut first = None;
    for address in at {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failing::NoAnswer(limit));
        }
        let why = match TcpStream::connect_timeout(address, left) {
            Ok(stream) if is_to_itself(&stream) => ErrorKind::ConnectionRefused.into(),
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        first.get_or_insert(why);
    }
    let why = first.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into());
    match why.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Err(Failing::NoAnswer(limit)),
        _ => Err(Failing::NoConnection(why)),
    }
}

/// The kernel makes such a connection where nobody listens, at a port that it has also just given
/// to who connects.
pub fn is_to_itself(stream: &TcpStream) -> bool {
    stream.local_addr().ok() == stream.peer_addr().ok()
}

fn lasts(stream: &TcpStream, end: Instant) -> Result<(), Failing> {
    let wait = LASTS.min(end.saturating_duration_since(Instant::now()));
    match read_within(stream, &mut [0], wait) {
        Ok(1..) => Ok(()),
        Err(error) if is_late(&error) => Ok(()),
        Ok(0) | Err(_) => Err(Failing::Closed),
    }
}

/// What is read decides as soon as a status is there.
fn ask_http(
    mut stream: &TcpStream,
    host: &str,
    path: &str,
    end: Instant,
) -> io::Result<Result<(), Failing>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hopbox\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(left(end)?))?;
    stream.write_all(request.as_bytes())?;
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match status(&head) {
            Ok(Some(200..=399)) => break,
            Ok(Some(status)) => return Ok(Err(Failing::Status(status))),
            Ok(None) if head.len() < HEAD_BYTES => {}
            Ok(None) | Err(NotHttp) => return Ok(Err(Failing::NotHttp)),
        }
        match read_within(stream, &mut piece, left(end)?)? {
            0 if head.is_empty() => return Ok(Err(Failing::Closed)),
            0 => return Ok(Err(Failing::NotHttp)),
            count => head.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    let (enough, mut rest) = (Instant::now() + REST_WITHIN, 0);
    while let Ok(wait) = left(enough.min(end)) {
        match read_within(stream, &mut piece, wait) {
            Ok(count @ 1..) if rest < REST_BYTES => rest += count,
            _ => break,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    Ok(Ok(()))
}

struct NotHttp;

/// Of the answer that ends it: what only says that one will follow is passed over.
fn status(mut head: &[u8]) -> Result<Option<u16>, NotHttp> {
    loop {
        let known = head.len().min(b"HTTP/1.".len());
        if head.get(..known) != b"HTTP/1.".get(..known) {
            return Err(NotHttp);
        }
        let Some(line) = head.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let number = head.get(8..line).and_then(|rest| rest.strip_prefix(b" "));
        let number = number.and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
        match number {
            Some(100..=199) => {}
            Some(status @ 200..=999) => return Ok(Some(status)),
            _ => return Err(NotHttp),
        }
        let end = head.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(rest) = end.and_then(|at| head.get(at + 4..)) else { return Ok(None) };
        head = rest;
    }
}

fn run(command: &mut Command, limit: Duration) -> Result<(), Failing> {
    let limits = Limits { time: limit, bytes: SAID_BYTES };
    let done = child::run_wordy(command, limits).map_err(Failing::Command)?;
    if done.status.success() {
        return Ok(());
    }
    let how = match done.status.code() {
        Some(code) => format!("its check ended with {code}"),
        None => format!("signal {} ended its check", done.status.signal().unwrap_or_default()),
    };
    let texts = [done.stderr, done.stdout].map(|said| String::from_utf8_lossy(&said).into_owned());
    let last =
        texts.iter().find_map(|text| text.lines().map(str::trim).rfind(|line| !line.is_empty()));
    let said = last.map(|line| format!(": {}", line.chars().take(WHY_CHARS).collect::<String>()));
    Err(Failing::Ended(how + &said.unwrap_or_default()))
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn read_within(mut stream: &TcpStream, into: &mut [u8], wait: Duration) -> io::Result<usize> {
    stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
    loop {
        match stream.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

fn late(error: io::Error, limit: Duration) -> Failing {
    match error.kind() {
        _ if is_late(&error) => Failing::NoAnswer(limit),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failing::Closed,
        _ => Failing::NoConnection(error),
    }
}
