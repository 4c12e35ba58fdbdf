//! What `front` may ask for: name → function.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::run;
use crate::agent::joint::BEAT;
use crate::base::json::{Fields, ReadError};
use crate::base::line_socket::put;
use crate::rpc::VERSION;
use crate::rpc::code::Code;
use crate::rpc::method::{AgentClock, Method, RUN_START, Stream, WorkVersion};
use crate::rpc::types::run::Run;
use crate::rpc::types::{Clock, Message, Nothing, Tick, WorkProcess};
use crate::sys::poll::{self, Interest};

/// A call that is not done.
pub struct Refused {
    pub code: Code,
    pub why: String,
}

fn refused(code: Code) -> impl Fn(ReadError) -> Refused {
    move |error| Refused { code, why: error.to_string() }
}

/// Does what a request's line asks for. The last line of the answer, if it is not given by another
/// process; events go to `stream`.
pub fn call(request: &str, stream: &UnixStream) -> Result<Option<String>, Refused> {
    let bad = refused(Code::BadParams);
    let mut fields = Fields::parse(request).map_err(&bad)?;
    let name = fields.string("method").map_err(&bad)?;
    // Who asks `front`; no method needs it yet.
    fields.take("caller");
    let frames = matches!(fields.take("frames"), Some(Value::Bool(true)));
    let params = fields.take("params").unwrap_or(Value::Object(Map::new()));
    fields.finish().map_err(&bad)?;
    let params = Fields::of(params, "params").map_err(&bad)?;
    let result = match name.as_str() {
        WorkVersion::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            WorkProcess { version: VERSION.to_owned(), pid: std::process::id() }.to_json()
        }
        AgentClock::NAME => {
            clock(&Clock::read_strictly(params).map_err(&bad)?, stream);
            json!({})
        }
        RUN_START => {
            let asked = Run::read_strictly(params).map_err(&bad)?;
            return start(&asked, frames, stream).map(|()| None);
        }
        _ => {
            let why = format!("no method {name:?}");
            return Err(Refused { code: Code::UnknownMethod, why });
        }
    };
    Ok(Some(json!({"result": result}).to_string()))
}

/// Until it has ended.
fn start(asked: &Run, frames: bool, stream: &UnixStream) -> Result<(), Refused> {
    if !frames && asked.terminal.is_some() {
        let why = "a terminal needs a connection both ways (Upgrade: hopbox-run)".to_owned();
        return Err(Refused { code: Code::BadParams, why });
    }
    let started = stream.try_clone().and_then(|stream| run::run(asked, frames, stream));
    started.map_err(|error| Refused { code: Code::Failed, why: error.to_string() })
}

/// The time of this machine, every so often.
fn clock(asked: &Clock, stream: &UnixStream) {
    let every = Duration::from_millis(asked.interval_ms);
    let mut next = Instant::now();
    for n in 1..=asked.count {
        if !wait_until(next, stream) {
            return;
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let event = json!({"event": Tick { n, unix_ms }.to_json()});
        if put(stream, &event.to_string()).is_err() {
            return;
        }
        next += every;
    }
}

/// False when the other side has gone: it has nothing more to say.
fn wait_until(moment: Instant, stream: &UnixStream) -> bool {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        match poll::wait_one(stream.as_fd(), Interest::READ, Some(left.min(BEAT))) {
            Ok(false) => {}
            _ => return false,
        }
        if left > BEAT && put(stream, "").is_err() {
            return false;
        }
    }
}
