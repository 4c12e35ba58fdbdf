//! The journal of a workspace's migration to another host (`hop to`): which step comes next, what
//! has to be taken back, and the file that both are read from. Who does the steps is elsewhere.
//!
//! A step is written down before it is begun and after it is done, so whoever was killed in the
//! middle begins that step again: each may be repeated. The exception is what happens while the
//! source is paused. That pause is a stream which this process holds open: without it the source's
//! services start again, so whoever was killed there goes back to [`Step::Copy`]. The pause lasts
//! without us from [`Step::Leave`] on; whether that was done is the source's to say.
//!
//! Two never run: the target starts after the source has left, and the source returns after the
//! target was stopped. The target's data counts as the source's when both have one digest.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::paths::{self, Paths};
use crate::base::failure::{Failure, Fault};
use crate::base::field::check_name;
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::fix;
use crate::sys::lock::Lock;
use crate::sys::random;
use crate::workspace::check;

const VERSION: u32 = 1;
/// Longest digest that is kept, in characters.
const DIGEST_CHARS: usize = 128;
/// What may have been agreed to, as the file has it.
const AGREED: [&str; 3] = ["other_architecture", "empty", "leave_out"];
/// Most that are listed.
const MOST: usize = 256;

/// In their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Both are looked at: what there is to move, room, programs.
    Look,
    /// The server is set up, and answers.
    SetUp,
    /// The workspace is known there, and nothing of it runs.
    Prepare,
    /// What the source has is copied while its services run.
    Copy,
    /// The services of the source are stopped, as long as this process asks for it.
    Pause,
    /// What changed meanwhile is copied.
    CopyRest,
    /// The digests of both sides are held against each other.
    Verify,
    /// The services of the source stay stopped.
    Leave,
    /// What was copied takes its place.
    Place,
    /// The services of the target are started, and well.
    Start,
    /// The target is the host that commands are for.
    Switch,
}

const STEPS: [(Step, &str); 11] = [
    (Step::Look, "look"),
    (Step::SetUp, "set_up"),
    (Step::Prepare, "prepare"),
    (Step::Copy, "copy"),
    (Step::Pause, "pause"),
    (Step::CopyRest, "copy_rest"),
    (Step::Verify, "verify"),
    (Step::Leave, "leave"),
    (Step::Place, "place"),
    (Step::Start, "start"),
    (Step::Switch, "switch"),
];

impl Step {
    pub fn name(self) -> &'static str {
        STEPS.iter().find(|(step, _)| *step == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Step> {
        STEPS.iter().find(|(_, known)| *known == name).map(|(step, _)| *step)
    }

    fn next(self) -> Option<Step> {
        STEPS.iter().map(|(step, _)| *step).find(|step| *step > self)
    }
}

/// What is taken back, each of which may be repeated, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// The host that commands were for before.
    Default,
    /// The services of the target are stopped, and what was placed there is put aside.
    StopTarget,
    /// The services of the source are started.
    Return,
    /// What was copied and has no place goes.
    Forget,
}

const BACKS: [(Back, &str); 4] = [
    (Back::Default, "default"),
    (Back::StopTarget, "stop_target"),
    (Back::Return, "return"),
    (Back::Forget, "forget"),
];

impl Back {
    pub fn name(self) -> &'static str {
        BACKS.iter().find(|(back, _)| *back == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Back> {
        BACKS.iter().find(|(_, known)| *known == name).map(|(back, _)| *back)
    }

    /// The first thing that whoever was at `reached` has to take back, after `done`.
    fn first(reached: Step, done: Option<Back>) -> Option<Back> {
        let all = BACKS.iter().map(|(back, _)| *back);
        let behind =
            done.map_or(0, |done| 1 + BACKS.iter().take_while(|(b, _)| *b != done).count());
        all.skip(behind).find(|back| back.is_due(reached))
    }

    fn is_due(self, reached: Step) -> bool {
        reached
            >= match self {
                Back::Default => Step::Switch,
                Back::StopTarget => Step::Place,
                // Also where only the pause was begun: that it has ended by itself is not known.
                Back::Return => Step::Pause,
                Back::Forget => Step::Prepare,
            }
    }
}

/// Where a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// This step is next, or was begun.
    At(Step),
    /// It was given up at this step, and this is next to be taken back.
    Back(Step, Back),
    Moved,
    /// It was given up, and the source is as it was.
    Undone,
}

