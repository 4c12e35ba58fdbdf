//! What is looked at before a workspace moves: both servers, and whether what runs on the one can
//! run on the other. Nothing is changed. All that stands in the way is said at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::command::Call;
use super::migration_sides::{Move, proposed};
use super::snap_shown::{Shown, follow};
use crate::base::failure::{Failure, Fault};
use crate::deploy::options::Options;
use crate::deploy::setup;
use crate::fix;
use crate::host::store;
use crate::host::workspace::{FILE, Project};
use crate::rpc::method::MigrationSurvey;
use crate::rpc::types::Message;
use crate::rpc::types::migration::{AskSurvey, Held, Surveyed};
use crate::text::fix::Fix;
use crate::workspace::manifest::{Desired, Kind};

/// Of free room, what is to be left over, in parts of what comes.
const SPARE: u64 = 10;

/// What would be moved, and what the new server is.
pub struct Plan {
    pub source: Surveyed,
    pub target: Target,
    pub services: Vec<String>,
    /// Of them, those that everybody reaches.
    pub public: Vec<String>,
}

pub enum Target {
    /// It is set up, and was asked.
    Known(Surveyed),
    /// It is to be set up: its architecture and login, as ssh told.
    New { architecture: String, login: String },
}

impl Plan {
    pub fn bytes(&self) -> u64 {
        self.source.places.iter().map(|place| place.bytes).sum()
    }

    pub fn files(&self) -> u64 {
        self.source.places.iter().map(|place| place.files).sum()
    }

    pub fn to_json(&self) -> Value {
        let target = match &self.target {
            Target::Known(found) => found.to_json(),
            Target::New { architecture, login } => {
                json!({"architecture": architecture, "login": login, "new": true})
            }
        };
        let services = &self.services;
        json!({"source": self.source.to_json(), "target": target, "services": services})
    }
}

/// Both sides; the target over ssh where it is not set up yet.
pub fn look(call: &mut Call, work: &mut Move, project: &Project) -> Result<Plan, Failure> {
    let desired = &project.desired;
    call.out.wait(&format!("looking at {}", work.it.from));
    let source = source(call, work, desired)?;
    is_as_wanted(work, project)?;
    call.out.done("");
    let target = if store::names(work.paths)?.contains(&work.it.to) {
        call.out.wait(&format!("looking at {}", work.it.to));
        let found = target(call, work, desired)?;
        call.out.done("");
        Target::Known(found)
    } else {
        let options = Options::read(work.paths, &work.it.to, |flag| call.args.value(flag))?;
        let options = Options { dry: true, ..options };
        let plan = setup::plan(call, work.paths, &options)?;
        Target::New { architecture: plan.machine, login: plan.user }
    };
    let services = desired.services.keys().cloned().collect();
    let public = desired.services.iter().filter(|(_, it)| it.public || !it.domains.is_empty());
    let public = public.map(|(name, _)| name.clone()).collect();
    let plan = Plan { source, target, services, public };
    let may_differ = call.args.has("other-architecture");
    refuse(call, work, judged(&plan, desired, may_differ))?;
    work.expected = (plan.bytes(), plan.files());
    Ok(plan)
}

/// The same of a target that has been set up since.
pub fn look_again(call: &mut Call, work: &mut Move, project: &Project) -> Result<(), Failure> {
    let source = source(call, work, &project.desired)?;
    let target = Target::Known(target(call, work, &project.desired)?);
    let plan = Plan { source, target, services: Vec::new(), public: Vec::new() };
    work.expected = (plan.bytes(), plan.files());
    let mut wrong = judged(&plan, &project.desired, call.args.has("other-architecture"));
    // It was prepared by this very move.
    if let Target::Known(Surveyed { workspace: Some(known), .. }) = &plan.target
        && known.id.as_ref() == Some(&work.it.id)
    {
        wrong.retain(|why| !why.is_about_place);
    }
    refuse(call, work, wrong)
}

