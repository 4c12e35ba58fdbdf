//! Snapshots of a workspace's data: what is asked for, what is told while it is done, and what has
//! become of it.

use serde_json::{Value, json};

use super::services::workspace;
use super::{Message, any, opt_meant, opt_number, read_list, to_list};
use crate::base::json::{Fields, ReadError};
use crate::rpc::types::details::list;
use crate::workspace::check;
use crate::workspace::digest::Digest;

/// More than any repository's that is listed in one answer.
const SNAPSHOTS: usize = 2048;
const TREES: usize = 256;
const PARTS: usize = 1024;
const SENTENCES: usize = 256;
const SENTENCE_CHARS: usize = 1000;
const ID_BYTES: usize = 64;

/// Snapshots are called by restic's hexadecimal digits, frozen trees by ours, which begin with `f`
/// and a hyphen.
pub(super) fn id(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let is_latest = text == "latest";
    let fits = (2..=ID_BYTES).contains(&text.len()) && text.bytes().all(plain);
    match is_latest || (fits && !text.starts_with('-')) {
        true => Ok(text.to_owned()),
        false => Err("must be the id of a snapshot or of a frozen tree, or latest".to_owned()),
    }
}

pub(super) fn sentences(fields: &mut Fields, name: &str) -> Result<Vec<String>, ReadError> {
    list(fields, name, SENTENCES, |value| {
        Some(value.as_str()?.chars().take(SENTENCE_CHARS).collect())
    })
}

pub(super) fn number(fields: &mut Fields, name: &str) -> Result<u64, ReadError> {
    fields.int(name, 0..=u64::MAX)
}

/// Of one workspace; and which, where it is about one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfSnaps {
    pub workspace: String,
    pub id: Option<String>,
}

impl Message for OfSnaps {
    fn to_json(&self) -> Value {
        match &self.id {
            Some(id) => json!({"workspace": self.workspace, "id": id}),
            None => json!({"workspace": self.workspace}),
        }
    }

    fn read(fields: &mut Fields) -> Result<OfSnaps, ReadError> {
        let workspace = fields.meant("workspace", workspace)?;
        Ok(OfSnaps { workspace, id: fields.opt_meant("id", id)? })
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The repository is opened, or made.
    Open,
    /// A hook before or after.
    Hook,
    /// Services end.
    Pause,
    Freeze,
    /// Services start.
    Start,
    /// restic reads.
    Save,
    Look,
    /// restic writes beside what is there.
    Restore,
    /// What is there goes aside, and what is to be there takes its place.
    Switch,
    Forget,
    /// A move's pass to the other server.
    Copy,
    /// A tree is read again, for its digest.
    Verify,
    /// One of a later agent's.
    Other,
}

const STAGES: [(Stage, &str); 12] = [
    (Stage::Open, "open"),
    (Stage::Hook, "hook"),
    (Stage::Pause, "pause"),
    (Stage::Freeze, "freeze"),
    (Stage::Start, "start"),
    (Stage::Save, "save"),
    (Stage::Look, "look"),
    (Stage::Restore, "restore"),
    (Stage::Switch, "switch"),
    (Stage::Forget, "forget"),
    (Stage::Copy, "copy"),
    (Stage::Verify, "verify"),
];

impl Stage {
    pub fn word(self) -> &'static str {
        STAGES.iter().find(|(stage, _)| *stage == self).map_or("other", |(_, word)| word)
    }

    fn of(word: &str) -> Stage {
        STAGES.iter().find(|(_, known)| *known == word).map_or(Stage::Other, |(stage, _)| *stage)
    }
}

/// How far it is; 0 of what is not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Far {
    pub files: u64,
    pub files_of: u64,
    pub bytes: u64,
    pub bytes_of: u64,
    pub left_s: Option<u64>,
}

/// What is told while it is done; the last is what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<T> {
    Stage(Stage),
    Far(Far),
    /// A sentence.
    Note(String),
    Done(T),
}

impl<T: Message> Message for Told<T> {
    fn to_json(&self) -> Value {
        match self {
            Told::Stage(stage) => json!({"stage": stage.word()}),
            Told::Far(far) => json!({"far": {
                "files": far.files, "files_of": far.files_of, "bytes": far.bytes,
                "bytes_of": far.bytes_of, "left_s": far.left_s,
            }}),
            Told::Note(note) => json!({"note": note}),
            Told::Done(done) => json!({"done": done.to_json()}),
        }
    }

