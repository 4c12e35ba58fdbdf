//! Where the agent's two processes meet: a socket in the state directory, at which `work` listens
//! and `front` asks. One connection a call. A request is a line of JSON,
//! `{"caller":KEY|null,"address":OWN?,"api_port":OWN?,"method":NAME,"params":{…}}`; the answer is a
//! line `{"result":…}` or `{"error":{"code":…,"message":…}}`, before which a method that streams
//! sends lines `{"event":…}`.
//! A side that has gone has closed its end: whoever asked goes, and what was asked for ends.
//!
//! A request with `"frames":true` asks for a connection both ways: the answer is the line
//! [`FRAMES_FOLLOW`] and then frames, or an error.
//!
//! A request that comes with a descriptor (SCM_RIGHTS) gives a laptop's connection away: what was
//! read of it follows the line, to the end. Whatever is answered, `work` answers on that one.
//!
//! Both sides look at who the other is (SO_PEERCRED) before the first byte: the agent's own user,
//! and nobody else, not even root.
//!
//! Bounds: a request of 1 MiB and its frame within 2 s, a line of an answer of 1 MiB, 2 s for one
//! that is no stream, 8 s for the beginning of one both ways; of a stream 15 s of silence, in which
//! `work` has sent an empty line.

use std::io::{self, ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::json::Fields;
use crate::base::line_socket;
use crate::http::service::Given;
use crate::http::stream::Sink;
use crate::http::{BODY_BYTES, HEAD_BYTES, LINE_BYTES};
use crate::rpc::client::{self, CallError};
use crate::rpc::method::Method;
use crate::rpc::types::{Message, PublicKey};
use crate::sys::line::Lines;
use crate::sys::poll::Interest;
use crate::sys::{cmsg, process};

/// In the state directory.
pub const FILE: &str = "agent.work.sock";
pub const REQUEST_BYTES: usize = BODY_BYTES + 4096;
/// What may have been read of a connection that is given away.
pub const FIRST_BYTES: usize = HEAD_BYTES;
pub const REQUEST_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// For a process that is started, on a machine that has other things to do.
const START_LIMIT: Duration = Duration::from_secs(8);
/// How often a stream that has nothing to say says that.
pub const BEAT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(15);

/// The first line of an answer after which frames follow, both ways (`rpc::frames`).
pub const FRAMES_FOLLOW: &str = "{\"frames\":1}";

pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// The process with the login's rights, as it is asked.
#[derive(Clone)]
pub struct Work {
    socket: PathBuf,
    /// The tunnel's on this machine, and the port of it at which this process listens itself.
    address: Option<Ipv4Addr>,
    api_port: Option<u16>,
}

impl Work {
    /// Of the agent with this state directory.
    pub fn at(state_dir: &Path) -> Work {
        Work { socket: path(state_dir), address: None, api_port: None }
    }

    /// Where its services publish their ports, and which of them is the API's.
    pub fn with_address(self, address: Ipv4Addr, api_port: Option<u16>) -> Work {
        Work { address: Some(address), api_port, ..self }
    }

    fn ask(&self, request: &Value) -> Result<Lines<UnixStream>, CallError> {
        let stream = line_socket::connect(&self.socket, process::uid(), REQUEST_LIMIT);
        let asked = stream.and_then(|stream| {
            line_socket::put(&stream, &request.to_string())?;
            Ok(Lines::new(stream, LINE_BYTES))
        });
        asked.map_err(|error| lost(&error))
    }

    /// A method that answers once, for `caller`.
    pub fn call<M: Method>(
        &self,
        caller: Option<&PublicKey>,
        _: M,
        params: &M::Params,
    ) -> Result<M::Answer, CallError> {
        let request = self.request(caller, M::NAME, params.to_json());
        let line = self.ask(&request)?.next(ANSWER_LIMIT, None).map_err(|error| {
            let late = error.kind() == ErrorKind::TimedOut;
            if late { CallError::Timeout(ANSWER_LIMIT) } else { lost(&error) }
        })?;
        client::answer_in::<M>(&line)
    }

    /// A connection both ways for a method, and what came on it already; or the line that refuses
    /// it, or says that `work` is not there.
    pub fn frames(
        &self,
        caller: Option<&PublicKey>,
        method: &str,
        params: Value,
    ) -> Result<(UnixStream, Vec<u8>), String> {
        let mut request = self.request(caller, method, params);
        request["frames"] = json!(true);
        let mut lines = self.ask(&request).map_err(|error| absent(&error))?;
        let first = lines.next(START_LIMIT, None).map_err(|error| absent(&lost(&error)))?;
        if first == FRAMES_FOLLOW { Ok(lines.into_parts()) } else { Err(first) }
    }

    /// Gives a connection away for a method; or the line that says that `work` is not there.
    pub fn hand(
        &self,
        caller: Option<&PublicKey>,
        method: &str,
        params: Value,
        given: &Given,
    ) -> Result<(), String> {
        let line = format!("{}\n", self.request(caller, method, params));
        let stream = line_socket::connect(&self.socket, process::uid(), REQUEST_LIMIT);
        let handed = stream.and_then(|mut stream| {
            cmsg::send(&stream, line.as_bytes(), given.stream.as_fd())?;
            stream.write_all(&given.first)
        });
        handed.map_err(|error| absent(&lost(&error)))
    }

    fn request(&self, caller: Option<&PublicKey>, method: &str, params: Value) -> Value {
        let caller = caller.map(|key| crate::base::key::encode(key).to_string());
        let address = self.address.map(|address| address.to_string());
        let mut request = json!({"caller": caller, "method": method, "params": params});
        address.into_iter().for_each(|address| request["address"] = json!(address));
        self.api_port.into_iter().for_each(|port| request["api_port"] = json!(port));
        request
    }

    /// What a method that streams sends, for `caller`, until it ends or nobody takes it any more.
    /// The last line says how it ended, whatever became of the other process.
    pub fn relay(&self, caller: Option<&PublicKey>, method: &str, params: Value, to: &Sink) {
        let request = self.request(caller, method, params);
        let failed = |error: &CallError| {
            let _ = to.send(&absent(error));
        };
        let mut lines = match self.ask(&request) {
            Ok(lines) => lines,
            Err(error) => return failed(&error),
        };
        loop {
            match lines.next(SILENCE, Some((to.as_fd(), Interest::READ))) {
                Ok(line) if line.is_empty() => {}
                Ok(line) => {
                    let is_last = !is_event(&line);
                    if to.send(&line).is_err() || is_last {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return,
                Err(error) => return failed(&lost(&error)),
            }
        }
    }
}

/// A process at a socket of the agent's that is not there, or somebody else's.
pub fn lost(error: &io::Error) -> CallError {
    match error.kind() {
        ErrorKind::InvalidData => CallError::Protocol(error.to_string()),
        _ => CallError::Unreachable(error.to_string()),
    }
}

fn absent(error: &CallError) -> String {
    refusal_line("work_absent", &format!("the agent's work does not answer: {error}"))
}

fn is_event(line: &str) -> bool {
    // As `work` writes it; there may be hundreds of thousands a second.
    line.starts_with("{\"event\":")
        || Fields::parse(line).is_ok_and(|mut fields| fields.take("event").is_some())
}

pub fn refusal_line(code: &str, why: &str) -> String {
    json!({"error": {"code": code, "message": why}}).to_string()
}
