//! A workspace that moves from one server to another: what the laptop asks of both of them, and
//! what they tell. What the two say to each other is none of these.

use std::time::Duration;

use serde_json::{Value, json};

use super::services::workspace;
use super::snap::{id, number, sentences};
use super::{Message, any, opt_meant, read_list, to_list};
use crate::base::json::{Fields, ReadError};
use crate::workspace::check;
use crate::workspace::digest::Digest;

/// How long an end of a pass may say nothing: an interruption of a minute is waited out. While
/// services rest for it, as long as the pause itself outlives its laptop (`http::connection`).
pub fn silence(is_last: bool) -> Duration {
    Duration::from_secs(if is_last { 30 } else { 120 })
}

const PLACES: usize = 1024;
const ID_DIGITS: usize = 16;
const TO_BYTES: usize = 64;

/// The laptop's, one for the whole move.
fn move_id(text: &str) -> Result<String, String> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match text.len() == ID_DIGITS && text.bytes().all(digit) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be {ID_DIGITS} hexadecimal digits, in small letters")),
    }
}

/// A host as the laptop calls it.
fn to(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_graphic();
    match (1..=TO_BYTES).contains(&text.len()) && text.bytes().all(is_fit) {
        true => Ok(text.to_owned()),
        false => Err("must be the name of a host".to_owned()),
    }
}

/// `null`, or nothing, is none.
fn opt_message<T: Message>(fields: &mut Fields, key: &str) -> Result<Option<T>, ReadError> {
    match fields.take(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::read(&mut Fields::of(value, key)?).map(Some),
    }
}

/// One move of one workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfMove {
    pub workspace: String,
    /// 16 hexadecimal digits.
    pub id: String,
}

impl OfMove {
    fn with(&self, more: Value) -> Value {
        let mut all = json!({"workspace": self.workspace, "id": self.id});
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        all
    }
}

impl Message for OfMove {
    fn to_json(&self) -> Value {
        self.with(json!({}))
    }

    fn read(fields: &mut Fields) -> Result<OfMove, ReadError> {
        let workspace = fields.meant("workspace", workspace)?;
        Ok(OfMove { workspace, id: fields.meant("id", move_id)? })
    }
}

/// What is there, or could be put there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskSurvey {
    pub workspace: Option<String>,
    /// As `hopbox.yaml` has them: `~/` is each server's own.
    pub places: Vec<String>,
}

impl Message for AskSurvey {
    fn to_json(&self) -> Value {
        json!({"workspace": self.workspace, "places": self.places})
    }

    fn read(fields: &mut Fields) -> Result<AskSurvey, ReadError> {
        let place = |value: &Value| {
            let text = value.as_str()?;
            check::server_path(text).ok().map(|_| text.to_owned())
        };
        Ok(AskSurvey {
            workspace: opt_meant(fields, "workspace", workspace)?,
            places: super::details::list(fields, "places", PLACES, place)?,
        })
    }
}

/// Whether a workspace's services may run on this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Held {
    #[default]
    No,
    /// They have ended for a move's last pass.
    Paused,
    /// The workspace is on another server, of this name.
    Left { to: String },
    /// It is on its way here, and not to be started before it is here.
    Coming,
    /// One of a later agent's.
    Other,
}

impl Held {
    fn read(fields: &mut Fields) -> Result<Held, ReadError> {
        Ok(match fields.string("held")?.as_str() {
            "no" => Held::No,
            "paused" => Held::Paused,
            "left" => Held::Left { to: fields.meant("to", to)? },
            "coming" => Held::Coming,
            _ => Held::Other,
        })
    }

    fn word(&self) -> &'static str {
        match self {
            Held::No => "no",
            Held::Paused => "paused",
            Held::Left { .. } => "left",
            Held::Coming => "coming",
            Held::Other => "other",
        }
    }
}

/// Whether a workspace's services may run on this server, and by which move they may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub held: Held,
    pub id: Option<String>,
}

impl Standing {
    fn put(&self, json: &mut Value) {
        json["held"] = self.held.word().into();
        json["id"] = self.id.clone().into();
        if let Held::Left { to } = &self.held {
            json["to"] = to.as_str().into();
        }
    }
}

impl Message for Standing {
    fn to_json(&self) -> Value {
        let mut json = json!({});
        self.put(&mut json);
        json
    }

