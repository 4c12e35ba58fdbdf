//! What there is, whether it can be had back, and what of it goes.

use std::ffi::OsString;
use std::path::Path;

use super::aside::{self, Reason};
use super::create::{known_digest, notes};
use super::journal;
use super::last::{self, Last};
use super::listener::Listener;
use super::pause;
use super::place;
use super::remove::remove_tree;
use super::repository::{self, Opened, originals};
use super::tree;
use crate::agent::work::services::{Done, failed, unable};
use crate::agent::work::state::private_dir;
use crate::base::time_text::seconds;
use crate::rpc::code::Code;
use crate::rpc::types::snap::{Checked, Forgotten, Frozen, Listed, Snapshot, Stage};
use crate::sys::clock;
use crate::workspace::manifest::{Desired, Keep};

/// By which clocks of servers may differ.
const AHEAD_S: u64 = 300;

pub fn list(name: &str, to: &dyn Listener) -> Done<Listed> {
    let desired = repository::workspace(name)?;
    let (kept, missing) = place::kept(&desired).map_err(failed("what is kept cannot be found"))?;
    let mut frozen = aside::all(name, &kept);
    for one in &mut frozen {
        one.bytes = aside::bytes(name, one);
    }
    if !repository::is_busy(name) {
        // Of nothing that is being made.
        let is_left =
            |frozen: &&mut Frozen| frozen.reason.as_deref() == Some(Reason::Create.word());
        frozen.iter_mut().filter(is_left).for_each(|frozen| frozen.reason = None);
    }
    let mut listed = Listed { frozen, ..Listed::default() };
    listed.notes.extend(missing.iter().map(|path| format!("it is not there yet: {path}")));
    if desired.backup.is_none() {
        listed.notes.push("hopbox.yaml names no repository (backup)".to_owned());
        return Ok(listed);
    }
    let opened = match Opened::of(&desired) {
        Ok(opened) => opened,
        Err(unable) => {
            listed.notes.push(unable.why);
            return Ok(listed);
        }
    };
    listed.repository = Some(opened.restic.repository.shown());
    listed.notes.extend(notes(&opened));
    listed.notes.extend(last::not_forgotten(name));
    let all = match opened.snapshots(to) {
        // Before the first of them.
        Err(unable) if unable.code == Code::NotFound => Vec::new(),
        all => all?,
    };
    let of = |snapshot: Snapshot| Snapshot { paths: originals(&snapshot), ..snapshot };
    listed.snapshots = all.into_iter().map(of).collect();
    Ok(listed)
}

/// One of them, the newest if none is named, is restored into a scratch directory and looked at.
pub fn check(name: &str, id: Option<&str>, to: &dyn Listener) -> Done<Checked> {
    let desired = repository::workspace(name)?;
    let _alone = repository::alone(name)?;
    let opened = Opened::of(&desired)?;
    opened.unlock(to)?;
    let snapshot = opened.find(id.unwrap_or("latest"), to)?;
    to.stage(Stage::Look);
    opened.run(&["check", "-q"].map(OsString::from), to)?;
    let scratch = journal::room(name).map(|room| room.join("scratch"));
    let scratch = scratch.map_err(failed("no scratch directory"))?;
    // What a kill has left.
    let clear = || remove_tree(&scratch).map_err(failed("the scratch directory stays"));
    clear()?;
    private_dir(&scratch).map_err(failed("no scratch directory"))?;
    let looked = looked(&desired, &opened, &snapshot, &scratch, to);
    clear()?;
    looked
}

fn looked(
    desired: &Desired,
    opened: &Opened,
    snapshot: &Snapshot,
    scratch: &Path,
    to: &dyn Listener,
) -> Done<Checked> {
    to.stage(Stage::Restore);
    opened.restore(&snapshot.id, scratch, &["--verify".as_ref()], to)?;
    to.stage(Stage::Look);
    let mut checked = Checked {
        id: snapshot.id.clone(),
        files: 0,
        bytes: 0,
        is_compared: !snapshot.paths.is_empty(),
    };
    for path in &snapshot.paths {
        let below = path.trim_start_matches('/');
        let (digest, count) = tree::digest(&scratch.join(below), &|| to.is_wanted())
            .map_err(failed(&format!("{path} is not as it was")))?;
        checked.files += count.files;
        checked.bytes = checked.bytes.saturating_add(count.bytes);
        match known_digest(&desired.workspace, &snapshot.id, Path::new(path)) {
            None => checked.is_compared = false,
            Some(known) if known == digest.to_string() => {}
            Some(_) => {
                let path = place::original(Path::new(path));
                let why = format!("{} comes back as another tree than was read", path.display());
                return Err(unable(Code::Failed, why));
            }
        }
    }
    Ok(checked)
}

