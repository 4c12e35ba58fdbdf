//! The method table of `POST /rpc` and of the local socket: name → function. No logic of its own.

use serde_json::{Map, Value};

use super::backend::{Backend, Caller};
use crate::agent::firewall::{self, Done, NotDone};
use crate::agent::running;
use crate::base::failure::{Failure, Fault};
use crate::base::json::{Fields, ReadError};
use crate::http;
use crate::http::request::Refusal;
use crate::rpc::VERSION;
use crate::rpc::client::CallError;
use crate::rpc::code::Code;
use crate::rpc::method::{
    AgentClock, AgentReload, AgentRunning, AgentStatus, AgentVersion, BRIDGE_TAKE, BYTES,
    BridgeAnswer, BridgeWatch, FirewallClose, FirewallConfirm, FirewallHistory, FirewallList,
    KeysRotate, LogsStream, MIGRATION_RECEIVE, MIGRATION_SEND, Method, MigrationDigest,
    MigrationForget, MigrationLeave, MigrationOutcome, MigrationPause, MigrationPlace,
    MigrationPrepare, MigrationReturn, MigrationStanding, MigrationStart, MigrationStop,
    MigrationSurvey, PORTS_CONNECT, PeersAdd, PeersList, PeersRemove, PortsList, PortsMapped,
    PortsWatch, RUN_START, RunDetach, RunFollow, RunList, RunStop, ServerLook, ServicesList,
    ServicesRestart, ServicesStart, ServicesStop, ServicesWatch, SnapCheck, SnapCreate, SnapForget,
    SnapHealth, SnapList, SnapPlan, SnapRemove, SnapRestore, Stream, WorkVersion, WorkspaceApply,
    WorkspacePlan,
};
use crate::rpc::types::running::Running;
use crate::rpc::types::{
    AddPeer, Added, Gone, Message, Nothing, Pair, Peers, RemovePeer, Rotate, Version,
};

/// Takes a method's parameters, all of which must be read, and gives its answer.
type Run = Box<dyn Fn(&dyn Backend, Caller, Fields) -> Result<Value, Refusal>>;

fn row<M: Method + 'static>(
    _: M,
    run: impl Fn(&dyn Backend, Caller, M::Params) -> Result<M::Answer, Refusal> + 'static,
) -> (&'static str, Run) {
    let typed = move |backend: &dyn Backend, caller: Caller, params: Fields| {
        let params = M::Params::read_strictly(params).map_err(bad_params)?;
        run(backend, caller, params).map(|answer| answer.to_json())
    };
    (M::NAME, Box::new(typed))
}

