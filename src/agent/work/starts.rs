//! For whom services are started in order: for somebody who wants one of them, and after a boot.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::held;
use super::manager::Manager;
use super::services::{self, Done, Hear, Unable, room, unable};
use super::startup::{self, Broken, Hands, Moment};
use super::state::{Room, Workspace};
use crate::agent::log;
use crate::rpc::code::Code;
use crate::rpc::types::services::{ServiceName, ServiceState, ServiceView};
use crate::sys::threads;
use crate::workspace::manifest::Desired;

/// Until the login's manager is there, after a boot.
const MANAGER_WITHIN: Duration = Duration::from_secs(120);
/// Until whoever else starts a service has done so.
const TURN_WITHIN: Duration = Duration::from_secs(60);
/// What could not be started after a boot is tried again, first and at most after so long.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_MOST: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Services of one workspace, each by `start`.
pub struct Starts<'a> {
    pub workspace: &'a str,
    pub start: &'a (dyn Fn(&ServiceName) -> Done<ServiceView> + Sync),
    pub tell: &'a (dyn Fn(&str, Moment<'_>) + Sync),
    pub is_wanted: &'a (dyn Fn() -> bool + Sync),
}

impl Starts<'_> {
    fn name(&self, service: &str) -> ServiceName {
        ServiceName { workspace: self.workspace.to_owned(), service: service.to_owned() }
    }
}

impl Hands for Starts<'_> {
    fn start(&self, service: &str) -> Done<ServiceView> {
        (self.start)(&self.name(service))
    }

    fn look(&self, service: &str) -> Done<ServiceView> {
        services::view(&self.name(service))
    }

    fn tell(&self, service: &str, moment: Moment<'_>) {
        (self.tell)(service, moment);
    }

    fn is_wanted(&self) -> bool {
        (self.is_wanted)()
    }
}

/// With what it depends on, as far as that does not run, and once that is as it has to be.
pub fn start(
    name: &ServiceName,
    hear: Hear,
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Done<ServiceView> {
    // One that is not there has its own reason.
    services::view(name)?;
    let workspace = room()?.workspace(&name.workspace);
    let desired = workspace.map_err(services::failed("the workspace cannot be read"))?.desired;
    let mut jobs = startup::with_needs(&desired, &name.service);
    jobs.retain(|job| *job == name.service || is_down(name, job));
    let hear = Mutex::new(hear);
    let start = |of: &ServiceName| match of == name {
        true => services::start(of, &mut **hear.lock().unwrap_or_else(PoisonError::into_inner)),
        false => in_turn(services::start, of, is_wanted),
    };
    let workspace = &name.workspace;
    let starts = Starts { workspace, start: &start, tell: &|_, _| {}, is_wanted };
    match startup::all(&desired, &jobs, &starts).remove(&name.service) {
        Some(Ok(view)) => Ok(view),
        Some(Err(Broken::Ended(view))) => Ok(*view),
        Some(Err(Broken::Unable(unable))) => Err(unable),
        Some(Err(broken @ Broken::Needs { .. })) => Err(unable(Code::Unmet, broken.to_string())),
        Some(Err(broken)) => Err(unable(Code::Failed, broken.to_string())),
        None => services::view(name),
    }
}

/// Another one may be starting or ending it for somebody else.
pub fn in_turn(
    act: fn(&ServiceName, Hear) -> Done<ServiceView>,
    name: &ServiceName,
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Done<ServiceView> {
    let end = Instant::now() + TURN_WITHIN;
    loop {
        match act(name, &mut |_| {}) {
            Err(Unable { code: Code::Conflict, .. }) if Instant::now() < end && is_wanted() => {
                thread::sleep(LOOK_EVERY);
            }
            started => return started,
        }
    }
}

/// What is on its way, and what has come to its end as it should, is left alone.
fn is_down(beside: &ServiceName, service: &str) -> bool {
    let name = ServiceName { service: service.to_owned(), ..beside.clone() };
    let down = [
        ServiceState::New,
        ServiceState::Stopped,
        ServiceState::Failed,
        ServiceState::GaveUp,
        ServiceState::Lost,
    ];
    services::view(&name).is_ok_and(|view| down.contains(&view.state))
}

/// What is to run and does not, as after a boot: until it does, or nobody wants it any more. What a
/// moment can refuse, as a registry that is not reached yet, another moment may grant.
pub fn resume() {
    let Ok(room) = Room::own() else { return };
    // Once for all of them; where none comes each says so.
    let _ = Manager::find_within(MANAGER_WITHIN);
    // One workspace does not wait for what another has to complete.
    thread::scope(|scope| {
        for Workspace { desired, .. } in room.workspaces() {
            let begun = |name: String| {
                let work = move || until_none(|| missing(&name), resume_one, thread::sleep);
                threads::start_within(scope, "resume", work).inspect_err(|error| {
                    log(&format!("{} does not go on yet: {error}", desired.workspace));
                })
            };
            let name = &desired.workspace;
            until_none(|| Some(name.clone()), |name| begun(name).is_ok(), thread::sleep);
        }
    });
}

/// Tries what `look` finds until `act` has done all of it, after 5 s and later after up to 5 min.
fn until_none<T>(look: impl Fn() -> Option<T>, act: impl Fn(T) -> bool, pause: impl Fn(Duration)) {
    let mut wait = AGAIN_FIRST;
    while let Some(found) = look() {
        if act(found) {
            return;
        }
        pause(wait);
        wait = (wait * 2).min(AGAIN_MOST);
    }
}

/// Of a workspace as it is to be now.
fn missing(workspace: &str) -> Option<(Desired, BTreeSet<String>)> {
    if held::is_held(workspace) {
        return None;
    }
    let desired = room().ok()?.workspace(workspace).ok()?.desired;
    let is_missing = |service: &&String| {
        services::is_missing(&ServiceName {
            workspace: workspace.to_owned(),
            service: (*service).clone(),
        })
    };
    let jobs: BTreeSet<String> = desired.services.keys().filter(is_missing).cloned().collect();
    (!jobs.is_empty()).then_some((desired, jobs))
}

/// Whether all of them run.
fn resume_one((desired, jobs): (Desired, BTreeSet<String>)) -> bool {
    let workspace = desired.workspace.as_str();
    let tell = |service: &str, moment: Moment<'_>| {
        if let Moment::Ends(Err(broken)) = moment {
            log(&format!("{service} of {workspace} does not run: {broken}"));
        }
    };
    let start = |name: &ServiceName| services::go_on(name);
    let starts = Starts { workspace, start: &start, tell: &tell, is_wanted: &|| true };
    startup::all(&desired, &jobs, &starts).values().all(Result::is_ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[test]
    fn what_cannot_start_yet_is_tried_again_ever_more_rarely_until_it_runs() {
        let (left, tries, pauses) = (Cell::new(9), Cell::new(0), RefCell::new(Vec::new()));
        let look = || (left.get() > 0).then_some(());
        let act = |()| {
            tries.set(tries.get() + 1);
            left.set(left.get() - 1);
            left.get() == 0
        };
        until_none(look, act, |wait| pauses.borrow_mut().push(wait.as_secs()));
        assert_eq!((tries.get(), pauses.into_inner()), (9, vec![5, 10, 20, 40, 80, 160, 300, 300]));
        until_none(|| None::<()>, |()| unreachable!(), |_| unreachable!());
    }
}