/// Whether the source says that the workspace has left it by this migration.
pub fn has_left(call: &mut Call, work: &mut Move) -> Result<bool, Failure> {
    call.out.wait(&format!("asking {} how far it is", work.it.from));
    let asked = AskSurvey { workspace: Some(work.it.workspace.clone()), places: Vec::new() };
    let (id, from) = (work.it.id.clone(), work.source()?);
    let found: Surveyed = follow(call, from, MigrationSurvey, &asked, Shown::part())?;
    let known = found.workspace.unwrap_or_default();
    call.out.done("");
    Ok(matches!(known.held, Held::Left { .. }) && known.id == Some(id))
}

fn ask(work: &Move, desired: &Desired) -> AskSurvey {
    let places: BTreeSet<&String> =
        desired.services.values().flat_map(|service| &service.data).map(|it| &it.host).collect();
    let workspace = Some(work.it.workspace.clone());
    AskSurvey { workspace, places: places.into_iter().cloned().collect() }
}

fn source(call: &mut Call, work: &mut Move, desired: &Desired) -> Result<Surveyed, Failure> {
    let (asked, id) = (ask(work, desired), work.it.id.clone());
    let there = work.source()?;
    let found: Surveyed = follow(call, there, MigrationSurvey, &asked, Shown::part())?;
    let (name, host) = (&desired.workspace, &there.host);
    let what = format!("{name} cannot move from {host}");
    let Some(known) = &found.workspace else {
        let why = format!("{host} does not know it");
        return Err(Failure::new(Fault::NotFound, what, why, fix!("hop up {}", host)));
    };
    match &known.held {
        Held::Left { to } => {
            let why = format!("it has moved to {to}");
            Err(Failure::new(Fault::No, what, why, "hop to --status"))
        }
        Held::Paused | Held::Coming if known.id.as_ref() != Some(&id) => {
            let why = "another laptop is just moving it";
            Err(Failure::new(Fault::Busy, what, why, fix!("hop services ls -H {}", host)))
        }
        _ => Ok(found),
    }
}

fn target(call: &mut Call, work: &mut Move, desired: &Desired) -> Result<Surveyed, Failure> {
    let asked = ask(work, desired);
    follow(call, work.target()?, MigrationSurvey, &asked, Shown::part())
}

/// What the file here says is what the source has: else something would start at the target that
/// nobody has seen run.
fn is_as_wanted(work: &mut Move, project: &Project) -> Result<(), Failure> {
    let there = work.source()?;
    if proposed(there, project)?.plan.steps.is_empty() {
        return Ok(());
    }
    let what = format!("{} is not as {FILE} here says on {}", work.it.workspace, work.it.from);
    let why = "what moves is what runs there: that comes first";
    Err(Failure::new(Fault::No, what, why, fix!("hop up {}", work.it.from)))
}

/// One thing in the way.
struct Wrong {
    what: String,
    /// It is that something is there already.
    is_about_place: bool,
}

fn judged(plan: &Plan, desired: &Desired, may_differ: bool) -> Vec<Wrong> {
    let mut all = Vec::new();
    let mut add = |what: String, is_about_place| all.push(Wrong { what, is_about_place });
    let (ours, theirs) = match &plan.target {
        Target::Known(found) => (&plan.source.architecture, &found.architecture),
        Target::New { architecture, .. } => (&plan.source.architecture, architecture),
    };
    if ours != theirs && !may_differ {
        let text = format!(
            "it is {theirs} and the old host {ours}: images and programs may not run there \
             (--other-architecture if they do)"
        );
        add(text, false);
    }
    let Target::Known(found) = &plan.target else { return all };
    let needs_engine =
        desired.services.values().any(|service| matches!(service.kind, Kind::Container(_)));
    if needs_engine && !found.has_docker && !found.has_podman {
        add("it has neither docker nor podman for the containers".to_owned(), false);
    }
    if desired.backup.is_some() && found.restic.is_none() {
        add("it has no restic for the snapshots that backup names".to_owned(), false);
    }
    if let Some(known) = &found.workspace {
        let runs = !known.running.is_empty();
        if runs || !matches!(known.held, Held::Coming | Held::Left { .. }) {
            add(format!("it has a workspace {} already", desired.workspace), true);
        }
    }
    for place in &found.places {
        if place.is_there {
            add(format!("{} holds something there already", place.path), true);
        } else if !place.is_writable {
            add(format!("its login may not write {}", place.path), false);
        }
    }
    all.extend(without_room(&plan.source, found));
    all
}

