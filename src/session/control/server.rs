//! A session's end of its socket: who asks, who waits for an answer, and who for the end.
//!
//! Bounds: those of a line socket, and 32 who wait for the same; 256 who stay until the end, which
//! waits [`limits::LET_GO`] for them to let go.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::base::failure::Failure;
use crate::base::json::{Fields, ReadError};
use crate::base::line_socket::{self, LineSocket};
use crate::host::paths::{self, Paths};
use crate::session::limits;
use crate::sys::poll::{self, Interest};

/// Who may wait for an answer at a time.
const WAITING: usize = 32;

/// What is asked of a session, besides its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Facts,
    Status,
    /// The status, once it is good or has had the time to become so.
    Mended,
    Events,
    Rekey,
}

const STAYING: usize = 256;

const DOWN: &str = "down";
/// Answered at once; then the connection stays until the end begins.
pub(super) const STAY: &str = "stay";
const ASKS: [(&str, Ask); 5] = [
    ("facts", Ask::Facts),
    ("status", Ask::Status),
    ("mended", Ask::Mended),
    ("events", Ask::Events),
    ("rekey", Ask::Rekey),
];

/// A socket of a session or of a process beside it, as `place` names it in a directory: the second
/// one where the first cannot be written.
pub fn listen(
    paths: &Paths,
    name: &str,
    place: fn(&Path, &str) -> PathBuf,
) -> Result<LineSocket, Failure> {
    let listen = |dir| {
        paths::ensure_private(dir)?;
        LineSocket::bind(&place(dir, name))
    };
    let [usual, other] = paths.session_places();
    listen(usual).or_else(|_| listen(other))
}

/// The session's end of the socket.
pub struct Control {
    socket: LineSocket,
    /// Who asked for the end and waits to hear that it is reached.
    waiting: Vec<UnixStream>,
    /// Who asked for the status and waits until it is known.
    curious: Vec<UnixStream>,
    /// Who waits for a good one.
    hopeful: Vec<UnixStream>,
    /// Who uses the tunnel and wants to know when its end begins.
    staying: Vec<UnixStream>,
}

impl Control {
    /// Listens in the first place where that can be. The caller holds the session's lock, so a
    /// socket that is there belongs to a session that was killed.
    pub fn open(paths: &Paths, name: &str) -> Result<Control, Failure> {
        let socket = listen(paths, name, paths::socket_in)?;
        let (waiting, curious, hopeful) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Control { socket, waiting, curious, hopeful, staying: Vec::new() })
    }

    /// Comes back where something cleaned it away. Asked now and then.
    pub fn stay(&mut self) {
        let path = self.socket.path();
        let is_away = !self.socket.is_there();
        if is_away && path.parent().is_some_and(|dir| paths::ensure_private(dir).is_ok()) {
            if let Ok(socket) = LineSocket::bind(path) {
                self.socket = socket;
            }
        }
    }

    /// Answers whoever is there with what `reply` says; those for whom it says nothing wait for
    /// [`Control::tell_status`] or [`Control::tell_mended`]. True when somebody asked for the end.
    pub fn serve(&mut self, mut reply: impl FnMut(Ask) -> Option<Value>) -> bool {
        for (stream, line) in self.socket.asked() {
            let Some(asked) = line.ok().and_then(|line| word_in(&line).ok()) else {
                refuse(&stream, "the request is not valid");
                continue;
            };
            let ask = ASKS.iter().find(|(word, _)| *word == asked).map(|(_, ask)| *ask);
            let patient = match ask {
                None if asked == DOWN => &mut self.waiting,
                None if asked == STAY => {
                    keep(&mut self.staying, stream);
                    continue;
                }
                None => {
                    refuse(&stream, "no such request");
                    continue;
                }
                Some(Ask::Mended) => &mut self.hopeful,
                Some(_) => &mut self.curious,
            };
            match ask.and_then(&mut reply) {
                Some(data) => grant(&stream, &data),
                None if patient.len() < WAITING => patient.push(stream),
                None => refuse(&stream, "too many are asking"),
            }
        }
        !self.waiting.is_empty()
    }

    /// Answers all who wait for the status.
    pub fn tell_status(&mut self, status: &Value) {
        self.curious.drain(..).for_each(|stream| grant(&stream, status));
    }

    /// Answers all who wait for a good one.
    pub fn tell_mended(&mut self, status: &Value) {
        self.hopeful.drain(..).for_each(|stream| grant(&stream, status));
    }

    /// Tells those who use the tunnel that its end begins, and waits until they have let go.
    pub fn begin_end(&mut self) {
        let end = Instant::now() + limits::LET_GO;
        self.staying.retain(|stream| !has_gone(stream));
        for stream in &self.staying {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let is_any = !self.staying.is_empty();
        for stream in self.staying.drain(..) {
            let left = end.saturating_duration_since(Instant::now());
            let _ = poll::wait_one(stream.as_fd(), Interest::READ, Some(left));
        }
        if is_any {
            // Their last words are on the way through the tunnel.
            thread::sleep(limits::LAST_WORDS);
        }
    }

    /// Nobody can connect any more; whoever asked for the end can be told so by [`Farewell`].
    pub fn close(self) -> Farewell {
        Farewell(self.waiting)
    }

    #[cfg(test)]
    pub fn path(&self) -> &std::path::Path {
        self.socket.path()
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Those who wait for the end.
pub struct Farewell(Vec<UnixStream>);

impl Farewell {
    /// Tells them. Last act of a session: the lock is free by now.
    pub fn tell(self) {
        self.0.iter().for_each(|stream| grant(stream, &json!({"state": "down"})));
    }
}

/// Until the end.
fn keep(staying: &mut Vec<UnixStream>, stream: UnixStream) {
    staying.retain(|stream| !has_gone(stream));
    match staying.len() < STAYING {
        true => {
            grant(&stream, &json!({"state": STAY}));
            staying.push(stream);
        }
        false => refuse(&stream, "too many are there"),
    }
}

/// Who stays says nothing more, but that it has gone.
fn has_gone(stream: &UnixStream) -> bool {
    poll::look(stream.as_fd(), Interest::READ).any()
}

fn word_in(line: &str) -> Result<String, ReadError> {
    let mut fields = Fields::parse(line)?;
    fields.int::<u32>("v", 1..=1)?;
    let asked = fields.string("ask")?;
    fields.finish().map(|()| asked)
}

/// Whoever asked and has gone has nothing to be told.
fn grant(stream: &UnixStream, data: &Value) {
    let _ = answer(stream, &json!({"ok": true, "data": data}));
}

fn refuse(stream: &UnixStream, why: &str) {
    let _ = answer(stream, &json!({"ok": false, "error": why}));
}

fn answer(stream: &UnixStream, answer: &Value) -> io::Result<()> {
    line_socket::put(stream, &answer.to_string())
}
