//! Where the agent's two processes meet: a socket in the state directory, at which `work` listens
//! and `front` asks. One connection a call. A request is a line of JSON,
//! `{"caller":KEY|null,"method":NAME,"params":{…}}`; the answer is a line `{"result":…}` or
//! `{"error":{"code":…,"message":…}}`, before which a method that streams sends lines `{"event":…}`.
//! A side that has gone has closed its end: whoever asked goes, and what was asked for ends.
//!
//! Both sides look at who the other is (SO_PEERCRED) before the first byte: the agent's own user,
//! and nobody else, not even root.
//!
//! Bounds: a request of 1 MiB and its frame within 2 s, a line of an answer of 1 MiB, 2 s for one
//! that is no stream; of a stream 15 s of silence, in which `work` has sent an empty line.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::base::json::Fields;
use crate::http::stream::Sink;
use crate::http::{BODY_BYTES, LINE_BYTES};
use crate::rpc::client::{self, CallError};
use crate::rpc::method::Method;
use crate::rpc::types::{Message, PublicKey};
use crate::sys::poll::{self, Interest};
use crate::sys::{cmsg, line, process};

/// In the state directory.
pub const FILE: &str = "agent.work.sock";
pub const REQUEST_BYTES: usize = BODY_BYTES + 4096;
pub const REQUEST_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How often a stream that has nothing to say says that.
pub const BEAT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(15);
const PIECE: usize = 16 * 1024;

pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// Whether the process at the other end is of this process's user.
pub fn is_own(stream: &UnixStream) -> bool {
    cmsg::peer_uid(stream).is_ok_and(|uid| uid == process::uid())
}

/// Lines from one end, each within a size and a time.
pub struct Lines {
    stream: UnixStream,
    bytes: Vec<u8>,
    most: usize,
}

impl Lines {
    pub fn new(stream: UnixStream, most: usize) -> Lines {
        Lines { stream, bytes: Vec::new(), most }
    }

    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The next line, without its end. An error of the kind `Interrupted` says that `enough` is
    /// readable: nobody wants the line any more.
    pub fn next(&mut self, limit: Duration, enough: Option<&Sink>) -> io::Result<String> {
        let (end, mut seen) = (Instant::now() + limit, 0);
        loop {
            if let Some(line) = line::take(&mut self.bytes, seen) {
                return String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into());
            }
            seen = self.bytes.len();
            if seen > self.most {
                return Err(ErrorKind::InvalidData.into());
            }
            let mut fds = vec![(self.stream.as_fd(), Interest::READ)];
            fds.extend(enough.map(|sink| (sink.as_fd(), Interest::READ)));
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            let mut ready = Vec::with_capacity(2);
            poll::wait(&fds, &mut ready, Some(left))?;
            if ready.get(1).is_some_and(|ready| ready.any()) {
                return Err(ErrorKind::Interrupted.into());
            }
            if ready.first().is_some_and(|ready| ready.any()) {
                self.more()?;
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match (&self.stream).read(&mut piece) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The process with the login's rights, as it is asked.
#[derive(Clone)]
pub struct Work(PathBuf);

impl Work {
    /// Of the agent with this state directory.
    pub fn at(state_dir: &Path) -> Work {
        Work(path(state_dir))
    }

    fn ask(&self, request: &Value) -> Result<Lines, CallError> {
        let lost = |error: io::Error| CallError::Unreachable(error.to_string());
        let stream = cmsg::connect_unix(&self.0, REQUEST_LIMIT).map_err(lost)?;
        if !is_own(&stream) {
            return Err(CallError::Protocol("another user listens at its socket".to_owned()));
        }
        stream.set_write_timeout(Some(REQUEST_LIMIT)).map_err(lost)?;
        (&stream).write_all(format!("{request}\n").as_bytes()).map_err(lost)?;
        Ok(Lines::new(stream, LINE_BYTES))
    }

    /// A method that answers once.
    pub fn call<M: Method>(&self, _: M, params: &M::Params) -> Result<M::Answer, CallError> {
        let request = json!({"caller": null, "method": M::NAME, "params": params.to_json()});
        let line = self.ask(&request)?.next(ANSWER_LIMIT, None).map_err(|error| {
            let late = error.kind() == ErrorKind::TimedOut;
            if late { CallError::Timeout(ANSWER_LIMIT) } else { broken(&error) }
        })?;
        client::answer_in::<M>(&line)
    }

    /// What a method that streams sends, for `caller`, until it ends or nobody takes it any more.
    /// The last line says how it ended, whatever became of the other process.
    pub fn relay(&self, caller: Option<&PublicKey>, method: &str, params: Value, to: &Sink) {
        let caller = caller.map(|key| crate::base::key::encode(key).to_string());
        let request = json!({"caller": caller, "method": method, "params": params});
        let failed = |error: &CallError| {
            let why = format!("the agent's work does not answer: {error}");
            let _ = to.send(&refusal_line("work_absent", &why));
        };
        let mut lines = match self.ask(&request) {
            Ok(lines) => lines,
            Err(error) => return failed(&error),
        };
        loop {
            match lines.next(SILENCE, Some(to)) {
                Ok(line) if line.is_empty() => {}
                Ok(line) => {
                    let is_last = !is_event(&line);
                    if to.send(&line).is_err() || is_last {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return,
                Err(error) => return failed(&broken(&error)),
            }
        }
    }
}

fn broken(error: &io::Error) -> CallError {
    CallError::Unreachable(error.to_string())
}

fn is_event(line: &str) -> bool {
    Fields::parse(line).is_ok_and(|mut fields| fields.take("event").is_some())
}

pub fn refusal_line(code: &str, why: &str) -> String {
    json!({"error": {"code": code, "message": why}}).to_string()
}

/// Sends a line. Waits as long as the other side takes nothing: it ends when that side does.
pub fn put(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}