/// What stands in the way of a migration, and was agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    pub other_architecture: bool,
    /// Places that hold nothing.
    pub empty: bool,
    /// What the source's login cannot read is not moved.
    pub leave_out: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// 16 hexadecimal digits, by which both servers know it.
    pub id: String,
    pub workspace: String,
    pub from: String,
    pub to: String,
    /// Where the project is on this laptop.
    pub dir: PathBuf,
    /// The default host of before, if there was one.
    pub default: Option<String>,
    /// The services that were stopped at the source, and are to be started at the target.
    pub services: Vec<String>,
    /// When the source was paused for good, in ms of this laptop's clock since 1970.
    pub paused_ms: Option<u64>,
    pub agreed: Agreed,
    pub state: State,
    /// What both sides have, once they were held against each other.
    digest: Option<String>,
}

/// The two sides are not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs;

impl Migration {
    pub fn begin(
        id: String,
        workspace: &str,
        (from, to): (&str, &str),
        dir: PathBuf,
        default: Option<String>,
    ) -> Migration {
        Migration {
            id,
            workspace: workspace.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            dir,
            default,
            services: Vec::new(),
            paused_ms: None,
            agreed: Agreed::default(),
            state: State::At(Step::Look),
            digest: None,
        }
    }

    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Whether the default host follows the workspace: another one than the source was not about
    /// it.
    pub fn takes_default(&self) -> bool {
        self.default.as_ref().is_none_or(|default| *default == self.from)
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Moved | State::Undone)
    }

    /// The step that is next was done. That of [`Step::Verify`] is done by [`Migration::verified`].
    pub fn done(&mut self) {
        self.state = match self.state {
            State::At(Step::Verify) => self.state,
            State::At(step) => step.next().map_or(State::Moved, State::At),
            State::Back(step, back) => match Back::first(step, Some(back)) {
                Some(next) => State::Back(step, next),
                None => State::Undone,
            },
            over => over,
        };
    }

    /// What both sides have was held against each other.
    pub fn verified(&mut self, source: &str, target: &str) -> Result<(), Differs> {
        match self.state {
            State::At(Step::Verify) if source == target && !source.is_empty() => {
                self.state = State::At(Step::Leave);
                self.digest = Some(source.to_owned());
                Ok(())
            }
            _ => Err(Differs),
        }
    }

    /// Whether only the source knows how far it is.
    pub fn asks_source(&self) -> bool {
        self.state == State::At(Step::Leave)
    }

    /// A process goes on that does not hold the pause. `has_left` is the source's word, where
    /// [`Migration::asks_source`].
    pub fn resumed(&mut self, has_left: bool) {
        self.state = match self.state {
            State::At(Step::Leave) if has_left => State::At(Step::Place),
            State::At(Step::Pause | Step::CopyRest | Step::Verify | Step::Leave) => {
                (self.digest, self.paused_ms) = (None, None);
                State::At(Step::Copy)
            }
            other => other,
        };
    }

    /// It is taken back from where it is; also one that has moved.
    pub fn give_up(&mut self) {
        let reached = match self.state {
            State::At(step) => step,
            State::Moved => Step::Switch,
            State::Back(..) | State::Undone => return,
        };
        let first = Back::first(reached, None);
        self.state = first.map_or(State::Undone, |back| State::Back(reached, back));
    }
}

/// One that no other has.
pub fn new_id() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes).map_err(|error| {
        let what = "there is no random number to be had";
        Failure::new(Fault::Failed, what, error.to_string(), fix!("ls -la {}", Path::new("/dev")))
    })?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Held by the process that migrates: one at a time on a laptop.
pub struct Held {
    _lock: Lock,
}

/// Without waiting; `None` where another process has it.
pub fn hold(paths: &Paths) -> Result<Option<Held>, Failure> {
    paths.ensure_state()?;
    let dir = paths.migrations_dir();
    paths::ensure_private(&dir)?;
    let file = dir.join("lock");
    let taken = Lock::take(&file).map_err(|error| Failure::io("lock", &file, &error))?;
    Ok(taken.map(|lock| Held { _lock: lock }))
}

/// The migration of this workspace that was begun last, if it is remembered.
pub fn load(paths: &Paths, workspace: &str) -> Result<Option<Migration>, Failure> {
    let path = file_of(paths, workspace);
    if !path.exists() {
        return Ok(None);
    }
    let text = file::read_private(&path)?;
    read(&text).map(Some).map_err(|error| {
        let what = format!("{} cannot be used", path.display());
        Failure::new(Fault::Config, what, error.to_string(), fix!("cat {}", path))
    })
}

