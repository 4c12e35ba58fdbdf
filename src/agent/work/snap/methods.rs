//! What is asked of snapshots: name → function. Each answers while it works.

use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::listener::{Listener, OnStream};
use super::{create, look, pause, plan, repository, restore};
use crate::agent::log;
use crate::agent::work::beat::beating;
use crate::agent::work::methods::{Refused, refused};
use crate::agent::work::services::{Done, unable};
use crate::agent::work::state::Room;
use crate::base::json::Fields;
use crate::base::line_socket::put;
use crate::rpc::code::Code;
use crate::rpc::method::{
    SnapCheck, SnapCreate, SnapForget, SnapList, SnapPlan, SnapRemove, SnapRestore, Stream,
};
use crate::rpc::types::Message;
use crate::rpc::types::snap::{OfSnaps, Told, WantedBack};
use crate::rpc::types::workspace::Apply;

/// `None`: it is no method of these.
pub fn call(
    method: &str,
    caller: &str,
    params: Fields,
    stream: &UnixStream,
) -> Option<Result<Value, Refused>> {
    let done = match method {
        SnapCreate::NAME => of(params, stream, |asked, to| create::create(&asked.workspace, to)),
        SnapList::NAME => of(params, stream, |asked, to| look::list(&asked.workspace, to)),
        SnapCheck::NAME => {
            of(params, stream, |asked, to| look::check(&asked.workspace, asked.id.as_deref(), to))
        }
        SnapForget::NAME => of(params, stream, |asked, to| look::forget(&asked.workspace, to)),
        SnapRemove::NAME => of(params, stream, |asked, to| match &asked.id {
            Some(id) => look::remove(&asked.workspace, id, to),
            None => Err(unable(Code::BadParams, "which one is not said")),
        }),
        SnapPlan::NAME => WantedBack::read_strictly(params)
            .map_err(refused(Code::BadParams))
            .and_then(|asked| told(stream, |to| plan::plan(caller, &asked, to))),
        SnapRestore::NAME => Apply::read_strictly(params)
            .map_err(refused(Code::BadParams))
            .and_then(|Apply { digest }| told(stream, |to| restore::restore(caller, digest, to))),
        _ => return None,
    };
    Some(done)
}

fn of<T: Message>(
    params: Fields,
    stream: &UnixStream,
    act: impl FnOnce(&OfSnaps, &dyn Listener) -> Done<T>,
) -> Result<Value, Refused> {
    let asked = OfSnaps::read_strictly(params).map_err(refused(Code::BadParams))?;
    told(stream, |to| act(&asked, to))
}

/// What is done, told while it is, and what became of it.
pub fn told<T: Message>(
    stream: &UnixStream,
    act: impl FnOnce(&dyn Listener) -> Done<T>,
) -> Result<Value, Refused> {
    let to = OnStream::of(stream);
    let done = beating(stream, || act(&to)).map_err(Refused::from)?;
    let event = json!({"event": Told::Done(done).to_json()});
    // Who has gone has nothing to be told.
    let _ = put(stream, &event.to_string());
    Ok(json!({}))
}

/// What was interrupted is as it was, before anything else is started.
pub fn recover() {
    let Ok(room) = Room::own() else { return };
    for workspace in room.workspaces() {
        // Whoever is at it already makes it good first.
        let Ok(_alone) = repository::alone(&workspace.desired.workspace) else { continue };
        match pause::recover(&workspace.desired) {
            Ok(false) => {}
            Ok(true) => {
                log(&format!("{}: what was interrupted is as it was", workspace.desired.workspace))
            }
            Err(unable) => log(&format!("{}: {}", workspace.desired.workspace, unable.why)),
        }
    }
}
