//! What a keeper tells of its service: `state.json`, whole at every moment, replaced at each
//! transition by the keeper alone. Each transition names the generation that it is of.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::process::{Process, boot};
use super::{STATE, spec::Spec};
use crate::base::json::{Fields, ReadError};
use crate::sys::bounded;

const STATE_BYTES: u64 = 64 * 1024;
const TEMP: &str = ".state.json.tmp";

/// What becomes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its process is being made.
    Starting,
    Running,
    /// What it started is asked to end, or made to.
    Ending,
    /// For its next start.
    Waiting,
    /// Somebody ended it.
    Stopped,
    /// It ended by itself, as it should.
    Done,
    Failed,
    GaveUp,
}

const PHASES: [(Phase, &str); 8] = [
    (Phase::Starting, "starting"),
    (Phase::Running, "running"),
    (Phase::Ending, "ending"),
    (Phase::Waiting, "waiting"),
    (Phase::Stopped, "stopped"),
    (Phase::Done, "done"),
    (Phase::Failed, "failed"),
    (Phase::GaveUp, "gave_up"),
];

impl Phase {
    pub fn word(self) -> &'static str {
        PHASES.iter().find(|(phase, _)| *phase == self).map_or("failed", |(_, word)| word)
    }

    pub fn read(word: &str) -> Result<Phase, String> {
        let found = PHASES.iter().find(|(_, known)| *known == word);
        found.map(|(phase, _)| *phase).ok_or_else(|| "is no state of a service".to_owned())
    }

    /// Nothing of it runs, and nothing will without somebody's word.
    pub fn is_final(self) -> bool {
        matches!(self, Phase::Stopped | Phase::Done | Phase::Failed | Phase::GaveUp)
    }
}

/// What somebody wants of it, and a keeper that is killed on the way leaves to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Run,
    Stop,
    /// Another run as soon as this one has ended.
    Again,
}

const WISHES: [(Wish, &str); 3] =
    [(Wish::Run, "run"), (Wish::Stop, "stop"), (Wish::Again, "again")];

impl Wish {
    fn word(self) -> &'static str {
        WISHES.iter().find(|(wish, _)| *wish == self).map_or("run", |(_, word)| word)
    }

    fn read(word: &str) -> Result<Wish, String> {
        let found = WISHES.iter().find(|(_, known)| *known == word);
        found.map(|(wish, _)| *wish).ok_or_else(|| "must be run, stop or again".to_owned())
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Its program could not be started.
    NotStarted(String),
    /// Nobody was there to hear how.
    Lost(Loss),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The keeper was killed, and the run ended with it.
    Keeper,
    /// The machine was started anew.
    Reboot,
}

impl Exit {
    pub fn is_success(&self) -> bool {
        *self == Exit::Code(0)
    }

    pub fn to_json(&self) -> Value {
        match self {
            Exit::Code(code) => json!({"code": code}),
            Exit::Signal(signal) => json!({"signal": signal}),
            Exit::NotStarted(why) => json!({"not_started": why}),
            Exit::Lost(Loss::Keeper) => json!({"lost": "keeper"}),
            Exit::Lost(Loss::Reboot) => json!({"lost": "reboot"}),
        }
    }

    pub fn read(mut fields: Fields) -> Result<Exit, ReadError> {
        let loss = |word: &str| match word {
            "reboot" => Ok(Loss::Reboot),
            _ => Ok(Loss::Keeper),
        };
        if let Some(why) = fields.opt_string("not_started")? {
            return Ok(Exit::NotStarted(why));
        }
        if let Some(loss) = fields.opt_meant("lost", loss)? {
            return Ok(Exit::Lost(loss));
        }
        if let Some(signal) = fields.opt_int("signal", 1..=128u8)? {
            return Ok(Exit::Signal(signal.into()));
        }
        Ok(Exit::Code(fields.int("code", 0..=255u8)?.into()))
    }
}

/// As a log has it.
impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(out, "with {code}"),
            Exit::Signal(signal) => write!(out, "by signal {signal}"),
            Exit::NotStarted(why) => write!(out, "not started: {why}"),
            Exit::Lost(Loss::Keeper) => out.write_str("unseen: its keeper was killed"),
            Exit::Lost(Loss::Reboot) => out.write_str("unseen: the machine was started anew"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The start that this is of, as its spec has it.
    pub start: u64,
    /// Counts runs, from 1 on, through all starts.
    pub generation: u64,
    pub phase: Phase,
    pub since_ms: u64,
    pub process: Option<Process>,
    /// Runs after the first one of this start.
    pub restarts: u32,
    /// Runs in a row that ended soon.
    pub soon: u32,
    pub wish: Wish,
    pub last_exit: Option<Exit>,
    pub last_exit_ms: u64,
    /// Bytes that could not be written to the log.
    pub log_lost: u64,
    pub keeper: u32,
    /// The life of the machine in which this was told.
    pub boot: String,
}