/// Places that say they have as much room may share it: they are one file system.
fn without_room(source: &Surveyed, target: &Surveyed) -> Option<Wrong> {
    let need: u64 = source.places.iter().map(|place| place.bytes).sum();
    let need = need.saturating_add(need / SPARE);
    let free = target.places.iter().map(|place| place.free_bytes).min()?;
    let are_one = target.places.iter().all(|place| place.free_bytes == free);
    let lacks = |spot: &crate::rpc::types::migration::Spot| {
        let comes = source.places.iter().find(|place| place.path == spot.path);
        let bytes = comes.map_or(0, |place| place.bytes);
        spot.free_bytes < bytes.saturating_add(bytes / SPARE)
    };
    let is_short = (are_one && free < need) || target.places.iter().any(lacks);
    is_short.then(|| {
        let (need, free) = (super::services_view::bytes(need), super::services_view::bytes(free));
        let what = format!("it has {free} of room, and {need} are needed");
        Wrong { what, is_about_place: false }
    })
}

fn refuse(call: &Call, work: &Move, wrong: Vec<Wrong>) -> Result<(), Failure> {
    let mut all = wrong.into_iter().map(|wrong| wrong.what);
    let Some(first) = all.next() else { return Ok(()) };
    let what = format!("{} cannot move to {}", work.it.workspace, work.it.to);
    let next: Fix = call.again("");
    Err(Failure { also: all.collect(), ..Failure::new(Fault::No, what, first, next) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::migration::{Known, Spot};
    use crate::workspace::read;

    const MANIFEST: &str = "name: app\nservices:\n  db: {type: container, image: 'postgres:16', \
                            data: [{host: ~/db, container: /d}]}\nbackup: {backend: restic, \
                            target: /srv/r, password_env: P}\nenv: {P: x}\n";

    fn place(bytes: u64, free_bytes: u64, is_there: bool) -> Spot {
        let path = "~/db".to_owned();
        Spot { path, bytes, free_bytes, is_there, is_writable: true, ..Spot::default() }
    }

    fn found(architecture: &str, spot: Spot) -> Surveyed {
        let architecture = architecture.to_owned();
        Surveyed { architecture, places: vec![spot], ..Surveyed::default() }
    }

    #[test]
    fn all_that_stands_in_the_way_is_said_at_once() {
        let desired = read::manifest(MANIFEST).unwrap().desired;
        let source = found("x86_64", place(1000, 0, true));
        let judged = |target: Surveyed, may_differ| -> Vec<String> {
            let target = Target::Known(target);
            let plan =
                Plan { source: source.clone(), target, services: Vec::new(), public: Vec::new() };
            judged(&plan, &desired, may_differ).into_iter().map(|wrong| wrong.what).collect()
        };
        let good = Surveyed {
            restic: Some("0.18.0".to_owned()),
            has_podman: true,
            ..found("x86_64", place(0, 1100, false))
        };
        assert_eq!(judged(good.clone(), false), [""; 0]);
        let all = judged(found("aarch64", place(7, 1099, true)), false);
        let words = ["aarch64", "docker", "restic", "holds something", "room"];
        assert_eq!(all.len(), words.len(), "{all:?}");
        for (text, word) in all.iter().zip(words) {
            assert!(text.contains(word), "{text}");
        }
        let other = Surveyed { architecture: "aarch64".to_owned(), ..good.clone() };
        assert_eq!((judged(other.clone(), false).len(), judged(other, true).len()), (1, 0));
        let (running, held) = (vec!["db".to_owned()], Held::No);
        let runs = Known { running, held, ..Known::default() };
        let there = Surveyed { workspace: Some(runs), ..good.clone() };
        assert_eq!(judged(there, false), ["it has a workspace app already"]);
        let closed = Spot { is_writable: false, ..place(0, 5000, false) };
        let closed = Surveyed { places: vec![closed], ..good };
        assert_eq!(judged(closed, false), ["its login may not write ~/db"]);
    }
}