    fn read(fields: &mut Fields) -> Result<Standing, ReadError> {
        Ok(Standing { held: Held::read(fields)?, id: opt_meant(fields, "id", move_id)? })
    }
}

/// A workspace that a server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Services that run, or are to.
    pub running: Vec<String>,
    pub stopped: Vec<String>,
    pub standing: Standing,
}

impl Message for Known {
    fn to_json(&self) -> Value {
        let mut json = json!({"running": self.running, "stopped": self.stopped});
        self.standing.put(&mut json);
        json
    }

    fn read(fields: &mut Fields) -> Result<Known, ReadError> {
        Ok(Known {
            running: sentences(fields, "running")?,
            stopped: sentences(fields, "stopped")?,
            standing: Standing::read(fields)?,
        })
    }
}

/// One place of a workspace's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// As it was asked for.
    pub path: String,
    pub files: u64,
    pub bytes: u64,
    /// Of the file system that it is on, or would be, for this login.
    pub free_bytes: u64,
    /// Something is there; an empty directory is nothing.
    pub is_there: bool,
    /// What would take its place can lie beside it.
    pub is_writable: bool,
    /// Not all of it was counted: the time was over.
    pub is_cut: bool,
    /// Files of others than the login, or of groups that it is not in.
    pub foreign: u64,
    /// Their uids and gids, as far as there is room; empty where there are none.
    pub whose: String,
    /// What cannot be had of it, each a sentence; and how many more.
    pub left_out: Vec<String>,
    pub more: u64,
}

impl Message for Spot {
    fn to_json(&self) -> Value {
        json!({
            "path": self.path, "files": self.files, "bytes": self.bytes,
            "free_bytes": self.free_bytes, "there": self.is_there, "writable": self.is_writable,
            "cut": self.is_cut, "foreign": self.foreign, "whose": self.whose,
            "left_out": self.left_out, "left_out_more": self.more,
        })
    }

    fn read(fields: &mut Fields) -> Result<Spot, ReadError> {
        Ok(Spot {
            path: fields.string("path")?,
            files: number(fields, "files")?,
            bytes: number(fields, "bytes")?,
            free_bytes: number(fields, "free_bytes")?,
            is_there: fields.bool("there")?,
            is_writable: fields.bool("writable")?,
            is_cut: fields.bool("cut")?,
            foreign: number(fields, "foreign")?,
            whose: fields.opt_string("whose")?.unwrap_or_default(),
            left_out: sentences(fields, "left_out")?,
            more: number(fields, "left_out_more")?,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// In Rust's words: `x86_64`, `aarch64`.
    pub architecture: String,
    pub login: String,
    pub home: String,
    /// The version that is there.
    pub restic: Option<String>,
    pub has_docker: bool,
    pub has_podman: bool,
    pub workspace: Option<Known>,
    pub places: Vec<Spot>,
}

impl Message for Surveyed {
    fn to_json(&self) -> Value {
        json!({
            "architecture": self.architecture, "login": self.login, "home": self.home,
            "restic": self.restic, "docker": self.has_docker, "podman": self.has_podman,
            "workspace": self.workspace.as_ref().map(Message::to_json),
            "places": to_list(&self.places),
        })
    }

    fn read(fields: &mut Fields) -> Result<Surveyed, ReadError> {
        let workspace = opt_message(fields, "workspace")?;
        Ok(Surveyed {
            architecture: fields.string("architecture")?,
            login: fields.string("login")?,
            home: fields.string("home")?,
            restic: opt_meant(fields, "restic", any)?,
            has_docker: fields.bool("docker")?,
            has_podman: fields.bool("podman")?,
            workspace,
            places: read_list(fields, "places", PLACES)?,
        })
    }
}

/// The plan that this laptop was shown last is carried out without a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    pub digest: Digest,
    pub id: String,
}

impl Message for Prepare {
    fn to_json(&self) -> Value {
        json!({"digest": self.digest.to_string(), "id": self.id})
    }

    fn read(fields: &mut Fields) -> Result<Prepare, ReadError> {
        let digest = fields.meant("digest", str::parse)?;
        Ok(Prepare { digest, id: fields.meant("id", move_id)? })
    }
}

/// Services that have ended, until [`Leave`] or the connection's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// In the order of their ends.
    pub services: Vec<String>,
    /// By the server's clock.
    pub since_ms: u64,
}

impl Message for Paused {
    fn to_json(&self) -> Value {
        json!({"services": self.services, "since_ms": self.since_ms})
    }