/// What `keep` does not say goes, with the data that nothing else has. What becomes of it is kept.
pub fn forget(name: &str, to: &dyn Listener) -> Done<Forgotten> {
    let desired = repository::workspace(name)?;
    let keep = desired.backup.as_ref().map(|backup| backup.keep).unwrap_or_default();
    if keep == Keep::default() {
        let why = "backup.keep says nothing, so nothing is forgotten: write keep: {daily: 7}";
        return Err(unable(Code::NotFound, why));
    }
    let _alone = repository::alone(name)?;
    let forgotten = remove_some(&desired, to, |opened, before| {
        no_time_to_come(before)?;
        // One group: paths tell of twins, and hosts are others after a move.
        let mut words = opened.words(&["forget", "-q", "--prune", "--group-by", ""]);
        words.extend(kept(&keep));
        Ok(words)
    });
    Last::note_forgotten(name, &forgotten).map_err(failed("cannot write"))?;
    forgotten
}

/// `keep` counts back from the latest time: one that a clock was ahead for would have all that are
/// newer forgotten in its stead.
fn no_time_to_come(all: &[Snapshot]) -> Done<()> {
    let now = clock::wall_ms() / 1000;
    let is_ahead = |snapshot: &&Snapshot| {
        seconds(&snapshot.time).is_some_and(|time| time > now.saturating_add(AHEAD_S))
    };
    let Some(ahead) = all.iter().find(is_ahead) else { return Ok(()) };
    let id = ahead.id.get(..8).unwrap_or(&ahead.id);
    let why = format!(
        "snapshot {id} is of {}, which is still to come by this server's clock, so newer ones \
         would be forgotten for it: set the clock right, or remove {id} by its id",
        ahead.time
    );
    Err(unable(Code::Unsupported, why))
}

fn kept(keep: &Keep) -> Vec<OsString> {
    let all = [
        ("--keep-last", keep.last),
        ("--keep-hourly", keep.hourly),
        ("--keep-daily", keep.daily),
        ("--keep-weekly", keep.weekly),
        ("--keep-monthly", keep.monthly),
        ("--keep-yearly", keep.yearly),
    ];
    let some =
        all.iter().filter_map(|(flag, number)| Some([(*flag).to_owned(), (*number)?.to_string()]));
    some.flatten().map(OsString::from).collect()
}

/// For whoever is alone with the workspace.
fn remove_some(
    desired: &Desired,
    to: &dyn Listener,
    words: impl FnOnce(&Opened, &[Snapshot]) -> Done<Vec<OsString>>,
) -> Done<Forgotten> {
    let opened = Opened::of(desired)?;
    to.stage(Stage::Open);
    let unlocked = opened.unlock(to)?;
    let before = opened.snapshots(to)?;
    to.stage(Stage::Forget);
    opened.run(&words(&opened, &before)?, to)?;
    let after = opened.snapshots(to)?;
    let is_gone = |snapshot: &&Snapshot| !after.contains(snapshot);
    let removed = before.iter().filter(is_gone).map(|snapshot| snapshot.id.clone()).collect();
    Ok(Forgotten { removed, kept: after.len() as u64, unlocked })
}

/// One snapshot, or one frozen tree.
pub fn remove(name: &str, id: &str, to: &dyn Listener) -> Done<Forgotten> {
    let desired = repository::workspace(name)?;
    if id.starts_with("f-") {
        return remove_frozen(&desired, id);
    }
    let found = Opened::of(&desired)?.find(id, to)?.id;
    let words = ["forget", "-q", "--prune", &found].map(OsString::from);
    let _alone = repository::alone(name)?;
    remove_some(&desired, to, |_, _| Ok(words.to_vec()))
}

fn remove_frozen(desired: &Desired, id: &str) -> Done<Forgotten> {
    let name = &desired.workspace;
    let _alone = repository::alone(name)?;
    pause::recover(desired)?;
    let (kept, _) = place::kept(desired).map_err(failed("what is kept cannot be found"))?;
    let all = aside::all(name, &kept);
    let found = all.iter().filter(|frozen| frozen.id == id);
    let mut removed = Vec::new();
    for frozen in found {
        aside::remove(name, frozen).map_err(failed("it cannot be removed"))?;
        removed = vec![frozen.id.clone()];
    }
    match removed.is_empty() {
        true => Err(unable(Code::NotFound, format!("there is no frozen tree {id}"))),
        false => Ok(Forgotten { removed, kept: all.len() as u64 - 1, unlocked: 0 }),
    }
}