    fn read(fields: &mut Fields) -> Result<Told<T>, ReadError> {
        if let Some(mut far) = fields.opt_object("far")? {
            return Ok(Told::Far(Far {
                files: number(&mut far, "files")?,
                files_of: number(&mut far, "files_of")?,
                bytes: number(&mut far, "bytes")?,
                bytes_of: number(&mut far, "bytes_of")?,
                left_s: opt_number(&mut far, "left_s")?,
            }));
        }
        if let Some(stage) = fields.opt_string("stage")? {
            return Ok(Told::Stage(Stage::of(&stage)));
        }
        if let Some(note) = fields.opt_string("note")? {
            return Ok(Told::Note(note.chars().take(SENTENCE_CHARS).collect()));
        }
        match fields.opt_object("done")? {
            Some(mut done) => T::read(&mut done).map(Told::Done),
            None => Err(fields.error("done", "is missing")),
        }
    }
}

/// A snapshot that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Created {
    pub id: String,
    pub files: u64,
    pub bytes: u64,
    /// Of them, those that the repository did not have.
    pub added_bytes: u64,
    /// How long services were paused for it; none where nothing had to be.
    pub pause_ms: Option<u64>,
    /// Services went on before it was read.
    pub is_frozen: bool,
    /// What is not in it, each a sentence.
    pub left_out: Vec<String>,
    pub more: u64,
}

impl Message for Created {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id, "files": self.files, "bytes": self.bytes,
            "added_bytes": self.added_bytes, "pause_ms": self.pause_ms, "frozen": self.is_frozen,
            "left_out": self.left_out, "left_out_more": self.more,
        })
    }

    fn read(fields: &mut Fields) -> Result<Created, ReadError> {
        Ok(Created {
            id: fields.meant("id", id)?,
            files: number(fields, "files")?,
            bytes: number(fields, "bytes")?,
            added_bytes: number(fields, "added_bytes")?,
            pause_ms: opt_number(fields, "pause_ms")?,
            is_frozen: fields.bool("frozen")?,
            left_out: sentences(fields, "left_out")?,
            more: number(fields, "left_out_more")?,
        })
    }
}

/// One that is in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub id: String,
    /// In restic's words.
    pub time: String,
    pub host: String,
    /// What it is of.
    pub paths: Vec<String>,
}

impl Message for Snapshot {
    fn to_json(&self) -> Value {
        json!({"id": self.id, "time": self.time, "host": self.host, "paths": self.paths})
    }

    fn read(fields: &mut Fields) -> Result<Snapshot, ReadError> {
        Ok(Snapshot {
            id: fields.meant("id", id)?,
            time: fields.string("time")?,
            host: fields.string("host")?,
            paths: sentences(fields, "paths")?,
        })
    }
}

/// What was there before something was put in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    pub id: String,
    pub made_ms: u64,
    /// What it was made for: `restore`, `undo`, `create`; nothing of one that nobody knows of any
    /// more, which a kill has left.
    pub reason: Option<String>,
    pub bytes: u64,
    pub paths: Vec<String>,
}