    fn read(fields: &mut Fields) -> Result<Paused, ReadError> {
        let services = sentences(fields, "services")?;
        Ok(Paused { services, since_ms: number(fields, "since_ms")? })
    }
}

/// One pass over all of it, on either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskPass {
    pub of: OfMove,
    /// Services have ended: what is there now is what is to be there.
    pub is_last: bool,
}

impl Message for AskPass {
    fn to_json(&self) -> Value {
        self.of.with(json!({"is_last": self.is_last}))
    }

    fn read(fields: &mut Fields) -> Result<AskPass, ReadError> {
        Ok(AskPass { of: OfMove::read(fields)?, is_last: fields.bool("is_last")? })
    }
}

/// What a pass came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// All that there are, and those whose content crossed at least in part.
    pub files: u64,
    pub files_sent: u64,
    /// Of files, holes included; and those that crossed.
    pub bytes: u64,
    pub bytes_sent: u64,
    /// What this side read of files for it.
    pub bytes_read: u64,
    pub left_out: Vec<String>,
    pub more: u64,
}

impl Message for Pass {
    fn to_json(&self) -> Value {
        json!({
            "files": self.files, "files_sent": self.files_sent, "bytes": self.bytes,
            "bytes_sent": self.bytes_sent, "bytes_read": self.bytes_read,
            "left_out": self.left_out, "left_out_more": self.more,
        })
    }

    fn read(fields: &mut Fields) -> Result<Pass, ReadError> {
        Ok(Pass {
            files: number(fields, "files")?,
            files_sent: number(fields, "files_sent")?,
            bytes: number(fields, "bytes")?,
            bytes_sent: number(fields, "bytes_sent")?,
            bytes_read: number(fields, "bytes_read")?,
            left_out: sentences(fields, "left_out")?,
            more: number(fields, "left_out_more")?,
        })
    }
}

/// What became of a side's last pass; how far it is while it goes on, as the source tells it: files
/// and bytes that the target has, and what was sent for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub is_going_on: bool,
    /// As far as it came.
    pub pass: Option<Pass>,
    /// A sentence; none of a pass that was whole.
    pub failure: Option<String>,
}

impl Message for Outcome {
    fn to_json(&self) -> Value {
        json!({
            "going_on": self.is_going_on, "pass": self.pass.as_ref().map(Message::to_json),
            "failure": self.failure,
        })
    }

    fn read(fields: &mut Fields) -> Result<Outcome, ReadError> {
        let pass = opt_message(fields, "pass")?;
        Ok(Outcome {
            is_going_on: fields.bool("going_on")?,
            pass,
            failure: opt_meant(fields, "failure", any)?,
        })
    }
}

/// Which of the two trees: what is there, or what is to be put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }

    fn of(text: &str) -> Result<Side, String> {
        let all = [Side::Source, Side::Target];
        let side = all.into_iter().find(|side| side.word() == text);
        side.ok_or_else(|| "must be source or target".to_owned())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskDigest {
    pub of: OfMove,
    pub side: Side,
}

impl Message for AskDigest {
    fn to_json(&self) -> Value {
        self.of.with(json!({"side": self.side.word()}))
    }

    fn read(fields: &mut Fields) -> Result<AskDigest, ReadError> {
        Ok(AskDigest { of: OfMove::read(fields)?, side: fields.meant("side", Side::of)? })
    }
}

/// All places in one number, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    pub digest: Digest,
    pub files: u64,
    pub bytes: u64,
    /// Of them, those that were read for it; of the others it was known.
    pub bytes_read: u64,
}

impl Message for Digested {
    fn to_json(&self) -> Value {
        json!({
            "digest": self.digest.to_string(), "files": self.files, "bytes": self.bytes,
            "bytes_read": self.bytes_read,
        })
    }

    fn read(fields: &mut Fields) -> Result<Digested, ReadError> {
        Ok(Digested {
            digest: fields.meant("digest", str::parse)?,
            files: number(fields, "files")?,
            bytes: number(fields, "bytes")?,
            bytes_read: number(fields, "bytes_read")?,
        })
    }
}

/// Services that are paused stay so: they run on that host from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    pub of: OfMove,
    pub to: String,
}

impl Message for Leave {
    fn to_json(&self) -> Value {
        self.of.with(json!({"to": self.to}))
    }

