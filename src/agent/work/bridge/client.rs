//! A program of the login's asks this agent for something of a laptop: over the socket, or over
//! loopback where a sandbox knows no such sockets.
//!
//! Bounds: half a second until somebody is there; then as long as the agent says.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::bytes;
use super::place::{Here, Place, namespaces};
use super::wire::{self, REPLY_BYTES, Reply, Request, Side, nonce};
use crate::base::json::Fields;
use crate::base::line_socket::{self, put};
use crate::rpc::types::Message;
use crate::rpc::types::bridge::What;
use crate::sys::line::Lines;
use crate::sys::{loopback, process};

const THERE_WITHIN: Duration = Duration::from_millis(500);
const BYTES_WITHIN: Duration = Duration::from_secs(5);
/// Whoever puts no limit of its own waits for a person.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why nobody was asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Unheard {
    /// The agent is there, and this program is cut off from it.
    Sandbox,
    Absent,
    /// It was there, and is no more.
    Lost,
    /// The caller's own time is over.
    Late,
}

/// Asks, with the bytes of a copy; the reply, with those of a paste.
pub fn ask(
    what: &What,
    copied: &[u8],
    limit: Option<Duration>,
) -> Result<(Reply, Vec<u8>), Unheard> {
    let end = Instant::now() + limit.unwrap_or(FOR_EVER);
    let mut sandboxed = false;
    for place in Place::candidates() {
        let here = place.read();
        let Some((mut lines, proof)) = connect(&place, here.as_ref()) else {
            sandboxed |= is_elsewhere(&place, here.as_ref());
            continue;
        };
        return talk(&mut lines, Request { what: what.clone(), proof }, copied, end).map_err(
            |error| match error.kind() {
                ErrorKind::TimedOut => Unheard::Late,
                _ => Unheard::Lost,
            },
        );
    }
    Err(if sandboxed { Unheard::Sandbox } else { Unheard::Absent })
}

/// Where the laptop's browser answers, if it does.
pub fn browser() -> Option<u16> {
    Place::candidates().iter().find_map(|place| place.read()?.browser)
}

type Connected = (Lines<UnixStream>, Option<String>);

fn connect(place: &Place, here: Option<&Here>) -> Option<Connected> {
    if let Ok(stream) = line_socket::connect(&place.socket(), process::uid(), THERE_WITHIN) {
        return Some((Lines::new(stream, REPLY_BYTES), None));
    }
    let (port, secret) = here?.tcp.as_ref()?;
    by_loopback(*port, secret).ok()
}

/// Whoever listens there shows first that they have read the file, too.
fn by_loopback(port: u16, secret: &str) -> io::Result<Connected> {
    let stream = loopback::connect_local(port, THERE_WITHIN)?;
    stream.set_write_timeout(Some(THERE_WITHIN))?;
    let ours = nonce()?;
    put(&stream, &wire::nonce_line(&ours))?;
    let mut lines = Lines::new(stream, REPLY_BYTES);
    let line = lines.next(THERE_WITHIN, None)?;
    let read = || -> Option<(String, String)> {
        let mut fields = Fields::parse(&line).ok()?;
        Some((fields.string("proof").ok()?, fields.string("nonce").ok()?))
    };
    match read() {
        Some((proof, theirs)) if proof == wire::proof(Side::Agent, secret, &ours) => {
            Ok((lines, Some(wire::proof(Side::Program, secret, &theirs))))
        }
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn talk(
    lines: &mut Lines<UnixStream>,
    request: Request,
    copied: &[u8],
    end: Instant,
) -> io::Result<(Reply, Vec<u8>)> {
    put(lines.stream(), &request.to_json().to_string())?;
    // Who refuses it reads no further.
    let sent = bytes::put(lines.stream(), copied, BYTES_WITHIN);
    let line = lines.next(end.saturating_duration_since(Instant::now()), None);
    let line = line.map_err(|error| sent.err().unwrap_or(error))?;
    let bad = |_| io::Error::from(ErrorKind::InvalidData);
    let mut fields = Fields::parse(&line).map_err(bad)?;
    let reply = Reply::read(&mut fields).map_err(bad)?;
    let pasted = match reply {
        Reply::Pasted(count) => rest(lines, count)?,
        _ => Vec::new(),
    };
    Ok((reply, pasted))
}

/// What follows the line, some of which may have been read with it.
fn rest(lines: &mut Lines<UnixStream>, count: usize) -> io::Result<Vec<u8>> {
    let stream = lines.stream().try_clone()?;
    let (_, first) = std::mem::replace(lines, Lines::new(stream.try_clone()?, 0)).into_parts();
    bytes::exactly(&stream, first, count, BYTES_WITHIN)
}

/// The agent runs, as its file says, where this program does not; or its files are there and it
/// cannot be reached, although its process can be seen by nobody here.
fn is_elsewhere(place: &Place, here: Option<&Here>) -> bool {
    match here {
        Some(here) => here.namespaces != namespaces() || is_cut_off(place),
        None => false,
    }
}

/// It listens, and this process may not speak to it.
fn is_cut_off(place: &Place) -> bool {
    let tried = line_socket::connect(&place.socket(), process::uid(), THERE_WITHIN);
    tried.is_err_and(|error| {
        let by_rule = [libc::EPERM, libc::EACCES, libc::EAFNOSUPPORT, libc::ENOSYS];
        error.raw_os_error().is_some_and(|number| by_rule.contains(&number))
    })
}
