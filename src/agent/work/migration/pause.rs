//! The source's services end for the last pass. They start again with the laptop's connection, with
//! this process or after a boot, whichever ends first, unless the workspace has left by then: that
//! is on the disk before anybody hears of it. A laptop that comes again with the same move ends the
//! pause that still waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::agent::joint::BEAT;
use crate::agent::work::beat::{beating, wait_until};
use crate::agent::work::held::{self, Hold, Leaving};
use crate::agent::work::services::{Done, failed, unable};
use crate::agent::work::snap::listener::Listener;
use crate::agent::work::snap::pause::{Paused, ended, recover, start_again};
use crate::agent::work::snap::repository;
use crate::base::line_socket::put;
use crate::rpc::code::Code;
use crate::rpc::types::Message;
use crate::rpc::types::migration::{self, Leave, OfMove, Started};
use crate::rpc::types::snap::Told;
use crate::sys::clock;
use crate::sys::lock::Lock;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Services start, and are healthy or not.
const OLDER_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// By workspace.
static PAUSES: Mutex<BTreeMap<String, Pause>> = Mutex::new(BTreeMap::new());

struct Pause {
    id: String,
    services: Vec<String>,
    has_left: bool,
    /// Nobody waits any more: they are just starting again, or are to.
    is_over: bool,
}

fn pauses() -> MutexGuard<'static, BTreeMap<String, Pause>> {
    PAUSES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Its services have ended for this move.
pub fn is_by(of: &OfMove) -> bool {
    pauses().get(&of.workspace).is_some_and(|pause| pause.id == of.id && !pause.is_over)
}

pub fn id(workspace: &str) -> Option<String> {
    pauses().get(workspace).map(|pause| pause.id.clone())
}

/// Whether the workspace had left at the end. From here on it does not leave.
fn over(workspace: &str) -> bool {
    pauses().get_mut(workspace).is_some_and(|pause| {
        pause.is_over = true;
        pause.has_left
    })
}

/// Until it has left, or nobody is there to wait for.
pub fn pause(of: &OfMove, stream: &UnixStream, to: &dyn Listener) -> Done<()> {
    held::check(&of.workspace)?;
    let desired = repository::workspace(&of.workspace)?;
    // Held for as long as it is paused: a snapshot would start what it finds ended.
    let _alone = beating(stream, || alone(of))?;
    recover(&desired)?;
    let all: BTreeSet<String> = desired.services.keys().cloned().collect();
    let services = ended(&desired, &all);
    let since_ms = clock::wall_ms();
    let paused = beating(stream, || Paused::for_a_move(&desired, services.clone(), to))?;
    let (id, has_left) = (of.id.clone(), false);
    let pause = Pause { id, services: services.clone(), has_left, is_over: false };
    pauses().insert(of.workspace.clone(), pause);
    let told = Told::Done(migration::Paused { services, since_ms });
    let is_told = put(stream, &json!({"event": told.to_json()}).to_string()).is_ok();
    if is_told {
        wait(of, stream);
    }
    match over(&of.workspace) {
        true => paused.leave(),
        // They start as it goes.
        false => beating(stream, || drop(paused)),
    }
    pauses().remove(&of.workspace);
    Ok(())
}

/// Alone with the workspace, after the end of an older pause of the same move: the laptop comes
/// again, and its end was not heard of yet.
fn alone(of: &OfMove) -> Done<Lock> {
    let end = Instant::now() + OLDER_ENDS_WITHIN;
    loop {
        let taken = repository::alone(&of.workspace);
        let is_older = taken.is_err()
            && pauses().get_mut(&of.workspace).is_some_and(|pause| {
                pause.is_over |= pause.id == of.id && !pause.has_left;
                pause.is_over
            });
        if !is_older || Instant::now() >= end {
            return taken;
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn wait(of: &OfMove, stream: &UnixStream) {
    let mut said = Instant::now();
    while wait_until(Instant::now() + LOOK_EVERY, stream) {
        let is_over =
            pauses().get(&of.workspace).is_none_or(|pause| pause.has_left || pause.is_over);
        if is_over {
            return;
        }
        if said.elapsed() >= BEAT {
            said = Instant::now();
            if put(stream, "").is_err() {
                return;
            }
        }
    }
}

/// From now on its services do not start here; and again, if that was not heard.
pub fn leave(asked: &Leave) -> Done<()> {
    let of = &asked.of;
    let mut pauses = pauses();
    if matches!(held::hold(&of.workspace)?, Some(Hold::Left(left)) if left.id == of.id) {
        return Ok(());
    }
    let pause = pauses.get_mut(&of.workspace).filter(|pause| pause.id == of.id && !pause.is_over);
    let none = || unable(Code::Conflict, "its services are not paused by this move any more");
    let pause = pause.ok_or_else(none)?;
    let (id, to, services) = (of.id.clone(), asked.to.clone(), pause.services.clone());
    let left = Hold::Left(Leaving { id, to, services });
    left.put(&of.workspace).map_err(failed("cannot write"))?;
    // From here on nobody starts one; somebody may have before.
    let desired = repository::workspace(&of.workspace)?;
    if let Some(first) = ended(&desired, &desired.services.keys().cloned().collect()).first() {
        Hold::remove(&of.workspace).map_err(failed("cannot write"))?;
        let why =
            format!("{first} was started meanwhile: what has been copied is not all there is");
        return Err(unable(Code::Conflict, why));
    }
    pause.has_left = true;
    Ok(())
}

/// Nothing of the workspace is on its way, or why nothing of it starts now.
pub fn may_start(workspace: &str) -> Done<()> {
    held::check(workspace)?;
    match id(workspace) {
        None => Ok(()),
        Some(_) => {
            let why = format!("{workspace} is paused, for as long as it moves to another server");
            Err(unable(Code::Conflict, why))
        }
    }
}

/// It is back: what ran when it left runs again.
pub fn come_back(of: &OfMove, to: &dyn Listener) -> Done<Started> {
    let left = match held::hold(&of.workspace)? {
        Some(Hold::Left(left)) if left.id == of.id => left,
        // It was heard before.
        None => return Ok(Started::default()),
        Some(_) => return Err(unable(Code::Conflict, "it was not this move that it left by")),
    };
    let desired = repository::workspace(&of.workspace)?;
    let _alone = repository::alone(&of.workspace)?;
    start_again(&desired, &left.services, to, || {
        Hold::remove(&of.workspace).map_err(failed("cannot write"))
    })?;
    Ok(Started { services: left.services })
}
