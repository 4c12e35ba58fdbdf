//! What there is of a workspace, as a plan is made from it: what was asked for last, what its
//! services were made of and what became of them.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::container::Now;
use super::public;
use super::services::{Done, Known, failed};
use super::state::{Room, Workspace};
use crate::agent::keeper::state::State as Kept;
use crate::rpc::types::services::ServiceState;
use crate::workspace::desired::ServiceDigest;
use crate::workspace::digest::Digest;
use crate::workspace::manifest::Desired;
use crate::workspace::plan::{Have, Present, State};

/// Of the workspace that is wanted, which may not be there.
pub fn present(room: &Room, desired: &Desired) -> Done<Present> {
    let name = &desired.workspace;
    let workspace = match room.workspace(name) {
        Ok(workspace) => Some(workspace),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed("the workspace cannot be read")(error)),
    };
    Ok(Present {
        generation: room.generation(name),
        desired: workspace.as_ref().map(|workspace| workspace.desired.digest()),
        services: workspace.as_ref().map(services).unwrap_or_default(),
        public: public::open(desired, workspace.as_ref().map(|had| &had.desired))?,
        sites: public::sites(desired, workspace.as_ref().map(|had| &had.desired))?,
        setup: room.setup(name),
    })
}

fn services(workspace: &Workspace) -> BTreeMap<String, Have> {
    let names = workspace.desired.services.keys();
    let have = |name: &String| Some((name.clone(), have(workspace, name)?));
    names.filter_map(have).collect()
}

/// Nothing of one that was never started.
fn have(workspace: &Workspace, name: &str) -> Option<Have> {
    let known = Known::of(workspace.clone(), name).ok()?;
    let dir = workspace.service(name);
    let made = dir.made();
    if made.is_none() && Kept::load(dir.path()).is_none() {
        return None;
    }
    let view = known.view();
    let (digest, ports) = match made {
        Some(made) => (made.digest, made.ports),
        None => {
            // It is made anew.
            let unknown = Digest::of("hopbox.service.unknown/1", "");
            (ServiceDigest { run: unknown, all: unknown }, Default::default())
        }
    };
    let state = state(view.state, view.is_wanted);
    let volumes = Now::load(dir.path()).map(|now| now.volumes).unwrap_or_default();
    Some(Have { digest, state, ports, volumes })
}

fn state(state: ServiceState, is_wanted: bool) -> State {
    match (state, is_wanted) {
        (ServiceState::Done, _) => State::Done,
        (ServiceState::Stopped | ServiceState::New | ServiceState::Removed, _)
        | (ServiceState::Ending, false) => State::Stopped,
        (ServiceState::Failed | ServiceState::GaveUp, _) => State::Failed,
        (ServiceState::Lost | ServiceState::Other, _) => State::Failed,
        (
            ServiceState::Starting
            | ServiceState::Running
            | ServiceState::Ending
            | ServiceState::Waiting,
            _,
        ) => State::Up,
    }
}
