//! What `front` may ask for: name → function.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::apply;
use super::beat::{beating, has_gone, wait_until};
use super::bridge;
use super::container::address;
use super::migration;
use super::run::{self, detached};
use super::scripts;
use super::server;
use super::services::{self, Unable};
use super::snap;
use super::{logs, ports, starts, watch};
use crate::agent::joint::BEAT;
use crate::base::json::{Fields, ReadError};
use crate::base::line_socket::put;
use crate::rpc::VERSION;
use crate::rpc::code::Code;
use crate::rpc::method::{
    AgentClock, BridgeAnswer, BridgeWatch, LogsStream, Method, PortsList, PortsMapped, PortsWatch,
    RUN_START, RunDetach, RunFollow, RunList, RunStop, ServerLook, ServicesList, ServicesRestart,
    ServicesStart, ServicesStop, ServicesWatch, SnapHealth, Stream, WorkMapped, WorkVersion,
    WorkspaceApply, WorkspacePlan,
};
use crate::rpc::types::bridge::Answer;
use crate::rpc::types::logs::ReadLogs;
use crate::rpc::types::ports::Mapped;
use crate::rpc::types::run::{ListRuns, Run, RunNumber, Runs};
use crate::rpc::types::services::{OfWorkspace, ServiceName, ServiceView, Services};
use crate::rpc::types::workspace::{Apply, Wanted};
use crate::rpc::types::{Clock, Message, Nothing, Tick, WorkProcess};
use crate::sys::clock;

const TAKE_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of lines that are told together, where there are many.
const AT_ONCE: usize = 32 * 1024;
/// How often it is looked whether a file has become longer.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const MIGRATIONS: &str = "migration.";

/// A call that is not done.
pub struct Refused {
    pub code: Code,
    pub why: String,
}

pub fn refused(code: Code) -> impl Fn(ReadError) -> Refused {
    move |error| Refused { code, why: error.to_string() }
}

/// What a line asks for.
pub struct Request {
    pub method: String,
    /// Who asks `front`: a laptop's key, or nobody's on this machine.
    caller: String,
    frames: bool,
    pub params: Fields,
}

impl Request {
    /// What every request tells of this machine is taken note of.
    pub fn read(line: &str) -> Result<Request, Refused> {
        let bad = refused(Code::BadParams);
        let mut fields = Fields::parse(line).map_err(&bad)?;
        let method = fields.string("method").map_err(&bad)?;
        let caller = match fields.take("caller") {
            Some(Value::String(key)) => key,
            _ => String::new(),
        };
        // Where services publish their ports, and where `front` listens.
        let api_port = fields.opt_int("api_port", 1..=u16::MAX).map_err(&bad)?;
        if let Some(address) = fields.opt_meant("address", own_address).map_err(&bad)? {
            address::told(address).map_err(failed)?;
            ports::api_is_at(address, api_port);
        }
        let frames = matches!(fields.take("frames"), Some(Value::Bool(true)));
        let params = fields.take("params").unwrap_or(Value::Object(Map::new()));
        fields.finish().map_err(&bad)?;
        let params = Fields::of(params, "params").map_err(&bad)?;
        Ok(Request { method, caller, frames, params })
    }
}