impl State {
    /// Before anything.
    pub fn new(spec: &Spec) -> State {
        State {
            start: spec.start,
            generation: 0,
            phase: Phase::Starting,
            since_ms: 0,
            process: None,
            restarts: 0,
            soon: 0,
            wish: Wish::Run,
            last_exit: None,
            last_exit_ms: 0,
            log_lost: 0,
            keeper: std::process::id(),
            boot: boot(),
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "start": self.start,
            "generation": self.generation,
            "state": self.phase.word(),
            "since_ms": self.since_ms,
            "process": self.process.as_ref().map(Process::to_json),
            "restarts": self.restarts,
            "soon": self.soon,
            "wish": self.wish.word(),
            "last_exit": self.last_exit.as_ref().map(Exit::to_json),
            "last_exit_ms": self.last_exit_ms,
            "log_lost": self.log_lost,
            "keeper": self.keeper,
            "boot": self.boot,
        })
    }

    pub fn parse(text: &str) -> Result<State, ReadError> {
        let mut fields = Fields::parse(text)?;
        let process = match opt(&mut fields, "process")? {
            Some(mut process) => Some(Process::read(&mut process)?),
            None => None,
        };
        Ok(State {
            start: fields.int("start", 0..=u64::MAX)?,
            generation: fields.int("generation", 0..=u64::MAX)?,
            phase: fields.meant("state", Phase::read)?,
            since_ms: fields.int("since_ms", 0..=u64::MAX)?,
            process,
            restarts: fields.int("restarts", 0..=u32::MAX)?,
            soon: fields.int("soon", 0..=u32::MAX)?,
            wish: fields.meant("wish", Wish::read)?,
            last_exit: opt(&mut fields, "last_exit")?.map(Exit::read).transpose()?,
            last_exit_ms: fields.int("last_exit_ms", 0..=u64::MAX)?,
            log_lost: fields.int("log_lost", 0..=u64::MAX)?,
            keeper: fields.int("keeper", 0..=u32::MAX)?,
            boot: fields.string("boot")?,
        })
    }

    /// What a keeper of this directory told last; nothing where none did, or what is there cannot
    /// be read, as after a power cut.
    pub fn load(dir: &Path) -> Option<State> {
        let bytes = bounded::read(dir.join(STATE), STATE_BYTES).ok()?;
        State::parse(&String::from_utf8(bytes).ok()?).ok()
    }

    /// Not forced to the disk: what it says of processes means nothing in the machine's next life.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        let temp = dir.join(TEMP);
        let flags = libc::O_NOFOLLOW;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.custom_flags(flags).open(&temp)?;
        file.write_all(format!("{}\n", self.to_json()).as_bytes())?;
        fs::rename(&temp, dir.join(STATE))
    }
}

fn opt(fields: &mut Fields, key: &str) -> Result<Option<Fields>, ReadError> {
    match fields.take(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => Fields::of(value, key).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again_and_what_is_damaged_is_nothing() {
        let dir = std::env::temp_dir().join(format!("hopbox-keeper-state-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let exits = [
            None,
            Some(Exit::Code(7)),
            Some(Exit::Signal(9)),
            Some(Exit::NotStarted("no such \"program\"".to_owned())),
            Some(Exit::Lost(Loss::Keeper)),
            Some(Exit::Lost(Loss::Reboot)),
        ];
        for last_exit in exits {
            for (phase, _) in PHASES {
                let state = State {
                    start: 3,
                    generation: 9,
                    phase,
                    since_ms: 1,
                    process: Process::of(std::process::id()),
                    restarts: 2,
                    soon: 1,
                    wish: Wish::Again,
                    last_exit: last_exit.clone(),
                    last_exit_ms: 5,
                    log_lost: 6,
                    keeper: 77,
                    boot: "a life".to_owned(),
                };
                state.save(&dir).unwrap();
                assert_eq!(State::load(&dir).as_ref(), Some(&state));
            }
        }
        for damaged in ["", "{}", "{\"version\":1}", "\u{0}\u{0}", "[]"] {
            fs::write(dir.join(STATE), damaged).unwrap();
            assert_eq!(State::load(&dir), None, "{damaged:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
