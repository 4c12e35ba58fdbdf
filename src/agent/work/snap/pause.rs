//! Services that end for a moment, and go on: those whose data is wanted whole, and that have no
//! hook which sees to that. They go on whatever happens, also after a kill.
//!
//! Bounds: a service has its own stop_timeout; 60 s for whoever else starts or stops one; 5 min
//! until all of them are healthy again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::journal::{self, Journal};
use super::listener::Listener;
use crate::agent::log;
use crate::agent::work::held;
use crate::agent::work::services::{self, Done, Unable, failed, unable};
use crate::agent::work::starts::{Starts, in_turn};
use crate::agent::work::startup::{self, Moment};
use crate::agent::work::state::Room;
use crate::rpc::code::Code;
use crate::rpc::types::health::HealthState;
use crate::rpc::types::services::{ServiceName, ServiceState};
use crate::rpc::types::snap::Stage;
use crate::sys::lock::Lock;
use crate::workspace::manifest::Desired;
use crate::workspace::order;

const HEALTHY_WITHIN: Duration = Duration::from_secs(300);
/// One without a check has to run on for so long.
const RUNS_FOR: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn name(desired: &Desired, service: &str) -> ServiceName {
    ServiceName { workspace: desired.workspace.clone(), service: service.to_owned() }
}

/// Those of `services` that run, or are to, in the order of their ends.
pub fn ended(desired: &Desired, services: &BTreeSet<String>) -> Vec<String> {
    let is_on = |service: &&&str| {
        let view = services::view(&name(desired, service));
        services.contains(**service) && view.is_ok_and(|view| view.is_wanted)
    };
    let order = order::start(&desired.services).unwrap_or_default();
    order.iter().rev().filter(is_on).map(|service| (*service).to_owned()).collect()
}

/// The same without those that have a hook for it.
pub fn running(desired: &Desired, services: &BTreeSet<String>) -> Vec<String> {
    let mut all = ended(desired, services);
    all.retain(|name| desired.services.get(name).is_some_and(|it| it.snapshot.pre.is_none()));
    all
}

/// Services that have ended, and what they left to be done.
pub struct Paused<'a> {
    desired: &'a Desired,
    room: PathBuf,
    journal: Journal,
    since: Instant,
    /// Nobody brings the workspace up meanwhile.
    _alone: Lock,
    is_over: bool,
}

impl<'a> Paused<'a> {
    /// Ends them; with an error they run again.
    pub fn begin(desired: &'a Desired, journal: Journal, to: &dyn Listener) -> Done<Paused<'a>> {
        let own = Room::own().map_err(failed("this login has no directory for its state"))?;
        let alone =
            own.change(&desired.workspace).map_err(failed("its directory cannot be used"))?;
        let busy = || unable(Code::Conflict, format!("{} is being changed", desired.workspace));
        let alone = alone.ok_or_else(busy)?;
        let room = journal::room(&desired.workspace).map_err(failed("cannot write"))?;
        journal.put(&room).map_err(failed("cannot write"))?;
        let since = Instant::now();
        let paused = Paused { desired, room, journal, since, _alone: alone, is_over: false };
        if !paused.journal.services.is_empty() {
            to.stage(Stage::Pause);
        }
        for service in &paused.journal.services {
            // What was begun is done, whoever has gone.
            in_turn(services::stop, &name(desired, service), &|| true)?;
        }
        Ok(paused)
    }

    /// For what is copied to another server.
    pub fn for_a_move(
        desired: &'a Desired,
        services: Vec<String>,
        to: &dyn Listener,
    ) -> Done<Paused<'a>> {
        Paused::begin(desired, Journal { services, ..Journal::default() }, to)
    }

