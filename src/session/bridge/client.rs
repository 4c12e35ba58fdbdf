//! Who asks the process of a host's bridges.
//!
//! Bounds: an answer of 1 MiB, within 5 s; a process that begins anew is waited for 10 s.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::desktop;
use super::questions::NoAnswer;
use super::state::State;
use crate::base::json::Fields;
use crate::base::line_socket;
use crate::host::paths::{self, Paths};

const ANSWER_BYTES: usize = 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(5);
const BACK: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// How it is. `None`: there is no such process, since the host is not up.
pub fn state(paths: &Paths, host: &str) -> io::Result<Option<State>> {
    let Some(mut fields) = ask(paths, host, &json!({"ask": "state"}))? else { return Ok(None) };
    let broken = |error: crate::base::json::ReadError| {
        io::Error::new(ErrorKind::InvalidData, error.to_string())
    };
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
    use ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    let user = paths.owner();
    for dir in paths.session_dirs() {
        if paths::check_private(dir, user).is_err() {
            continue;
        }
        let socket = paths::bridge_socket_in(dir, host);
        match line_socket::ask(&socket, user, &asked.to_string(), ANSWER_BYTES, LIMIT) {
            Err(error) if matches!(error.kind(), ConnectionRefused | NotFound | InvalidInput) => {}
            line => {
                let broken = |error: crate::base::json::ReadError| {
                    io::Error::new(ErrorKind::InvalidData, error.to_string())
                };
                return Fields::parse(&line?).map(Some).map_err(broken);
            }
        }
    }
    Ok(None)
}
