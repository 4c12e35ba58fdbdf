//! What is kept of a workspace's moves: in `move/` beside what else is kept of it, a directory for
//! each by its id, with what is known of files on either side, and what became of its last pass.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::agent::work::held;
use crate::agent::work::services::{Done, failed, unable};
use crate::agent::work::state;
use crate::base::file;
use crate::base::json::Fields;
use crate::rpc::code::Code;
use crate::rpc::types::Message;
use crate::rpc::types::migration::{OfMove, Outcome, Pass, Side};
use crate::sys::bounded;
use crate::sys::lock::Lock;

const LOCK: &str = "pass.lock";
const PASS: &str = "pass.json";
const PLACED: &str = "placed.json";
const BYTES: u64 = 256 * 1024;

/// One move's.
pub struct MoveRoom(PathBuf);

impl MoveRoom {
    pub fn of(of: &OfMove) -> Done<MoveRoom> {
        let made = || {
            let dir = held::room(&of.workspace)?.join(&of.id);
            state::private_dir(&dir)?;
            Ok(MoveRoom(dir))
        };
        made().map_err(failed("no room for what is known of the move"))
    }

    pub fn stamps(&self, side: Side) -> PathBuf {
        self.0.join(match side {
            Side::Source => "source.stamps",
            Side::Target => "target.stamps",
        })
    }

    /// What became of a pass, and whether owners are kept.
    pub fn put_outcome(&self, outcome: &Outcome, are_owners_kept: bool) -> io::Result<()> {
        let json = json!({"outcome": outcome.to_json(), "owners": are_owners_kept});
        file::replace(&self.0.join(PASS), json.to_string().as_bytes())
    }

    pub fn outcome(&self) -> (Outcome, bool) {
        let read = || {
            let bytes = bounded::read(self.0.join(PASS), BYTES).ok()?;
            let mut fields = Fields::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
            let outcome = Outcome::of(fields.take("outcome")?).ok()?;
            Some((outcome, fields.bool("owners").ok()?))
        };
        read().unwrap_or_default()
    }

    /// What was put aside when it took its place.
    pub fn placed(&self) -> Option<Option<String>> {
        let bytes = bounded::read(self.0.join(PLACED), BYTES).ok()?;
        let json: Value = serde_json::from_slice(&bytes).ok()?;
        Some(json.get("aside")?.as_str().map(str::to_owned))
    }

    pub fn put_placed(&self, aside: Option<&str>) -> io::Result<()> {
        file::replace(&self.0.join(PLACED), json!({"aside": aside}).to_string().as_bytes())
    }

    pub fn forget_placed(&self) {
        let _ = fs::remove_file(self.0.join(PLACED));
    }

    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(self.0)
    }
}

/// One pass at a time, or one look at what passes have made.
pub fn alone(workspace: &str) -> Done<Lock> {
    let taken = held::room(workspace).and_then(|room| Lock::take(&room.join(LOCK)));
    let taken = taken.map_err(failed("its directory cannot be used"))?;
    taken.ok_or_else(|| unable(Code::Conflict, format!("a pass over {workspace} goes on already")))
}

pub fn is_going_on(workspace: &str) -> bool {
    held::room(workspace).is_ok_and(|room| Lock::is_held(&room.join(LOCK)).unwrap_or(true))
}

pub fn sentence_of(pass: Pass, done: &io::Result<bool>) -> Outcome {
    let failure = done.as_ref().err().map(ToString::to_string);
    Outcome { is_going_on: false, pass: Some(pass), failure }
}
