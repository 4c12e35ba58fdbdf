//! What is looked at before a workspace moves: both servers, and whether what runs on the one can
//! run on the other. Nothing is changed. All that stands in the way is said at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::command::Call;
use super::migration_sides::{Move, project, proposed};
use super::service_names::LIMIT;
use super::snap_shown::{Shown, follow};
use crate::base::failure::{Failure, Fault};
use crate::deploy::options::Options;
use crate::deploy::setup;
use crate::fix;
use crate::host::migration::Agreed;
use crate::host::store;
use crate::host::workspace::{FILE, Project};
use crate::rpc::method::{MigrationStanding, MigrationSurvey};
use crate::rpc::types::Message;
use crate::rpc::types::migration::{AskSurvey, Held, Spot, Standing, Surveyed};
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

    /// Only root gives files away.
    pub fn are_owners_kept(&self) -> bool {
        let target = match &self.target {
            Target::Known(found) => &found.login,
            Target::New { login, .. } => login,
        };
        self.source.login == "root" && target == "root"
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
    refuse(call, work, judged(&plan, desired, work.it.agreed))?;
    looked(work, &plan.source);
    Ok(plan)
}

/// The same of a target that has been set up since.
pub fn look_again(call: &mut Call, work: &mut Move, project: &Project) -> Result<(), Failure> {
    let source = source(call, work, &project.desired)?;
    let target = Target::Known(target(call, work, &project.desired)?);
    let plan = Plan { source, target, services: Vec::new(), public: Vec::new() };
    looked(work, &plan.source);
    let mut wrong = judged(&plan, &project.desired, work.it.agreed);
    // It was prepared by this very move.
    let known = match &plan.target {
        Target::Known(found) => found.workspace.as_ref(),
        Target::New { .. } => None,
    };
    if known.is_some_and(|known| known.standing.id.as_ref() == Some(&work.it.id)) {
        wrong.retain(|why| !why.is_about_place);
    }
    refuse(call, work, wrong)
}

/// Whether the source says that the workspace has left it by this migration.
pub fn has_left(call: &mut Call, work: &mut Move) -> Result<bool, Failure> {
    call.out.wait(&format!("asking {} how far it is", work.it.from));
    let (of, from) = (work.of(), work.source()?);
    let asked = from.client.call(MigrationStanding, &of, LIMIT);
    let Standing { held, id } = asked.map_err(|error| from.failed(error))?;
    call.out.done("");
    Ok(matches!(held, Held::Left { .. }) && id == Some(of.id))
}

/// The source alone, where its data is copied by a process that has not looked before: a disk may
/// have gone since.
pub fn look_at_source(call: &mut Call, work: &mut Move) -> Result<(), Failure> {
    let project = project(&work.it.dir)?;
    let found = source(call, work, &project.desired)?;
    looked(work, &found);
    refuse(call, work, not_whole(&found, work.it.agreed))
}

fn looked(work: &mut Move, source: &Surveyed) {
    let sum = |of: fn(&Spot) -> u64| source.places.iter().map(of).sum();
    work.expected = (sum(|place| place.bytes), sum(|place| place.files));
    work.is_looked_at = true;
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
    match &known.standing.held {
        Held::Left { to } => {
            let why = format!("it has moved to {to}");
            Err(Failure::new(Fault::No, what, why, "hop to --status"))
        }
        Held::Paused | Held::Coming if known.standing.id.as_ref() != Some(&id) => {
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

/// Places of the source that hold nothing, or what cannot be had. A disk that is not mounted looks
/// empty, and services would begin anew at the target; as they would without what is left out.
fn not_whole(source: &Surveyed, agreed: Agreed) -> Vec<Wrong> {
    let wrong = |place: &Spot| match place.left_out.first() {
        Some(first) if !agreed.leave_out => Some(left_out(&place.path, first)),
        None if !place.is_there && !agreed.empty => Some(format!(
            "{} is empty on the old host: a disk may not be mounted (--empty if it is to be so)",
            place.path
        )),
        _ => None,
    };
    let all = source.places.iter().filter_map(wrong);
    all.map(|what| Wrong { what, is_about_place: false }).collect()
}

/// `which` is one of those that cannot be moved, and why.
pub fn left_out(place: &str, which: &str) -> String {
    format!("not all of {place} can be moved: {which} (--leave-out if it need not be)")
}

fn judged(plan: &Plan, desired: &Desired, agreed: Agreed) -> Vec<Wrong> {
    let mut all = not_whole(&plan.source, agreed);
    let mut add = |what: String, is_about_place| all.push(Wrong { what, is_about_place });
    let (ours, theirs) = match &plan.target {
        Target::Known(found) => (&plan.source.architecture, &found.architecture),
        Target::New { architecture, .. } => (&plan.source.architecture, architecture),
    };
    if ours != theirs && !agreed.other_architecture {
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
        if runs || !matches!(known.standing.held, Held::Coming | Held::Left { .. }) {
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
    let lacks = |spot: &Spot| {
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
    use crate::rpc::types::migration::Known;
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
        let judged = |target: Surveyed, other_architecture| -> Vec<String> {
            let (target, source) = (Target::Known(target), source.clone());
            let plan = Plan { source, target, services: Vec::new(), public: Vec::new() };
            let agreed = Agreed { other_architecture, ..Agreed::default() };
            judged(&plan, &desired, agreed).into_iter().map(|wrong| wrong.what).collect()
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
        let runs = Known { running: vec!["db".to_owned()], ..Known::default() };
        let there = Surveyed { workspace: Some(runs), ..good.clone() };
        assert_eq!(judged(there, false), ["it has a workspace app already"]);
        let closed = Spot { is_writable: false, ..place(0, 5000, false) };
        let closed = Surveyed { places: vec![closed], ..good };
        assert_eq!(judged(closed, false), ["its login may not write ~/db"]);
        let (none, empty) = (Agreed::default(), Agreed { empty: true, ..Agreed::default() });
        let leave_out = Agreed { leave_out: true, ..Agreed::default() };
        let (nothing, some) = (place(0, 0, false), place(0, 0, true));
        let hidden = Spot { left_out: vec!["pg: it cannot be read".to_owned()], ..some.clone() };
        for (place, agreed, word) in [
            (&nothing, none, "~/db is empty"),
            (&nothing, leave_out, "~/db is empty"),
            (&hidden, empty, "pg: it cannot be read"),
            (&nothing, empty, ""),
            (&hidden, leave_out, ""),
            (&some, none, ""),
        ] {
            let wrong = not_whole(&found("x86_64", place.clone()), agreed);
            assert_eq!(wrong.is_empty(), word.is_empty(), "{word}");
            assert!(wrong.iter().all(|wrong| wrong.what.contains(word)), "{word}");
        }
    }
}
