//! The agent's socket on its own machine, for `hop-agent` itself: the methods of `/rpc`, one JSON
//! line each way. Whoever may enter the state directory, root and the agent's user, may ask.
//!
//! Bounds: those of a line socket; an answer of 256 KiB within 12 s, of a look 5 s.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::backend::{Backend, Caller};
use super::dispatch::{self, Asked};
use crate::agent::joint::{lost, refusal_line};
use crate::base::failure::Failure;
use crate::base::line_socket::{self, LineSocket};
use crate::rpc::client::{self, CallError};
use crate::rpc::code::Code;
use crate::rpc::method::{AgentStatus, Method};
use crate::rpc::types::{Nothing, Status};

const FILE: &str = "agent.sock";
const ANSWER_BYTES: usize = 256 * 1024;
/// How long an answer may take: another change of the files may have to end first.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
const LOOK_LIMIT: Duration = Duration::from_secs(5);

pub struct Control(LineSocket);

impl Control {
    /// Takes the socket's place in the state directory; one that is there is of an agent that was
    /// killed: two cannot have the tunnel's address.
    pub fn bind(state_dir: &Path) -> Result<Control, Failure> {
        LineSocket::bind(&state_dir.join(FILE)).map(Control)
    }

    /// Answers whoever is there.
    pub fn serve(&self, backend: &dyn Backend) {
        for (stream, line) in self.0.asked() {
            // Whoever asks and goes away has nothing to be told.
            let _ = line.and_then(|line| line_socket::put(&stream, &answer(&line, backend)));
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn answer(line: &str, backend: &dyn Backend) -> String {
    match dispatch::call(backend, Caller::Local, line) {
        Asked::Once(Ok(result)) => json!({"result": result}).to_string(),
        Asked::Once(Err(refusal)) => refusal_line(refusal.code, &refusal.why),
        Asked::Stream(..) => refusal_line(Code::UnknownMethod.word(), "streams are for laptops"),
    }
}

/// Asks the agent that runs with this state directory: `Unreachable` when none does, `Timeout` when
/// one hangs. Root asks, too, and the directory is the agent's: it must not lead elsewhere.
pub fn ask<M: Method>(state_dir: &Path, _: M, params: &M::Params) -> Result<M::Answer, CallError> {
    asked::<M>(state_dir, params, ANSWER_LIMIT)
}

/// How it is.
pub fn look(state_dir: &Path) -> Result<Status, CallError> {
    asked::<AgentStatus>(state_dir, &Nothing, LOOK_LIMIT)
}

fn asked<M: Method>(
    dir: &Path,
    params: &M::Params,
    limit: Duration,
) -> Result<M::Answer, CallError> {
    let user = fs::symlink_metadata(dir).map_err(|error| lost(&error))?.uid();
    let (path, request) = (dir.join(FILE), client::request::<M>(params));
    let line = line_socket::ask(&path, user, &request, ANSWER_BYTES, limit);
    client::answer_in::<M>(&line.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => CallError::Timeout(limit),
        _ => lost(&error),
    })?)
}