    fn read(fields: &mut Fields) -> Result<Leave, ReadError> {
        Ok(Leave { of: OfMove::read(fields)?, to: fields.meant("to", to)? })
    }
}

/// What came takes its place, if it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub of: OfMove,
    pub digest: Digest,
}

impl Message for Place {
    fn to_json(&self) -> Value {
        self.of.with(json!({"digest": self.digest.to_string()}))
    }

    fn read(fields: &mut Fields) -> Result<Place, ReadError> {
        Ok(Place { of: OfMove::read(fields)?, digest: fields.meant("digest", str::parse)? })
    }
}

/// What was there is kept under this id; nothing was there without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    pub aside: Option<String>,
}

impl Message for Placed {
    fn to_json(&self) -> Value {
        json!({"aside": self.aside})
    }

    fn read(fields: &mut Fields) -> Result<Placed, ReadError> {
        Ok(Placed { aside: opt_meant(fields, "aside", id)? })
    }
}

/// These, and what they depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub of: OfMove,
    pub services: Vec<String>,
}

impl Message for Start {
    fn to_json(&self) -> Value {
        self.of.with(json!({"services": self.services}))
    }

    fn read(fields: &mut Fields) -> Result<Start, ReadError> {
        Ok(Start { of: OfMove::read(fields)?, services: sentences(fields, "services")? })
    }
}

/// They run, and are healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    pub services: Vec<String>,
}

impl Message for Started {
    fn to_json(&self) -> Value {
        json!({"services": self.services})
    }

    fn read(fields: &mut Fields) -> Result<Started, ReadError> {
        Ok(Started { services: sentences(fields, "services")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<T: Message + PartialEq + std::fmt::Debug>(it: &T) {
        assert_eq!(&T::of(it.to_json()).unwrap(), it);
    }

    #[test]
    fn what_is_told_is_read_again() {
        let id = "0123456789abcdef".to_owned();
        let of = OfMove { workspace: "app".to_owned(), id: id.clone() };
        let (digest, names) = (Digest::of("x", "y"), vec!["db".to_owned()]);
        again(&of);
        again(&AskSurvey { workspace: None, places: vec!["~/data".to_owned()] });
        for held in [Held::No, Held::Paused, Held::Left { to: "new".to_owned() }, Held::Coming] {
            let (running, id) = (names.clone(), Some(id.clone()));
            let standing = Standing { held, id };
            again(&standing);
            let known = Known { running, stopped: Vec::new(), standing };
            let spot = Spot { path: "~/data".to_owned(), is_there: true, ..Spot::default() };
            let restic = Some("0.14".to_owned());
            let (workspace, places) = (Some(known), vec![spot]);
            again(&Surveyed { restic, workspace, places, ..Surveyed::default() });
        }
        again(&Surveyed::default());
        again(&Prepare { digest, id });
        again(&Paused { services: names.clone(), since_ms: 7 });
        again(&AskPass { of: of.clone(), is_last: true });
        let pass = Some(Pass { bytes_sent: 3, left_out: names.clone(), ..Pass::default() });
        again(&Outcome { is_going_on: false, pass, failure: Some("so".to_owned()) });
        again(&Outcome::default());
        again(&AskDigest { of: of.clone(), side: Side::Target });
        again(&Digested { digest, files: 1, bytes: 2, bytes_read: 3 });
        again(&Leave { of: of.clone(), to: "new".to_owned() });
        again(&Place { of: of.clone(), digest });
        again(&Placed { aside: Some("f-1".to_owned()) });
        again(&Start { of, services: names.clone() });
        again(&Started { services: names });
    }

    #[test]
    fn what_names_a_room_is_no_path() {
        let ids = ["", "..", "0123456789abcde/", "0123456789ABCDEF", "0123456789abcdef0", "latest"];
        for id in ids {
            assert!(OfMove::of(json!({"workspace": "app", "id": id})).is_err(), "{id}");
        }
        let id = "0123456789abcdef";
        assert!(OfMove::of(json!({"workspace": "../app", "id": id})).is_err());
        let left = json!({"workspace": "app", "id": id, "to": "a\nb"});
        assert!(Leave::of(left).is_err());
        assert!(AskSurvey::of(json!({"places": ["relative"]})).is_err());
        let later = json!({"running": [], "stopped": [], "held": "of a later agent", "id": null});
        assert_eq!(Known::of(later).unwrap().standing.held, Held::Other);
    }
}
