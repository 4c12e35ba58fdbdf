//! The agent's socket on its own machine, for `hop-agent` itself: the methods of `/rpc`, one JSON
//! line each way. Whoever may enter the state directory, root and the agent's user, may ask.
//!
//! Bounds: 8 connections a turn, a request of 4096 bytes within 500 ms, an answer of 256 KiB.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::dispatch::{self, Asked, Backend};
use super::state::Caller;
use crate::rpc::client::{self, CallError};
use crate::rpc::code::Code;
use crate::rpc::method::Method;
use crate::sys::line;

const FILE: &str = "agent.sock";
const PER_TURN: usize = 8;
const REQUEST_BYTES: usize = 4096;
const ANSWER_BYTES: usize = 256 * 1024;
const REQUEST_LIMIT: Duration = Duration::from_millis(500);
/// How long an answer may take: another change of the files may have to end first.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);

pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Takes the socket's place in the state directory; one that is there is of an agent that was
    /// killed: two cannot have the tunnel's address.
    pub fn bind(state_dir: &Path) -> io::Result<Control> {
        let path = state_dir.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Control { listener, path })
    }

    /// Answers whoever is there.
    pub fn serve(&self, backend: &dyn Backend) {
        for _ in 0..PER_TURN {
            let Ok((stream, _)) = self.listener.accept() else { return };
            // Whoever asks and goes away has nothing to be told.
            let _ = attend(&stream, backend);
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn attend(mut stream: &UnixStream, backend: &dyn Backend) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(REQUEST_LIMIT))?;
    let line = line::read(stream, REQUEST_BYTES, REQUEST_LIMIT)?;
    let answer = match dispatch::call(backend, Caller::Local, &line) {
        Asked::Once(Ok(result)) => json!({"result": result}),
        Asked::Once(Err(refusal)) => {
            json!({"error": {"code": refusal.code, "message": refusal.why}})
        }
        Asked::Stream(..) => {
            let word = Code::UnknownMethod.word();
            json!({"error": {"code": word, "message": "streams are for laptops"}})
        }
    };
    stream.write_all(format!("{answer}\n").as_bytes())
}

/// Asks the agent that runs with this state directory; `Unreachable` when none does.
pub fn ask<M: Method>(state_dir: &Path, _: M, params: &M::Params) -> Result<M::Answer, CallError> {
    let lost = |error: io::Error| CallError::Unreachable(error.to_string());
    let path = state_dir.join(FILE);
    // Root asks, too, and the directory is the agent's: it must not lead to another's socket.
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
        return Err(CallError::Protocol(format!("{} is a link", path.display())));
    }
    let mut stream = UnixStream::connect(path).map_err(lost)?;
    stream.set_write_timeout(Some(REQUEST_LIMIT)).map_err(lost)?;
    let request = client::request::<M>(params);
    stream.write_all(format!("{request}\n").as_bytes()).map_err(lost)?;
    let line = line::read(&stream, ANSWER_BYTES, ANSWER_LIMIT).map_err(lost)?;
    client::answer_in::<M>(&line)
}
