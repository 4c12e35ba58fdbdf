//! What a restore, or an undo, would do: looked at and shown; what is in the way of it is refused
//! here. What was shown is taken once, as long as nothing there has changed.
//!
//! Bounds: 4 plans at a time, each for a minute and once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::aside::{self, Reason};
use super::listener::Listener;
use super::listing::{self, Content};
use super::owners::Others;
use super::pause;
use super::place::{self, Kept};
use super::repository::{self, Opened};
use super::tree;
use crate::agent::work::services::{Done, failed, unable};
use crate::rpc::code::Code;
use crate::rpc::types::Message;
use crate::rpc::types::snap::{BackPlan, Frozen, Part, Stage, WantedBack};
use crate::sys::{clock, free_space, process};
use crate::workspace::digest::Digest;
use crate::workspace::manifest::Desired;

const PLANS: usize = 4;
const LIFE_MS: u64 = 60_000;

/// Where something comes from, and what is at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// In the snapshot, or a twin's.
    pub from: PathBuf,
    pub place: PathBuf,
    pub was_there: bool,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub struct Planned {
    pub workspace: String,
    /// A frozen tree, or nothing: a snapshot.
    pub frozen: Option<Frozen>,
    pub id: String,
    pub moves: Vec<Move>,
    pub services: BTreeSet<String>,
    generation: u64,
}

impl Planned {
    /// Of whom more than this login there is something. What is only renamed stays theirs.
    pub fn others(&self) -> Option<String> {
        let mut all = Others::default();
        self.moves.iter().for_each(|it| all.add(&it.content.others));
        all.said().filter(|_| self.frozen.is_none())
    }
}

struct Shown {
    caller: String,
    digest: Digest,
    at_ms: u64,
    planned: Planned,
}

/// What was shown and not done. With this process it is gone, and has to be shown again.
static SHOWN: Mutex<Vec<Shown>> = Mutex::new(Vec::new());

pub fn plan(caller: &str, wanted: &WantedBack, to: &dyn Listener) -> Done<BackPlan> {
    let desired = repository::workspace(&wanted.workspace)?;
    let (planned, time, mut notes) = planned(&desired, wanted, to)?;
    let paused = pause::ended(&desired, &planned.services);
    let part = |it: &Move| Part {
        path: it.place.display().to_string(),
        files: it.content.files,
        bytes: it.content.bytes,
        is_there: it.was_there,
    };
    let parts: Vec<Part> = planned.moves.iter().map(part).collect();
    if let Some(others) = planned.others() {
        notes.push(format!("{others}; this login cannot give files away, so they become its own"));
    }
    let id = planned.id.clone();
    let mut plan = BackPlan { digest: Digest::of("", ""), id, time, parts, paused, notes };
    let text = format!("{} {}", plan.to_json(), planned.generation);
    plan.digest = Digest::of("hopbox.snap.plan/1", &text);
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    shown.retain(|other| other.caller != caller);
    let more = (shown.len() + 1).saturating_sub(PLANS);
    shown.drain(..more);
    let (caller, digest, at_ms) = (caller.to_owned(), plan.digest, clock::boot_ms());
    shown.push(Shown { caller, digest, at_ms, planned });
    Ok(plan)
}

pub fn take(caller: &str, digest: Digest) -> Done<Planned> {
    let refused = |why: &str| unable(Code::PlanChanged, why);
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let at = shown.iter().position(|it| it.caller == caller && it.digest == digest);
    let at = at.ok_or_else(|| refused("this plan was not shown to this laptop, or was done"))?;
    let Shown { at_ms, planned, .. } = shown.remove(at);
    if clock::boot_ms().checked_sub(at_ms).is_none_or(|age| age > LIFE_MS) {
        return Err(refused("this plan was shown more than a minute ago"));
    }
    match planned.generation == repository::generation(&planned.workspace) {
        true => Ok(planned),
        false => Err(refused("something has changed there since this plan was shown")),
    }
}

fn planned(
    desired: &Desired,
    wanted: &WantedBack,
    to: &dyn Listener,
) -> Done<(Planned, String, Vec<String>)> {
    let name = &desired.workspace;
    to.stage(Stage::Look);
    let (kept, _) = place::kept(desired).map_err(failed("what is kept cannot be found"))?;
    let (frozen, id, time, moves, notes) = match wanted.id.as_deref() {
        Some(id) if !id.starts_with("f-") => {
            let opened = Opened::of(desired)?;
            opened.apart(&kept)?;
            let notes = guard(&opened, wanted.may_be_root)?;
            let snapshot = opened.find(id, to)?;
            let moves = of_snapshot(&opened, &snapshot, &kept, wanted, to)?;
            (None, snapshot.id, snapshot.time, moves, notes)
        }
        id => {
            let frozen = of_frozen(name, &kept, id)?;
            let moves = of_twins(name, &frozen, &kept, wanted)?;
            let time = crate::base::time_text::utc(frozen.made_ms / 1000);
            (Some(frozen.clone()), frozen.id, time, moves, Vec::new())
        }
    };
    if moves.is_empty() {
        let why = "nothing of it is what is asked for: hop snap ls shows what there is";
        return Err(unable(Code::NotFound, why));
    }
    for it in &moves {
        fits(it, frozen.is_none())?;
    }
    let is_in = |kept: &&Kept| moves.iter().any(|it| it.place.starts_with(&kept.path));
    let services = kept.iter().filter(is_in).flat_map(|kept| kept.services.clone()).collect();
    let (workspace, generation) = (name.clone(), repository::generation(name));
    Ok((Planned { workspace, frozen, id, moves, services, generation }, time, notes))
}