fn methods() -> [(&'static str, Run); 25] {
    [
        row(AgentVersion, version),
        row(AgentStatus, |backend, _, Nothing| Ok(backend.status())),
        row(AgentRunning, |_, from, Nothing| running(from)),
        row(PeersList, peers_list),
        row(PeersAdd, peers_add),
        row(PeersRemove, peers_remove),
        row(KeysRotate, keys_rotate),
        row(ServicesList, |backend, from, params| of_work(backend, from, ServicesList, &params)),
        row(WorkspacePlan, |backend, from, params| of_work(backend, from, WorkspacePlan, &params)),
        row(BridgeAnswer, |backend, from, answer| of_work(backend, from, BridgeAnswer, &answer)),
        row(FirewallList, |_, from, Nothing| of_firewall(from, firewall::list)),
        row(FirewallHistory, |_, from, Nothing| of_firewall(from, firewall::history)),
        row(FirewallClose, |_, from, which| of_firewall(from, || firewall::close(&which))),
        row(FirewallConfirm, |_, from, which| of_firewall(from, || firewall::confirm(&which.id))),
        row(AgentReload, reload),
        row(RunDetach, |backend, from, run| of_work(backend, from, RunDetach, &run)),
        row(RunList, |backend, from, which| of_work(backend, from, RunList, &which)),
        row(RunStop, |backend, from, which| of_work(backend, from, RunStop, &which)),
        row(PortsList, |backend, from, Nothing| of_work(backend, from, PortsList, &Nothing)),
        row(SnapHealth, |backend, from, Nothing| of_work(backend, from, SnapHealth, &Nothing)),
        row(MigrationStanding, |backend, from, of| of_work(backend, from, MigrationStanding, &of)),
        row(ServerLook, |backend, from, Nothing| of_work(backend, from, ServerLook, &Nothing)),
        row(MigrationOutcome, |backend, from, of| of_work(backend, from, MigrationOutcome, &of)),
        row(MigrationLeave, |backend, from, of| of_work(backend, from, MigrationLeave, &of)),
        row(PortsMapped, |backend, from, all| of_work(backend, from, PortsMapped, &all)),
    ]
}

/// Methods that stream; all of them are `work`'s.
const STREAMS: [&str; 27] = [
    AgentClock::NAME,
    RUN_START,
    RunFollow::NAME,
    ServicesStart::NAME,
    ServicesStop::NAME,
    ServicesRestart::NAME,
    WorkspaceApply::NAME,
    ServicesWatch::NAME,
    PortsWatch::NAME,
    LogsStream::NAME,
    BridgeWatch::NAME,
    SnapCreate::NAME,
    SnapList::NAME,
    SnapCheck::NAME,
    SnapForget::NAME,
    SnapRemove::NAME,
    SnapPlan::NAME,
    SnapRestore::NAME,
    MigrationSurvey::NAME,
    MigrationPrepare::NAME,
    MigrationPause::NAME,
    MigrationDigest::NAME,
    MigrationPlace::NAME,
    MigrationStart::NAME,
    MigrationStop::NAME,
    MigrationReturn::NAME,
    MigrationForget::NAME,
];

/// Methods that have their connection for themselves; `work` takes it.
const BYTE_METHODS: [&str; 4] = [PORTS_CONNECT, BRIDGE_TAKE, MIGRATION_SEND, MIGRATION_RECEIVE];

/// What a request's body asks for.
pub enum Asked {
    Once(Result<Value, Refusal>),
    /// A method of `work`'s, with its parameters.
    Stream(String, Value),
}

/// Runs the method a request's body names, if it answers once.
pub fn call(backend: &dyn Backend, caller: Caller, body: &str) -> Asked {
    let (name, params) = match read(body) {
        Ok((name, params)) if STREAMS.contains(&name.as_str()) => {
            return Asked::Stream(name, params);
        }
        Ok(read) => read,
        Err(refusal) => return Asked::Once(Err(refusal)),
    };
    Asked::Once(run(backend, caller, &name, params))
}

/// The method of bytes that a request's body names, with its parameters.
pub fn of_bytes(body: &str) -> Result<(String, Value), Refusal> {
    let (name, params) = read(body)?;
    match BYTE_METHODS.contains(&name.as_str()) {
        true => Ok((name, params)),
        false => Err(unknown(&name)),
    }
}

fn read(body: &str) -> Result<(String, Value), Refusal> {
    let bad = |error: ReadError| {
        let why = format!("the body is no request: {error}");
        Refusal::of(400, http::code::BAD_REQUEST, why)
    };
    let mut fields = Fields::parse(body).map_err(bad)?;
    let name = fields.string("method").map_err(bad)?;
    let params = fields.take("params").unwrap_or(Value::Object(Map::new()));
    fields.finish().map_err(bad)?;
    Ok((name, params))
}

fn run(backend: &dyn Backend, caller: Caller, name: &str, params: Value) -> Result<Value, Refusal> {
    if BYTE_METHODS.contains(&name) {
        let why = format!("{name} needs a connection of bytes (Upgrade: {BYTES})");
        return Err(refusal(Code::BadParams, why));
    }
    let methods = methods();
    let run = methods.iter().find(|(known, _)| *known == name).map(|(_, run)| run);
    let run = run.ok_or_else(|| unknown(name))?;
    let params = Fields::of(params, "params").map_err(bad_params)?;
    run(backend, caller, params)
}

/// A method's own refusal: an answer like any other.
fn refusal(code: Code, why: impl Into<String>) -> Refusal {
    Refusal::of(200, code.word(), why)
}

/// The client reached the right agent, only a newer or older one.
fn unknown(method: &str) -> Refusal {
    refusal(Code::UnknownMethod, format!("no method {method:?}"))
}

fn bad_params(error: ReadError) -> Refusal {
    refusal(Code::BadParams, error.to_string())
}

fn failed(failure: Failure) -> Refusal {
    let code = match failure.fault {
        Fault::NoPeer => Code::NoSuchPeer,
        Fault::Busy => Code::Conflict,
        _ => Code::Failed,
    };
    refusal(code, format!("{}: {}", failure.what, failure.why))
}

fn peers_list(backend: &dyn Backend, caller: Caller, _: Nothing) -> Result<Peers, Refusal> {
    let peers = backend.peers();
    let you = match caller {
        Caller::Laptop(key) => {
            let listed = peers.iter().find(|peer| peer.has_key(&key));
            Some(listed.map_or(key, |peer| peer.public_key))
        }
        Caller::Local => None,
    };
    Ok(Peers { peers, you })
}

fn peers_add(backend: &dyn Backend, _: Caller, params: AddPeer) -> Result<Added, Refusal> {
    let (peer, created) = backend.add(params.public_key, &params.name).map_err(failed)?;
    Ok(Added { pair: peer.pair(), created })
}

fn peers_remove(
    backend: &dyn Backend,
    caller: Caller,
    params: RemovePeer,
) -> Result<Gone, Refusal> {
    let which = &params.peer;
    if let Caller::Laptop(own) = caller {
        if backend.peers().iter().any(|peer| peer.has_key(&own) && peer.is_called(which)) {
            // The answer could not reach it any more.
            let why = "a laptop cannot remove itself over its own tunnel";
            return Err(refusal(Code::Conflict, why));
        }
    }
    backend.remove(which).map(|peer| peer.gone()).map_err(failed)
}

fn keys_rotate(backend: &dyn Backend, caller: Caller, params: Rotate) -> Result<Pair, Refusal> {
    let old = match (caller, params.old) {
        (Caller::Laptop(own), None) => own,
        (Caller::Laptop(own), Some(old)) if own == old => own,
        (Caller::Local, Some(old)) => old,
        (Caller::Laptop(_), Some(_)) => {
            return Err(refusal(Code::Conflict, "a laptop rotates its own keys only"));
        }
        (Caller::Local, None) => {
            return Err(refusal(Code::BadParams, "\"params.old\": is missing"));
        }
    };
    backend.rotate(&old, params.public_key).map(|peer| peer.pair()).map_err(failed)
}

/// What the process with the login's rights answers.
fn of_work<M: Method>(
    backend: &dyn Backend,
    from: Caller,
    method: M,
    params: &M::Params,
) -> Result<M::Answer, Refusal> {
    backend.work().call(from.laptop().as_ref(), method, params).map_err(|error| match error {
        CallError::Remote { code, message, .. } => refusal(code, message),
        error => refusal(Code::WorkAbsent, format!("the agent's work does not answer: {error}")),
    })
}

/// This process's version, and that of the one with the login's rights where it answers.
fn version(backend: &dyn Backend, from: Caller, _: Nothing) -> Result<Version, Refusal> {
    let work = backend.work().call(from.laptop().as_ref(), WorkVersion, &Nothing).ok();
    Ok(Version { version: VERSION.to_owned(), work })
}

/// For laptops alone: root's helpers answer a user so often and no more, and the local socket is
/// everybody's.
fn running(from: Caller) -> Result<Running, Refusal> {
    match from {
        Caller::Local => Err(refusal(Code::UnknownMethod, "what runs is told to laptops")),
        Caller::Laptop(_) => Ok(running::all()),
    }
}

/// What the server's helper for the firewall answers. For laptops alone: it may take its time, and
/// the local socket is everybody's.
fn of_firewall<T>(from: Caller, ask: impl FnOnce() -> Done<T>) -> Result<T, Refusal> {
    if from == Caller::Local {
        return Err(refusal(Code::UnknownMethod, "the firewall is for laptops"));
    }
    ask().map_err(|not| {
        let code = match &not {
            NotDone::Unknown => Code::NotFound,
            NotDone::Tunnel => Code::Conflict,
            NotDone::Absent(_) => Code::NoFirewall,
            NotDone::Older(_) => Code::UnknownMethod,
            NotDone::Failed(_) => Code::Failed,
        };
        refusal(code, not.why())
    })
}

/// On the local socket alone.
fn reload(backend: &dyn Backend, caller: Caller, _: Nothing) -> Result<Nothing, Refusal> {
    if caller != Caller::Local {
        return Err(unknown(AgentReload::NAME));
    }
    backend.reload().map(|()| Nothing).map_err(failed)
}

#[cfg(test)]
mod tests;