    /// They are not to run here any more, and somebody has taken note of that.
    pub fn leave(mut self) {
        self.is_over = true;
        if let Err(error) = Journal::remove(&self.room) {
            // Whoever finds it starts nothing of what is held.
            log(&format!("{}: {error}", self.desired.workspace));
        }
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// They run again, and are healthy: for how long they did not. What was to be made good is.
    pub fn end(self, to: &dyn Listener) -> Done<Duration> {
        if !self.journal.services.is_empty() {
            to.stage(Stage::Start);
        }
        match self.well() {
            Ok(paused) => Ok(self.over(paused)?),
            Err(why) => Err(self.back(why)),
        }
    }

    fn well(&self) -> Done<Duration> {
        start(self.desired, &self.journal.services)?;
        let paused = self.since.elapsed();
        healthy(self.desired, &self.journal.services)?;
        Ok(paused)
    }

    fn over(mut self, paused: Duration) -> Done<Duration> {
        Journal::remove(&self.room).map_err(failed("cannot write"))?;
        self.is_over = true;
        Ok(paused)
    }

    /// As it was, and why; and why not, if it cannot be.
    pub fn back(mut self, Unable { code, why }: Unable) -> Unable {
        self.is_over = true;
        let why = match put_back(self.desired, &self.room, &self.journal) {
            Ok(()) if self.journal.swaps.is_empty() => why,
            Ok(()) => format!("{why}; what was there is back"),
            Err(more) => format!("{why}; and what was there is not back: {}", more.why),
        };
        Unable { code, why }
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Err(unable) = put_back(self.desired, &self.room, &self.journal) {
            log(&format!("{}: {}", self.desired.workspace, unable.why));
        }
    }
}

/// What was there is there, and runs.
fn put_back(desired: &Desired, room: &Path, journal: &Journal) -> Done<()> {
    // After a failed start some of them may run on what goes now.
    if !journal.swaps.is_empty() {
        for service in &journal.services {
            in_turn(services::stop, &name(desired, service), &|| true)?;
        }
        journal.switch_back().map_err(failed("what was there cannot be put back"))?;
    }
    // From here on whoever starts what is missing does so, where this cannot, as after a boot.
    for service in &journal.services {
        services::want(&name(desired, service))?;
    }
    Journal::remove(room).map_err(failed("cannot write"))?;
    start(desired, &journal.services)
}

fn start(desired: &Desired, all: &[String]) -> Done<()> {
    let start = |name: &ServiceName| in_turn(services::start, name, &|| true);
    let tell = |_: &str, _: Moment<'_>| {};
    let workspace = &desired.workspace;
    let hands = Starts { workspace, start: &start, tell: &tell, is_wanted: &|| true };
    let jobs = all.iter().cloned().collect();
    for (service, outcome) in startup::all(desired, &jobs, &hands) {
        if let Err(broken) = outcome {
            return Err(unable(Code::Failed, format!("{service} does not run: {broken}")));
        }
    }
    Ok(())
}

/// Each of them, or why not.
fn healthy(desired: &Desired, all: &[String]) -> Done<()> {
    let end = Instant::now() + HEALTHY_WITHIN;
    for service in all {
        let has_check = desired.services.get(service).is_some_and(|it| it.health.is_some());
        let began = Instant::now();
        loop {
            let view = services::view(&name(desired, service))?;
            let health = view.health.as_ref().map(|health| health.state);
            let is_over = matches!(view.state, ServiceState::Failed | ServiceState::GaveUp);
            let is_ill = health == Some(HealthState::Unhealthy);
            if is_over || is_ill {
                let why = view.health.and_then(|health| health.why).unwrap_or_default();
                let word = view.state.word();
                let text = format!("{service} is not healthy: {word} {why}");
                return Err(unable(Code::Failed, text.trim().to_owned()));
            }
            let is_well = match has_check {
                true => health == Some(HealthState::Healthy),
                false => view.state == ServiceState::Running && began.elapsed() >= RUNS_FOR,
            };
            if is_well || view.state == ServiceState::Done {
                break;
            }
            if Instant::now() >= end {
                let limit = HEALTHY_WITHIN.as_secs();
                return Err(unable(
                    Code::Failed,
                    format!("{service} is not healthy after {limit} s"),
                ));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

/// What did not run here for a move is to run again, and does: from `release` on, which lets it.
pub fn start_again(
    desired: &Desired,
    services: &[String],
    to: &dyn Listener,
    release: impl FnOnce() -> Done<()>,
) -> Done<()> {
    recover(desired)?;
    let own = Room::own().map_err(failed("this login has no directory for its state"))?;
    let alone = own.change(&desired.workspace).map_err(failed("its directory cannot be used"))?;
    let busy = || unable(Code::Conflict, format!("{} is being changed", desired.workspace));
    let _alone = alone.ok_or_else(busy)?;
    let room = journal::room(&desired.workspace).map_err(failed("cannot write"))?;
    let journal = Journal { services: services.to_vec(), ..Journal::default() };
    journal.put(&room).map_err(failed("cannot write"))?;
    release()?;
    to.stage(Stage::Start);
    put_back(desired, &room, &journal)?;
    healthy(desired, services)
}

/// What a process that ended in the middle has left of a workspace is made good. Whether there was
/// something.
pub fn recover(desired: &Desired) -> Done<bool> {
    let room = journal::room(&desired.workspace).map_err(failed("cannot read"))?;
    let journal =
        Journal::load(&room).map_err(failed("the journal of a restore cannot be read"))?;
    match journal {
        // What runs elsewhere is not started, whatever was to be.
        Some(journal) if held::is_held(&desired.workspace) => {
            let journal = Journal { services: Vec::new(), ..journal };
            put_back(desired, &room, &journal).map(|()| true)
        }
        Some(journal) => put_back(desired, &room, &journal).map(|()| true),
        None => Ok(false),
    }
}