impl Message for Frozen {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id, "made_ms": self.made_ms, "reason": self.reason, "bytes": self.bytes,
            "paths": self.paths,
        })
    }

    fn read(fields: &mut Fields) -> Result<Frozen, ReadError> {
        Ok(Frozen {
            id: fields.meant("id", id)?,
            made_ms: number(fields, "made_ms")?,
            reason: opt_meant(fields, "reason", any)?,
            bytes: number(fields, "bytes")?,
            paths: sentences(fields, "paths")?,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Without a login in its address; nothing where the workspace has none.
    pub repository: Option<String>,
    pub snapshots: Vec<Snapshot>,
    pub frozen: Vec<Frozen>,
    /// What the restic that is there does not promise, and what stands in the way; each a sentence.
    pub notes: Vec<String>,
}

impl Message for Listed {
    fn to_json(&self) -> Value {
        json!({
            "repository": self.repository, "snapshots": to_list(&self.snapshots),
            "frozen": to_list(&self.frozen), "notes": self.notes,
        })
    }

    fn read(fields: &mut Fields) -> Result<Listed, ReadError> {
        Ok(Listed {
            repository: opt_meant(fields, "repository", any)?,
            snapshots: read_list(fields, "snapshots", SNAPSHOTS)?,
            frozen: read_list(fields, "frozen", TREES)?,
            notes: sentences(fields, "notes")?,
        })
    }
}

/// What a look into a scratch directory found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub id: String,
    pub files: u64,
    pub bytes: u64,
    /// It was compared with the digest of what was read; else with what the repository says alone.
    pub is_compared: bool,
}

impl Message for Checked {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id, "files": self.files, "bytes": self.bytes, "compared": self.is_compared,
        })
    }

    fn read(fields: &mut Fields) -> Result<Checked, ReadError> {
        Ok(Checked {
            id: fields.meant("id", id)?,
            files: number(fields, "files")?,
            bytes: number(fields, "bytes")?,
            is_compared: fields.bool("compared")?,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub removed: Vec<String>,
    pub kept: u64,
    /// Locks of processes that had gone.
    pub unlocked: u64,
}

impl Message for Forgotten {
    fn to_json(&self) -> Value {
        json!({"removed": self.removed, "kept": self.kept, "unlocked": self.unlocked})
    }

    fn read(fields: &mut Fields) -> Result<Forgotten, ReadError> {
        Ok(Forgotten {
            removed: list(fields, "removed", SNAPSHOTS, |value| id(value.as_str()?).ok())?,
            kept: number(fields, "kept")?,
            unlocked: number(fields, "unlocked")?,
        })
    }
}

/// What a snapshot, or what an undoing, would put where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedBack {
    pub workspace: String,
    /// Nothing: what the last restore put aside.
    pub id: Option<String>,
    /// This alone.
    pub path: Option<String>,
    /// What this service has alone.
    pub service: Option<String>,
    /// Also as root with a restic that is not safe then.
    pub may_be_root: bool,
}

impl Message for WantedBack {
    fn to_json(&self) -> Value {
        json!({
            "workspace": self.workspace, "id": self.id, "path": self.path,
            "service": self.service, "as_root": self.may_be_root,
        })
    }

    fn read(fields: &mut Fields) -> Result<WantedBack, ReadError> {
        let path = |text: &str| {
            let checked = check::server_path(text);
            checked.map(|_| text.to_owned()).map_err(|refusal| refusal.why.to_string())
        };
        Ok(WantedBack {
            workspace: fields.meant("workspace", workspace)?,
            id: opt_meant(fields, "id", id)?,
            path: opt_meant(fields, "path", path)?,
            service: opt_meant(fields, "service", any)?,
            may_be_root: fields.bool("as_root")?,
        })
    }
}

/// One path of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub path: String,
    pub files: u64,
    pub bytes: u64,
    /// Something is there now, which goes aside.
    pub is_there: bool,
}

impl Message for Part {
    fn to_json(&self) -> Value {
        json!({
            "path": self.path, "files": self.files, "bytes": self.bytes, "there": self.is_there,
        })
    }

    fn read(fields: &mut Fields) -> Result<Part, ReadError> {
        Ok(Part {
            path: fields.string("path")?,
            files: number(fields, "files")?,
            bytes: number(fields, "bytes")?,
            is_there: fields.bool("there")?,
        })
    }
}

/// What would be done: nothing is, until the same digest is asked for, within a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackPlan {
    pub digest: Digest,
    pub id: String,
    /// When that was made, as restic says it.
    pub time: String,
    pub parts: Vec<Part>,
    /// Services that are paused.
    pub paused: Vec<String>,
    pub notes: Vec<String>,
}

impl Message for BackPlan {
    fn to_json(&self) -> Value {
        json!({
            "digest": self.digest.to_string(), "id": self.id, "time": self.time,
            "parts": to_list(&self.parts), "paused": self.paused, "notes": self.notes,
        })
    }

    fn read(fields: &mut Fields) -> Result<BackPlan, ReadError> {
        Ok(BackPlan {
            digest: fields.meant("digest", str::parse)?,
            id: fields.meant("id", id)?,
            time: fields.string("time")?,
            parts: read_list(fields, "parts", PARTS)?,
            paused: sentences(fields, "paused")?,
            notes: sentences(fields, "notes")?,
        })
    }
}

/// It is there, and what was there is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub id: String,
    /// What was there before.
    pub aside: String,
    pub files: u64,
    pub bytes: u64,
    pub pause_ms: u64,
    pub notes: Vec<String>,
}