/// Does what a request's line asks for. The last line of the answer, if it is not given by another
/// process; events go to `stream`.
pub fn call(request: &str, stream: &UnixStream) -> Result<Option<String>, Refused> {
    let bad = refused(Code::BadParams);
    let Request { method: name, caller, frames, params } = Request::read(request)?;
    let result = match name.as_str() {
        WorkVersion::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            WorkProcess { version: VERSION.to_owned(), pid: std::process::id() }.to_json()
        }
        AgentClock::NAME => {
            clock(&Clock::read_strictly(params).map_err(&bad)?, stream);
            json!({})
        }
        RunDetach::NAME => {
            let asked = Run::read_strictly(params).map_err(&bad)?;
            if asked.terminal.is_some() {
                let why = "a run without a laptop has no terminal".to_owned();
                return Err(Refused { code: Code::BadParams, why });
            }
            let (run, env) = scripts::resolve(&asked).map_err(Refused::from)?;
            let number = run::detach(&asked, &run, &env, &caller).map_err(failed)?;
            RunNumber { number }.to_json()
        }
        RunList::NAME => {
            let ListRuns { untold } = ListRuns::read_strictly(params).map_err(&bad)?;
            let runs = if untold { detached::untold(&caller) } else { detached::list() };
            Runs { runs: runs.map_err(failed)? }.to_json()
        }
        RunStop::NAME => {
            let RunNumber { number } = RunNumber::read_strictly(params).map_err(&bad)?;
            detached::stop(number).map_err(failed)?;
            json!({})
        }
        RunFollow::NAME => {
            let RunNumber { number } = RunNumber::read_strictly(params).map_err(&bad)?;
            return follow(number, stream).map(|()| None);
        }
        RUN_START => {
            let asked = Run::read_strictly(params).map_err(&bad)?;
            return start(&asked, frames, stream).map(|()| None);
        }
        ServicesList::NAME => {
            let asked = OfWorkspace::read_strictly(params).map_err(&bad)?;
            let services = services::detailed(asked.workspace.as_deref())?;
            Services { services }.to_json()
        }
        WorkspacePlan::NAME => {
            let Wanted { desired } = Wanted::read_strictly(params).map_err(&bad)?;
            apply::plan(&caller, &desired).map_err(Refused::from)?.to_json()
        }
        WorkspaceApply::NAME => {
            let Apply { digest } = Apply::read_strictly(params).map_err(&bad)?;
            apply::apply(&caller, digest, stream).map_err(Refused::from)?;
            json!({})
        }
        ServicesStart::NAME => {
            let is_wanted = || !has_gone(stream);
            let start = |name: &ServiceName, hear: services::Hear| {
                migration::may_start(&name.workspace)?;
                starts::start(name, hear, &is_wanted)
            };
            change(start, params, stream)?
        }
        ServicesStop::NAME => change(services::stop, params, stream)?,
        ServicesRestart::NAME => {
            let restart = |name: &ServiceName, hear: services::Hear| {
                migration::may_start(&name.workspace)?;
                services::restart(name, hear)
            };
            change(restart, params, stream)?
        }
        ServicesWatch::NAME => {
            let asked = OfWorkspace::read_strictly(params).map_err(&bad)?;
            told_and_rested(stream, LOOK_EVERY, |tell, rest| {
                let mut tell = |view: &ServiceView| tell(&event(view));
                watch::watch(asked.workspace.as_deref(), &mut tell, rest)
            })?;
            json!({})
        }
        BridgeWatch::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            bridge::watch(stream)?;
            json!({})
        }
        BridgeAnswer::NAME => {
            bridge::answer(Answer::read_strictly(params).map_err(&bad)?)?;
            json!({})
        }
        LogsStream::NAME => {
            let asked = ReadLogs::read_strictly(params).map_err(&bad)?;
            told_and_rested(stream, LOOK_EVERY, |tell, rest| {
                logs::stream(&asked, &mut |said| tell(&event(said)), rest)
            })?;
            json!({})
        }
        PortsList::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            ports::list().to_json()
        }
        PortsWatch::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            let _watching = ports::mapped::Watching::begin(&caller);
            told_and_rested(stream, ports::TICK, |tell, rest| {
                ports::watch(&mut |change| tell(&event(change)), rest)
            });
            json!({})
        }
        PortsMapped::NAME => {
            ports::mapped::told(&caller, Mapped::read_strictly(params).map_err(&bad)?);
            json!({})
        }
        SnapHealth::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            snap::health().to_json()
        }
        ServerLook::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            server::look().to_json()
        }
        WorkMapped::NAME => {
            Nothing::read_strictly(params).map_err(&bad)?;
            ports::mapped::all().to_json()
        }
        name if name.starts_with(MIGRATIONS) => {
            let done = migration::call(name, &caller, params, stream);
            done.ok_or_else(|| unknown(name))??
        }
        _ => snap::call(&name, &caller, params, stream).ok_or_else(|| unknown(&name))??,
    };
    Ok(Some(json!({"result": result}).to_string()))
}

