//! Who asks the process of a host's bridges.
//!
//! Bounds: an answer of 1 MiB, within 5 s; a process that begins anew is waited for 10 s.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::desktop;
use super::questions::NoAnswer;
use super::state::State;
use crate::base::json::{Fields, ReadError};
use crate::base::line_socket;
use crate::host::paths::{self, Paths};
use crate::sys::line::Lines;

const ANSWER_BYTES: usize = 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(5);
const BACK: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// How it is. `None`: there is no such process, since the host is not up.
pub fn state(paths: &Paths, host: &str) -> io::Result<Option<State>> {
    let Some(mut fields) = ask(paths, host, &json!({"ask": "state"}))? else { return Ok(None) };
    State::read(&mut fields).map(Some).map_err(broken)
}

/// Whether it was heard; `None` as above.
pub fn answer(
    paths: &Paths,
    host: &str,
    number: u32,
    place: usize,
) -> io::Result<Option<Result<(), NoAnswer>>> {
    let asked = json!({"ask": "answer", "id": number, "place": place});
    let Some(mut fields) = ask(paths, host, &asked)? else { return Ok(None) };
    Ok(Some(match fields.take("error").as_ref().and_then(Value::as_str) {
        None => Ok(()),
        Some("option") => Err(NoAnswer::NoOption),
        Some(_) => Err(NoAnswer::NoQuestion),
    }))
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// It is copied, or not allowed, or somebody here is asked.
    Heard,
    /// No program here takes it.
    NoClipboard,
}

/// Copies this text, as the policy says; `None`: there is no process that does.
///
/// # Errors
/// Those of the socket; `TimedOut` where the clipboard here takes longer than 5 s.
pub fn copy(paths: &Paths, host: &str, text: &[u8]) -> io::Result<Option<Copied>> {
    let asked = json!({"ask": "copy", "bytes": text.len()});
    let Some((stream, mut fields)) = begin(paths, host, &asked)? else { return Ok(None) };
    // It is of an older hop.
    if fields.take("error").is_some() {
        return Ok(None);
    }
    if fields.take("send").is_some() {
        (&stream).write_all(text)?;
        fields = answered(&stream)?;
    }
    let is_done = fields.take("failed").is_none();
    Ok(Some(if is_done { Copied::Heard } else { Copied::NoClipboard }))
}

/// Begins anew, on the desktop that this process is on, and is there again. False: there was none.
///
/// # Errors
/// Those of the socket; `TimedOut` where it is not back after 10 s.
pub fn restart(paths: &Paths, host: &str) -> io::Result<bool> {
    let asked = json!({"ask": "restart", "desktop": desktop::here()});
    if ask(paths, host, &asked)?.is_none() {
        return Ok(false);
    }
    let end = Instant::now() + BACK;
    while state(paths, host)?.is_none() {
        if Instant::now() >= end {
            return Err(io::Error::new(ErrorKind::TimedOut, "it did not come back within 10 s"));
        }
        thread::sleep(PAUSE);
    }
    Ok(true)
}

fn ask(paths: &Paths, host: &str, asked: &Value) -> io::Result<Option<Fields>> {
    Ok(begin(paths, host, asked)?.map(|(_, fields)| fields))
}

/// The connection, too, for what comes after the first answer.
fn begin(paths: &Paths, host: &str, asked: &Value) -> io::Result<Option<(UnixStream, Fields)>> {
    use ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    let user = paths.owner();
    for dir in paths.session_dirs() {
        if paths::check_private(dir, user).is_err() {
            continue;
        }
        let socket = paths::bridge_socket_in(dir, host);
        match line_socket::connect(&socket, user, LIMIT) {
            Err(error) if matches!(error.kind(), ConnectionRefused | NotFound | InvalidInput) => {}
            stream => {
                let stream = stream?;
                line_socket::put(&stream, &asked.to_string())?;
                let fields = answered(&stream)?;
                return Ok(Some((stream, fields)));
            }
        }
    }
    Ok(None)
}

fn answered(stream: &UnixStream) -> io::Result<Fields> {
    let line = Lines::new(stream, ANSWER_BYTES).next(LIMIT, None)?;
    Fields::parse(&line).map_err(broken)
}

fn broken(error: ReadError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}