/// All that are remembered and can be read, by workspace.
pub fn all(paths: &Paths) -> Vec<Migration> {
    let entries = std::fs::read_dir(paths.migrations_dir()).into_iter().flatten().flatten();
    let names = entries.take(MOST).filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    names.iter().filter_map(|name| load(paths, name).ok().flatten()).collect()
}

/// Those that neither came to their end nor were taken back.
pub fn unfinished(paths: &Paths) -> Vec<Migration> {
    all(paths).into_iter().filter(|it| !it.is_over()).collect()
}

/// Written down for good before this returns.
pub fn save(paths: &Paths, it: &Migration) -> Result<(), Failure> {
    let path = file_of(paths, &it.workspace);
    let text = write(it).to_string();
    file::replace(&path, text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))
}

fn file_of(paths: &Paths, workspace: &str) -> PathBuf {
    paths.migrations_dir().join(format!("{workspace}.json"))
}

fn write(it: &Migration) -> Value {
    let (kind, step, back) = match it.state {
        State::At(step) => ("at", step.name(), ""),
        State::Back(step, back) => ("back", step.name(), back.name()),
        State::Moved => ("moved", "", ""),
        State::Undone => ("undone", "", ""),
    };
    let mut all = json!({
        "version": VERSION, "id": it.id, "workspace": it.workspace, "from": it.from, "to": it.to,
        "dir": it.dir, "services": it.services, "state": kind, "step": step, "back": back,
    });
    for (name, value) in [("default", &it.default), ("digest", &it.digest)] {
        if let Some(value) = value {
            all[name] = json!(value);
        }
    }
    if let Some(ms) = it.paused_ms {
        all["paused_ms"] = ms.into();
    }
    let Agreed { other_architecture, empty, leave_out } = it.agreed;
    for (name, is_so) in AGREED.into_iter().zip([other_architecture, empty, leave_out]) {
        if is_so {
            all[name] = true.into();
        }
    }
    all
}

fn read(text: &str) -> Result<Migration, ReadError> {
    let mut fields = Fields::parse(text)?;
    fields.int::<u32>("version", VERSION..=VERSION)?;
    let name = |text: &str| check_name(text).map(|()| text.to_owned());
    let (kind, step, back) =
        (fields.string("state")?, fields.string("step")?, fields.string("back")?);
    let state = match (&kind[..], Step::named(&step), Back::named(&back)) {
        ("at", Some(step), None) => State::At(step),
        ("back", Some(step), Some(back)) if back.is_due(step) => State::Back(step, back),
        ("moved", None, None) => State::Moved,
        ("undone", None, None) => State::Undone,
        _ => return Err(fields.error("state", "is none that is known")),
    };
    let digest = fields.opt_meant("digest", |text| match text.len() <= DIGEST_CHARS {
        true => Ok(text.to_owned()),
        false => Err("is too long".to_owned()),
    })?;
    let is_verified = matches!(state, State::At(step) if step >= Step::Leave);
    if is_verified && digest.is_none() {
        return Err(fields.error("digest", "is missing"));
    }
    let [other_architecture, empty, leave_out] =
        AGREED.map(|name| fields.take(name) == Some(Value::Bool(true)));
    let agreed = Agreed { other_architecture, empty, leave_out };
    Ok(Migration {
        id: fields.meant("id", id)?,
        workspace: fields.meant("workspace", workspace)?,
        from: fields.meant("from", name)?,
        to: fields.meant("to", name)?,
        dir: Path::new(&fields.string("dir")?).to_owned(),
        default: fields.opt_meant("default", name)?,
        services: services(&mut fields)?,
        paused_ms: fields.opt_int("paused_ms", 0..=u64::MAX)?,
        agreed,
        state,
        digest,
    })
}

fn services(fields: &mut Fields) -> Result<Vec<String>, ReadError> {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    match fields.take("services") {
        Some(Value::Array(all)) if all.len() <= MOST => {
            let names: Option<Vec<String>> = all.iter().map(name).collect();
            names.ok_or_else(|| fields.error("services", "must be names"))
        }
        _ => Err(fields.error("services", "must be a list")),
    }
}

fn workspace(text: &str) -> Result<String, String> {
    check::name(text).map(|()| text.to_owned()).map_err(|refusal| refusal.why.to_string())
}

fn id(text: &str) -> Result<String, String> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match text.len() == 16 && text.bytes().all(digit) {
        true => Ok(text.to_owned()),
        false => Err("must be 16 hexadecimal digits".to_owned()),
    }
}

#[cfg(test)]
mod tests;