pub fn unknown(name: &str) -> Refused {
    Refused { code: Code::UnknownMethod, why: format!("no method {name:?}") }
}

fn own_address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| "must be an address".to_owned())
}

fn failed(error: std::io::Error) -> Refused {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::QuotaExceeded => Code::Conflict,
        _ => Code::Failed,
    };
    Refused { code, why: error.to_string() }
}

fn event(event: &impl Message) -> String {
    json!({"event": event.to_json()}).to_string()
}

type Tell<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;
type Rest<'a> = &'a mut dyn FnMut() -> io::Result<()>;

/// For what tells lines, and rests until there may be more: each is an error once nobody wants any.
fn told_and_rested<T>(
    stream: &UnixStream,
    every: Duration,
    act: impl FnOnce(Tell, Rest) -> T,
) -> T {
    let (said, waiting) = (Cell::new(Instant::now()), RefCell::new(String::new()));
    let flush = || {
        let mut lines = waiting.take();
        match lines.pop() {
            None => Ok(()),
            Some(_) => {
                said.set(Instant::now());
                put(stream, &lines)
            }
        }
    };
    let mut tell = |line: &str| {
        let length = {
            let mut lines = waiting.borrow_mut();
            lines.push_str(line);
            lines.push('\n');
            lines.len()
        };
        if length < AT_ONCE { Ok(()) } else { flush() }
    };
    let mut rest = || {
        flush()?;
        if said.get().elapsed() > BEAT {
            said.set(Instant::now());
            put(stream, "")?;
        }
        let gone = !wait_until(Instant::now() + every, stream);
        if gone { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    let done = act(&mut tell, &mut rest);
    // Whoever has gone hears no last words.
    let _ = flush();
    done
}

/// All that it says, and how it ends, which is the last line.
fn follow(number: u32, stream: &UnixStream) -> Result<(), Refused> {
    told_and_rested(stream, LOOK_EVERY, |tell, rest| detached::follow(number, tell, rest))
        .map_err(failed)
}

/// Until it has ended.
fn start(asked: &Run, frames: bool, stream: &UnixStream) -> Result<(), Refused> {
    if !frames && asked.terminal.is_some() {
        let why = "a terminal needs a connection both ways (Upgrade: hopbox-run)".to_owned();
        return Err(Refused { code: Code::BadParams, why });
    }
    let (run, env) = scripts::resolve(asked).map_err(Refused::from)?;
    let started = stream.try_clone().and_then(|stream| run::run(&run, &env, frames, stream));
    started.map_err(failed)
}

impl From<Unable> for Refused {
    fn from(Unable { code, why }: Unable) -> Refused {
        Refused { code, why }
    }
}

/// Each state of a service on the way is told; whoever has gone has nothing to be told, and what
/// was begun is done.
fn change(
    act: impl FnOnce(&ServiceName, services::Hear) -> Result<ServiceView, Unable>,
    params: Fields,
    stream: &UnixStream,
) -> Result<Value, Refused> {
    let name = ServiceName::read_strictly(params).map_err(refused(Code::BadParams))?;
    // One that takes nothing holds nothing up.
    let _ = stream.set_write_timeout(Some(TAKE_WITHIN));
    let mut told = None;
    let mut tell = |view: &ServiceView| {
        if told.as_ref() != Some(view) {
            let _ = put(stream, &event(view));
            told = Some(view.clone());
        }
    };
    let done = beating(stream, || act(&name, &mut tell))?;
    tell(&done);
    Ok(json!({}))
}

/// The time of this machine, every so often.
fn clock(asked: &Clock, stream: &UnixStream) {
    let every = Duration::from_millis(asked.interval_ms);
    let mut next = Instant::now();
    for n in 1..=asked.count {
        if !wait_until(next, stream) {
            return;
        }
        let event = json!({"event": Tick { n, unix_ms: clock::wall_ms() }.to_json()});
        if put(stream, &event.to_string()).is_err() {
            return;
        }
        next += every;
    }
}
