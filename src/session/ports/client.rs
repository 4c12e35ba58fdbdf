//! Who asks the mirror of a host, at its socket beside the session's.
//!
//! Bounds: an answer of 8 MiB; 5 s for one; a mirror that is not there, while its session is, is
//! waited for 6 s, as it is started again then.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::view::{MirrorAsk, MirrorEvent, MirrorView, MirrorViews, PortChange};
use crate::base::json::{Fields, ReadError};
use crate::base::line_socket;
use crate::host::paths::{self, Paths};
use crate::rpc::types::Message;
use crate::session::{control, unread};
use crate::sys::line::Lines;
use crate::sys::poll::Interest;

const ANSWER_BYTES: usize = 8 * 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(5);
const COMES_WITHIN: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(50);
/// What is watched may be silent for long.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why a mirror does not do what it was asked.
#[derive(Debug)]
pub enum MirrorError {
    /// There is no session.
    Down,
    /// The session is there, and its mirror is not.
    Absent,
    /// The mirror says why.
    Refused(String),
    Lost(io::Error),
}

impl fmt::Display for MirrorError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MirrorError::Down => out.write_str("the host is not up"),
            MirrorError::Absent => out.write_str("nothing here answers for its ports"),
            MirrorError::Refused(why) => out.write_str(why),
            MirrorError::Lost(error) => error.fmt(out),
        }
    }
}

impl From<io::Error> for MirrorError {
    fn from(error: io::Error) -> MirrorError {
        MirrorError::Lost(error)
    }
}

pub fn list(paths: &Paths, host: &str) -> Result<MirrorViews, MirrorError> {
    Ok(MirrorViews::of(ask(paths, host, &MirrorAsk::List)?.1).map_err(broken)?)
}

/// Whether ports are answered for that are not pinned; when it is so.
pub fn set_auto(paths: &Paths, host: &str, is_on: bool) -> Result<MirrorViews, MirrorError> {
    Ok(MirrorViews::of(ask(paths, host, &MirrorAsk::Auto(is_on))?.1).map_err(broken)?)
}

/// When it is so.
pub fn change(paths: &Paths, host: &str, change: PortChange) -> Result<MirrorView, MirrorError> {
    let answer = ask(paths, host, &MirrorAsk::Change(change))?.1;
    Ok(MirrorView::of(answer).map_err(broken)?)
}

/// How all of it is, and what changes of it.
pub struct Watch {
    lines: Lines<UnixStream>,
    /// Ours, if its reader may go without a word.
    output: Option<File>,
}

pub fn watch(paths: &Paths, host: &str) -> Result<(MirrorViews, Watch), MirrorError> {
    let (lines, all) = ask(paths, host, &MirrorAsk::Watch)?;
    Ok((MirrorViews::of(all).map_err(broken)?, Watch { lines, output: unread::output() }))
}

impl Watch {
    /// The next one. An error once the mirror has ended; of the kind `Interrupted` once nobody
    /// reads our standard output any more.
    pub fn next_event(&mut self) -> io::Result<MirrorEvent> {
        let output = self.output.as_ref().map(|output| (output.as_fd(), Interest::NONE));
        let line = self.lines.next(DAY, output)?;
        let mut fields = Fields::parse(&line).map_err(broken)?;
        MirrorEvent::read(&mut fields).map_err(broken)
    }
}

/// What is answered first, and where more of it comes.
fn ask(
    paths: &Paths,
    host: &str,
    ask: &MirrorAsk,
) -> Result<(Lines<UnixStream>, Value), MirrorError> {
    let end = Instant::now() + COMES_WITHIN;
    loop {
        match connect(paths, host)? {
            Some(stream) => return answered(stream, ask),
            None if !control::answers(paths, host)? => return Err(MirrorError::Down),
            None if Instant::now() >= end => return Err(MirrorError::Absent),
            None => thread::sleep(PAUSE),
        }
    }
}

fn connect(paths: &Paths, host: &str) -> io::Result<Option<UnixStream>> {
    use ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    let user = paths.owner();
    for dir in paths.session_dirs() {
        if paths::check_private(dir, user).is_err() {
            continue;
        }
        match line_socket::connect(&paths::ports_socket_in(dir, host), user, LIMIT) {
            Err(error) if matches!(error.kind(), ConnectionRefused | NotFound | InvalidInput) => {}
            stream => return stream.map(Some),
        }
    }
    Ok(None)
}

/// `{"ok":true,"data":…}`, or `{"ok":false,"error":"why"}`.
fn answered(
    stream: UnixStream,
    ask: &MirrorAsk,
) -> Result<(Lines<UnixStream>, Value), MirrorError> {
    line_socket::put(&stream, &ask.to_json().to_string())?;
    let mut lines = Lines::new(stream, ANSWER_BYTES);
    let line = lines.next(LIMIT, None)?;
    let mut fields = Fields::parse(&line).map_err(broken)?;
    match fields.take("data") {
        Some(data) => Ok((lines, data)),
        None => Err(MirrorError::Refused(fields.string("error").map_err(broken)?)),
    }
}

fn broken(error: ReadError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}
