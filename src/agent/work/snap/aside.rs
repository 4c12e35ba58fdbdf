//! Frozen trees as they are known: what was put aside when something took its place. A record of
//! each lies with what is kept of the workspace; one without is what a kill has left.
//!
//! Bounds: the 8 newest of a workspace stay, for 30 days; of the others nothing does.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::place::{self, Kept};
use super::remove::remove_tree;
use super::{journal, tree};
use crate::base::file;
use crate::base::json::Fields;
use crate::rpc::types::details::list;
use crate::rpc::types::snap::Frozen;
use crate::sys::{bounded, clock, random};

const KEPT: usize = 8;
const KEPT_MS: u64 = 30 * 24 * 3600 * 1000;
const RECORDS: usize = 256;
const BYTES: u64 = 256 * 1024;
const PATHS: usize = 1024;

/// What it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// For restic to read; it is gone by then.
    Create,
    Restore,
    Undo,
    /// What came from another server took its place, or has left it again.
    Move,
}

impl Reason {
    pub fn word(self) -> &'static str {
        match self {
            Reason::Create => "create",
            Reason::Restore => "restore",
            Reason::Undo => "undo",
            Reason::Move => "move",
        }
    }
}

/// A name that no other has, of this moment.
pub fn new_id() -> io::Result<String> {
    let mut bytes = [0; 3];
    random::fill(&mut bytes)?;
    let [a, b, c] = bytes;
    Ok(format!("f-{:x}-{a:02x}{b:02x}{c:02x}", clock::wall_ms() / 1000))
}

fn records(workspace: &str) -> io::Result<PathBuf> {
    Ok(journal::room(workspace)?.join("frozen"))
}

/// It is known from now on.
pub fn record(workspace: &str, id: &str, reason: Reason, of: &[PathBuf]) -> io::Result<()> {
    let dir = records(workspace)?;
    crate::agent::work::state::private_dir(&dir)?;
    let paths: Vec<String> = of.iter().map(|path| path.display().to_string()).collect();
    let text = json!({"made_ms": clock::wall_ms(), "reason": reason.word(), "paths": paths});
    file::replace(&dir.join(format!("{id}.json")), text.to_string().as_bytes())
}

/// `None` as well where nothing of it is there any more: what a kill interrupted was put back, and
/// would hide from `undo` what can be.
fn read(workspace: &str, id: &str, text: &str) -> Option<Frozen> {
    let mut fields = Fields::parse(text).ok()?;
    let paths = list(&mut fields, "paths", PATHS, |path| Some(path.as_str()?.to_owned())).ok()?;
    let made_ms = fields.int("made_ms", 0..=u64::MAX).ok()?;
    let reason = fields.string("reason").ok();
    let frozen = Frozen { id: id.to_owned(), made_ms, reason, bytes: 0, paths };
    let is_there = places(workspace, &frozen).any(|place| fs::symlink_metadata(place).is_ok());
    is_there.then_some(frozen)
}

/// Where it lies.
fn places(workspace: &str, frozen: &Frozen) -> impl Iterator<Item = PathBuf> {
    let is_known = frozen.reason.is_some();
    frozen.paths.iter().filter_map(move |path| match is_known {
        true => place::twin(Path::new(path), workspace, &frozen.id).ok(),
        false => Some(PathBuf::from(path)),
    })
}

/// How much it holds, which is looked at file by file.
pub fn bytes(workspace: &str, frozen: &Frozen) -> u64 {
    let of = |place: PathBuf| tree::count(&place, &|| true).map_or(0, |count| count.bytes);
    places(workspace, frozen).map(of).sum()
}

/// All there are, the newest first: those that are known, and what lies beside `kept` unknown.
/// Without their [`bytes`].
pub fn all(workspace: &str, kept: &[Kept]) -> Vec<Frozen> {
    let names = records(workspace).ok().and_then(|dir| fs::read_dir(dir).ok());
    let mut found = Vec::new();
    for entry in names.into_iter().flatten().flatten().take(RECORDS) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_suffix(".json") else { continue };
        let text = bounded::read(entry.path(), BYTES).ok().and_then(|b| String::from_utf8(b).ok());
        found.extend(text.and_then(|text| read(workspace, id, &text)));
    }
    for parent in kept.iter().filter_map(|kept| kept.path.parent()) {
        let room = place::room(parent, workspace);
        for entry in fs::read_dir(&room).into_iter().flatten().flatten().take(RECORDS) {
            let id = entry.file_name().to_string_lossy().into_owned();
            let is_known = found.iter().any(|known: &Frozen| known.id == id);
            if is_known || id.starts_with(place::MOVES) {
                continue;
            }
            let paths = vec![entry.path().display().to_string()];
            let made = entry.metadata().and_then(|found| found.modified()).ok();
            let made = made.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let made_ms = made.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(0));
            found.push(Frozen { id, made_ms, reason: None, bytes: 0, paths });
        }
    }
    found.sort_by(|a, b| b.made_ms.cmp(&a.made_ms).then_with(|| b.id.cmp(&a.id)));
    found
}

/// Nothing of it stays.
pub fn remove(workspace: &str, frozen: &Frozen) -> io::Result<()> {
    if frozen.reason.is_some() {
        return remove_known(workspace, &frozen.id, frozen.paths.iter().map(Path::new));
    }
    let is_ours = |path: &Path| path.components().any(|part| part.as_os_str() == place::ROOM);
    let mut ours = frozen.paths.iter().map(Path::new).filter(|path| is_ours(path));
    ours.try_for_each(remove_tree)?;
    forget(workspace, &frozen.id)
}

/// The same of one that is known, by what it is of.
pub fn remove_known<'a>(
    workspace: &str,
    id: &str,
    of: impl Iterator<Item = &'a Path>,
) -> io::Result<()> {
    for path in of {
        remove_tree(&place::twin(path, workspace, id)?)?;
        place::tidy(path, workspace, id);
    }
    forget(workspace, id)
}

/// It is known no more.
pub fn forget(workspace: &str, id: &str) -> io::Result<()> {
    match fs::remove_file(records(workspace)?.join(format!("{id}.json"))) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Those that are too many or too old go.
pub fn prune(workspace: &str, kept: &[Kept]) -> io::Result<()> {
    let now = clock::wall_ms();
    let known: Vec<Frozen> =
        all(workspace, kept).into_iter().filter(|it| it.reason.is_some()).collect();
    for (at, frozen) in known.iter().enumerate() {
        // A clock that was ahead makes nothing old.
        if at >= KEPT || now.saturating_sub(frozen.made_ms) > KEPT_MS {
            remove(workspace, frozen)?;
        }
    }
    Ok(())
}
