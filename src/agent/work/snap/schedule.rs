//! Snapshots that nobody asks for: each workspace's by its `schedule`, and after each what `keep`
//! does not keep goes. What was missed while the server was off is made once. One at a time.
//!
//! What was put aside goes when it has become too old.
//!
//! Bounds: it is looked once a minute whether one is due, and once an hour what is too old.

use std::thread;
use std::time::{Duration, Instant};

use super::last::{self, Last};
use super::listener::Listener;
use super::restic::{self, Trouble, locks};
use super::{aside, create, look, place, repository};
use crate::agent::log;
use crate::agent::work::held;
use crate::agent::work::state::{Room, Workspace};
use crate::rpc::types::snap::{Created, Health, LateOne, Told};
use crate::sys::{clock, process, threads};
use crate::workspace::manifest::{Desired, Keep, Schedule};

const LOOK_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Nobody hears, and nobody goes.
struct Alone<'a>(&'a str);

impl Listener for Alone<'_> {
    fn tell(&self, told: Told<Created>) {
        if let Told::Note(note) = told {
            log(&format!("{}: {note}", self.0));
        }
    }

    fn is_wanted(&self) -> bool {
        true
    }
}

fn schedule(desired: &Desired) -> Option<Schedule> {
    desired.backup.as_ref()?.schedule
}

/// For as long as this process lives.
pub fn begin() {
    let work = || {
        let mut pruned: Option<Instant> = None;
        loop {
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
                pruned = Some(Instant::now());
                prune();
            }
            due().iter().for_each(make);
            thread::sleep(LOOK_EVERY);
        }
    };
    if let Err(error) = threads::start("snapshots", work) {
        log(&format!("no snapshot is made by itself: {error}"));
    }
}

/// What was put aside and has become too old goes, also where nothing is put aside any more.
fn prune() {
    for Workspace { desired, .. } in Room::own().map(|room| room.workspaces()).unwrap_or_default() {
        let name = &desired.workspace;
        // Whoever is at work there does it, or is waited for until next time.
        let Ok(_alone) = repository::alone(name) else { continue };
        let pruned = place::kept(&desired).and_then(|(kept, _)| aside::prune(name, &kept));
        if let Err(error) = pruned {
            log(&format!("{name}: old frozen trees cannot be removed: {error}"));
        }
    }
}

fn due() -> Vec<Desired> {
    let Ok(room) = Room::own() else { return Vec::new() };
    let (host, now) = (locks::host(), clock::wall_ms());
    let is_due = |desired: &Desired| {
        let Some(schedule) = schedule(desired) else { return false };
        if held::is_held(&desired.workspace) {
            // Another server has what is newer.
            return false;
        }
        let jitter = last::jitter_ms(schedule, &host, &desired.workspace);
        let last = Last::load(&desired.workspace).unwrap_or_default();
        last.wait(schedule, jitter, now).is_zero()
    };
    room.workspaces().into_iter().map(|workspace| workspace.desired).filter(is_due).collect()
}

fn make(desired: &Desired) {
    let name = &desired.workspace;
    let to = Alone(name);
    if let Err(unable) = create::create(name, &to) {
        return log(&format!("{name}: no snapshot: {}", unable.why));
    }
    let keeps = desired.backup.as_ref().is_some_and(|backup| backup.keep != Keep::default());
    if !keeps {
        return;
    }
    if let Err(unable) = look::forget(name, &to) {
        log(&format!("{name}: nothing is forgotten: {}", unable.why));
    }
}

/// Which restic there is, and workspaces without a snapshot for two periods.
pub fn health() -> Health {
    let (restic, mut notes) = match restic::installed() {
        Ok((_, version)) => (Some(version.to_string()), version.notes(process::is_root())),
        Err(Trouble::Absent(why) | Trouble::Failed(why)) => (None, vec![why]),
        Err(_) => (None, Vec::new()),
    };
    let all = Room::own().map(|room| room.workspaces()).unwrap_or_default();
    notes.extend(all.iter().filter_map(|it| last::not_forgotten(&it.desired.workspace)));
    let is_wanted = all.iter().any(|workspace| workspace.desired.backup.is_some());
    let now = clock::wall_ms();
    let of = |desired: Desired| {
        // One that is on another server now is kept there.
        let schedule = schedule(&desired).filter(|_| !held::is_held(&desired.workspace))?;
        let last = Last::load(&desired.workspace).filter(|last| last.is_late(schedule, now))?;
        Some(LateOne { workspace: desired.workspace, made_ms: last.made_ms, why: last.why })
    };
    let late = all.into_iter().filter_map(|it| of(it.desired)).collect();
    Health { is_wanted, late, restic, notes }
}