/// A restic that is not safe as root is not run as root, unless somebody said so.
fn guard(opened: &Opened, is_taken: bool) -> Done<Vec<String>> {
    let version = opened.restic.version;
    if !process::is_root() || version.restores_safely_as_root() {
        return Ok(Vec::new());
    }
    let why = format!("restic {version} restores unsafely as root what others could write to");
    match is_taken {
        true => Ok(vec![why]),
        false => {
            let why = format!(
                "{why}; 0.20 does not, and --as-root says that the repository is yours alone"
            );
            Err(unable(Code::Unsupported, why))
        }
    }
}

/// What of what is kept is asked for.
fn asked<'a>(kept: &'a [Kept], wanted: &WantedBack) -> Vec<(&'a Kept, PathBuf)> {
    let mut all = Vec::new();
    for one in kept {
        let of_service = wanted.service.as_ref().is_none_or(|name| one.services.contains(name));
        let place = match wanted.path.as_deref() {
            None => Some(one.path.clone()),
            Some(path) => {
                let path = expanded(path);
                let below = path.strip_prefix(&one.path).ok().map(Path::to_owned);
                below.map(|below| one.path.join(below))
            }
        };
        if let (true, Some(place)) = (of_service, place) {
            all.push((one, place));
        }
    }
    all
}

/// As the workspace's own are: its directory without links, which may not have the file any more.
fn expanded(path: &str) -> PathBuf {
    let home = crate::agent::work::state::home();
    let path = match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(path),
    };
    let dir = path.parent().and_then(|dir| fs::canonicalize(dir).ok());
    match (dir, path.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => path,
    }
}

fn of_snapshot(
    opened: &Opened,
    snapshot: &crate::rpc::types::snap::Snapshot,
    kept: &[Kept],
    wanted: &WantedBack,
    to: &dyn Listener,
) -> Done<Vec<Move>> {
    let mut from = Vec::new();
    for (_, place) in asked(kept, wanted) {
        for path in &snapshot.paths {
            let path = Path::new(path);
            if let Ok(below) = place.strip_prefix(place::original(path)) {
                let inside =
                    if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) };
                from.push((inside, place.clone()));
            }
        }
    }
    let sources: Vec<&Path> = from.iter().map(|(from, _)| from.as_path()).collect();
    let contents = listing::contents(opened, &snapshot.id, &sources, to)?;
    let mut moves = Vec::new();
    for ((from, place), content) in from.into_iter().zip(contents) {
        if content.is_databases_of_others && !process::is_root() {
            let why = format!(
                "{} is PostgreSQL's, of another user: restored by this login it would be this \
                 login's, and no server would start on it",
                place.display()
            );
            return Err(unable(Code::Unsupported, why));
        }
        if content.is_there {
            let was_there = fs::symlink_metadata(&place).is_ok();
            moves.push(Move { from, place, was_there, content });
        }
    }
    Ok(moves)
}

/// The newest that something was put aside for, or the one that is named.
fn of_frozen(name: &str, kept: &[Kept], id: Option<&str>) -> Done<Frozen> {
    let is_it = |frozen: &Frozen| match id {
        Some(id) => frozen.id == id,
        None => frozen.reason.as_deref().is_some_and(|word| word != Reason::Create.word()),
    };
    let found = aside::all(name, kept).into_iter().find(is_it);
    found.ok_or_else(|| unable(Code::NotFound, "nothing was put aside that could come back"))
}

fn of_twins(name: &str, frozen: &Frozen, kept: &[Kept], wanted: &WantedBack) -> Done<Vec<Move>> {
    let asked = asked(kept, wanted);
    let mut moves = Vec::new();
    for path in &frozen.paths {
        let place = PathBuf::from(path);
        let is_asked = asked.iter().any(|(_, wanted)| place.starts_with(wanted));
        let Ok(from) = place::twin(&place, name, &frozen.id) else { continue };
        if !is_asked || fs::symlink_metadata(&from).is_err() {
            continue;
        }
        let count = tree::count(&from, &|| true).map_err(failed(path))?;
        let was_there = fs::symlink_metadata(&place).is_ok();
        let content = Content {
            files: count.files,
            bytes: count.bytes,
            is_there: true,
            ..Content::default()
        };
        moves.push(Move { from, place, was_there, content });
    }
    Ok(moves)
}

/// What would be found out too late.
fn fits(it: &Move, is_copied: bool) -> Done<()> {
    let refuse =
        |why: &str| Err(unable(Code::Unsupported, format!("{}: {why}", it.place.display())));
    let Some(dir) = it.place.parent() else { return refuse("it has no directory") };
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        Err(error) => return refuse(&format!("its directory is not there: {error}")),
    };
    let device = fs::symlink_metadata(&it.place).map_or(found.dev(), |found| found.dev());
    if device != found.dev() {
        return refuse("it is a mount of its own, which nothing can take the place of");
    }
    if nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_err() {
        return refuse("this login cannot write to its directory, where it would take its place");
    }
    match is_copied {
        true => has_room(it),
        false => Ok(()),
    }
}

/// Beside its place. Each file may need a block more than it has, and one of the numbers that some
/// file systems have for files.
pub fn has_room(it: &Move) -> Done<()> {
    let Some(Ok(free)) = it.place.parent().map(free_space::at) else { return Ok(()) };
    let (files, bytes) = (it.content.files, it.content.bytes);
    let needed = bytes.saturating_add(bytes / 50).saturating_add(files.saturating_mul(free.block));
    let refuse =
        |why: String| Err(unable(Code::Unsupported, format!("{}: {why}", it.place.display())));
    if free.bytes < needed {
        return refuse(format!("{needed} bytes are needed beside it, and {} are free", free.bytes));
    }
    match free.files.filter(|room| *room < files) {
        Some(room) => {
            refuse(format!("{files} files are needed beside it, and there is room for {room}"))
        }
        None => Ok(()),
    }
}