impl Message for Restored {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id, "aside": self.aside, "files": self.files, "bytes": self.bytes,
            "pause_ms": self.pause_ms, "notes": self.notes,
        })
    }

    fn read(fields: &mut Fields) -> Result<Restored, ReadError> {
        Ok(Restored {
            id: fields.meant("id", id)?,
            aside: fields.meant("aside", id)?,
            files: number(fields, "files")?,
            bytes: number(fields, "bytes")?,
            pause_ms: number(fields, "pause_ms")?,
            notes: sentences(fields, "notes")?,
        })
    }
}

/// A workspace that has a schedule, and no snapshot for two of its periods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateOne {
    pub workspace: String,
    pub made_ms: Option<u64>,
    /// Of the last try.
    pub why: Option<String>,
}

impl Message for LateOne {
    fn to_json(&self) -> Value {
        json!({"workspace": self.workspace, "made_ms": self.made_ms, "why": self.why})
    }

    fn read(fields: &mut Fields) -> Result<LateOne, ReadError> {
        Ok(LateOne {
            workspace: fields.meant("workspace", workspace)?,
            made_ms: opt_number(fields, "made_ms")?,
            why: opt_meant(fields, "why", any)?,
        })
    }
}

/// How it is with snapshots on a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// A workspace names a repository.
    pub is_wanted: bool,
    pub late: Vec<LateOne>,
    /// The version that is there.
    pub restic: Option<String>,
    /// What that does not promise, or why there is none; each a sentence.
    pub notes: Vec<String>,
}

impl Message for Health {
    fn to_json(&self) -> Value {
        json!({
            "wanted": self.is_wanted, "late": to_list(&self.late), "restic": self.restic,
            "notes": self.notes,
        })
    }

    fn read(fields: &mut Fields) -> Result<Health, ReadError> {
        Ok(Health {
            is_wanted: fields.bool("wanted")?,
            late: read_list(fields, "late", TREES)?,
            restic: opt_meant(fields, "restic", any)?,
            notes: sentences(fields, "notes")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let told: Vec<Told<Created>> = vec![
            Told::Stage(Stage::Freeze),
            Told::Far(Far { files: 1, files_of: 2, bytes: 3, bytes_of: 4, left_s: None }),
            Told::Note("so".to_owned()),
            Told::Done(Created {
                id: "0af".to_owned(),
                pause_ms: Some(7),
                left_out: vec!["x: y".to_owned()],
                ..Created::default()
            }),
        ];
        for told in told {
            assert_eq!(Told::of(told.to_json()).unwrap(), told);
        }
        let later = json!({"stage": "of a later agent"});
        assert_eq!(Told::<Created>::of(later).unwrap(), Told::Stage(Stage::Other));
        let listed = Listed {
            repository: Some("/srv/r".to_owned()),
            snapshots: vec![Snapshot {
                id: "ab".to_owned(),
                time: "t".to_owned(),
                host: "h".to_owned(),
                paths: vec!["/a".to_owned()],
            }],
            frozen: vec![Frozen {
                id: "f-1".to_owned(),
                made_ms: 1,
                reason: None,
                bytes: 2,
                paths: Vec::new(),
            }],
            notes: Vec::new(),
        };
        assert_eq!(Listed::of(listed.to_json()).unwrap(), listed);
        let plan = BackPlan {
            digest: Digest::of("x", "y"),
            id: "ab".to_owned(),
            time: "t".to_owned(),
            parts: vec![Part { path: "/a".to_owned(), files: 1, bytes: 2, is_there: true }],
            paused: vec!["db".to_owned()],
            notes: vec!["so".to_owned()],
        };
        assert_eq!(BackPlan::of(plan.to_json()).unwrap(), plan);
        let (id, aside, notes) = ("ab".to_owned(), "f-1".to_owned(), Vec::new());
        let restored = Restored { id, aside, files: 1, bytes: 2, pause_ms: 3, notes };
        assert_eq!(Restored::of(restored.to_json()).unwrap(), restored);
    }

    #[test]
    fn an_id_is_no_option_of_restics() {
        for bad in ["-x", "--help", "", "a", "a b", "../x", "last", &"a".repeat(65)] {
            let asked = json!({"workspace": "app", "id": bad});
            assert!(OfSnaps::of(asked).is_err(), "{bad}");
        }
        for good in ["0af1", "latest", "f-1a-2b"] {
            let asked = OfSnaps { workspace: "app".to_owned(), id: Some(good.to_owned()) };
            assert_eq!(OfSnaps::of(asked.to_json()).unwrap(), asked);
        }
    }
}
