//! A command that is run for a laptop: what is asked for, what it says, and how it ended.

use serde_json::{Map, Value, json};

use super::{Message, opt_meant, read_list, services, to_list};
use crate::base::base64;
use crate::base::json::{Fields, ReadError};
use crate::workspace::check;
use crate::workspace::digest::Digest;

/// Words of a command line, and bytes of all of them; the body of a request bounds them, too.
const WORDS: usize = 65_536;
/// More than any terminal's name has.
const TERM_BYTES: usize = 64;
const PATH_BYTES: usize = 4096;

/// The terminal of whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// `$TERM` there.
    pub name: String,
    pub columns: u16,
    pub rows: u16,
}

/// A script of a workspace, as the laptop knows it: another text is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptName {
    pub name: String,
    /// Of its text (`workspace::script`).
    pub digest: Digest,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The program and what it is given; what a script is given.
    pub words: Vec<String>,
    /// Where it begins, if that is not the login's home; from there, if it is not absolute.
    pub dir: Option<String>,
    /// The command gets a terminal of its own.
    pub terminal: Option<Terminal>,
    /// What it reads, for who cannot send while it runs.
    pub input: Option<String>,
    /// It has this one's variables, if that is there.
    pub workspace: Option<String>,
    /// Of the workspace.
    pub script: Option<ScriptName>,
}

impl Run {
    /// Of the program, or of the script.
    pub fn name(&self) -> &str {
        let script = self.script.as_ref().map(|script| script.name.as_str());
        script.or(self.words.first().map(String::as_str)).unwrap_or_default()
    }

    /// As it was typed, more or less.
    pub fn line(&self) -> String {
        let script = self.script.iter().map(|script| script.name.as_str());
        let words = self.words.iter().map(String::as_str);
        script.chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Of a program, or of what a script is given.
fn words(fields: &mut Fields, is_program: bool) -> Result<Vec<String>, ReadError> {
    let text = |value: Value| match value {
        Value::String(text) if !text.contains('\0') => Some(text),
        _ => None,
    };
    let read = match fields.take("command") {
        Some(Value::Array(all)) if all.len() <= WORDS => {
            all.into_iter().map(text).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    let is_one = |words: &Vec<String>| words.first().is_some_and(|program| !program.is_empty());
    let read = read.filter(|words| !is_program || is_one(words));
    read.ok_or_else(|| fields.error("command", "must be a list of strings, first a program"))
}

fn dir(text: &str) -> Result<String, String> {
    let fits = (1..=PATH_BYTES).contains(&text.len()) && !text.contains('\0');
    if fits { Ok(text.to_owned()) } else { Err("must be a path".to_owned()) }
}

fn term(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    let fits = (1..=TERM_BYTES).contains(&text.len()) && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("must be a terminal's name".to_owned()) }
}

impl Message for Terminal {
    fn to_json(&self) -> Value {
        json!({"name": self.name, "columns": self.columns, "rows": self.rows})
    }

    fn read(fields: &mut Fields) -> Result<Terminal, ReadError> {
        Ok(Terminal {
            name: fields.meant("name", term)?,
            columns: fields.int("columns", 0..=u16::MAX)?,
            rows: fields.int("rows", 0..=u16::MAX)?,
        })
    }
}

impl Terminal {
    /// One whose name is none that could be told is a plain one.
    pub fn new(name: &str, (columns, rows): (u16, u16)) -> Terminal {
        Terminal { name: term(name).unwrap_or_else(|_| "dumb".to_owned()), columns, rows }
    }
}

impl Message for ScriptName {
    fn to_json(&self) -> Value {
        json!({"name": self.name, "digest": self.digest.to_string()})
    }

    fn read(fields: &mut Fields) -> Result<ScriptName, ReadError> {
        let name = |text: &str| check::script(text).map(|()| text.to_owned());
        let name = |text: &str| name(text).map_err(|refusal| refusal.why.to_string());
        Ok(ScriptName {
            name: fields.meant("name", name)?,
            digest: fields.meant("digest", str::parse)?,
        })
    }
}

impl Message for Run {
    fn to_json(&self) -> Value {
        let mut value = Map::from_iter([("command".to_owned(), json!(self.words))]);
        let mut add = |name: &str, given: Option<Value>| {
            given.map(|given| value.insert(name.to_owned(), given));
        };
        add("dir", self.dir.as_ref().map(|dir| json!(dir)));
        add("terminal", self.terminal.as_ref().map(Message::to_json));
        add("input", self.input.as_ref().map(|input| json!(input)));
        add("workspace", self.workspace.as_ref().map(|name| json!(name)));
        add("script", self.script.as_ref().map(Message::to_json));
        Value::Object(value)
    }

    fn read(fields: &mut Fields) -> Result<Run, ReadError> {
        let terminal = match fields.opt_object("terminal")? {
            Some(terminal) => Some(Terminal::read_strictly(terminal)?),
            None => None,
        };
        let script = match fields.opt_object("script")? {
            Some(script) => Some(ScriptName::read_strictly(script)?),
            None => None,
        };
        let workspace = opt_meant(fields, "workspace", services::workspace)?;
        if script.is_some() && workspace.is_none() {
            return Err(fields.error("workspace", "is missing: a script is of one"));
        }
        Ok(Run {
            words: words(fields, script.is_none())?,
            dir: opt_meant(fields, "dir", dir)?,
            terminal,
            input: fields.opt_string("input")?,
            workspace,
            script,
        })
    }
}

/// What is said of a command while it runs, to who is told in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Out(Vec<u8>),
    Err(Vec<u8>),
}

impl Message for Said {
    /// As text where all of it is, else in base64, whole: `{"out":"…"}` or `{"out64":"…"}`.
    fn to_json(&self) -> Value {
        let (text, coded, bytes) = match self {
            Said::Out(bytes) => ("out", "out64", bytes),
            Said::Err(bytes) => ("err", "err64", bytes),
        };
        match std::str::from_utf8(bytes) {
            Ok(said) => json!({text: said}),
            Err(_) => json!({coded: base64::encode(bytes)}),
        }
    }

    fn read(fields: &mut Fields) -> Result<Said, ReadError> {
        let mut bytes = |text: &str, coded: &str| match fields.opt_string(text)? {
            Some(said) => Ok(Some(said.into_bytes())),
            None => fields.opt_meant(coded, |said| {
                base64::decode(said).ok_or_else(|| "must be base64".to_owned())
            }),
        };
        if let Some(out) = bytes("out", "out64")? {
            return Ok(Said::Out(out));
        }
        let err = bytes("err", "err64")?;
        err.map(Said::Err).ok_or_else(|| fields.error("err", "is missing"))
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(u8),
    /// By this signal, as the server counts them.
    Signal(u8),
    /// It could not be started: 126 or 127 as a shell says it, and why.
    NotStarted(u8, String),
}

impl Ended {
    /// What a shell would say of it.
    pub fn status(&self) -> u8 {
        match self {
            Ended::Code(code) | Ended::NotStarted(code, _) => *code,
            Ended::Signal(signal) => 128u8.saturating_add(*signal),
        }
    }
}

impl Message for Ended {
    fn to_json(&self) -> Value {
        match self {
            Ended::Code(code) => json!({"code": code}),
            Ended::Signal(signal) => json!({"signal": signal}),
            Ended::NotStarted(code, why) => json!({"code": code, "why": why}),
        }
    }

    fn read(fields: &mut Fields) -> Result<Ended, ReadError> {
        if let Some(signal) = fields.opt_int("signal", 1..=127)? {
            return Ok(Ended::Signal(signal));
        }
        let (code, why) = (fields.int("code", 0..=u8::MAX)?, fields.opt_string("why")?);
        Ok(why.map_or(Ended::Code(code), |why| Ended::NotStarted(code, why)))
    }
}

/// A run that goes on without a laptop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunNumber {
    pub number: u32,
}

impl Message for RunNumber {
    fn to_json(&self) -> Value {
        json!({"number": self.number})
    }

    fn read(fields: &mut Fields) -> Result<RunNumber, ReadError> {
        Ok(RunNumber { number: fields.int("number", 1..=u32::MAX)? })
    }
}

/// Which of them are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRuns {
    /// Those alone that have ended and were never listed so, which they are then.
    pub untold: bool,
}

impl Message for ListRuns {
    fn to_json(&self) -> Value {
        json!({"untold": self.untold})
    }

    fn read(fields: &mut Fields) -> Result<ListRuns, ReadError> {
        Ok(ListRuns { untold: fields.bool("untold")? })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    Running,
    Ended(Ended),
    /// Nobody attends to it any more, and its end is not known.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    pub number: u32,
    /// Its words, cut short.
    pub command: String,
    pub began_unix_ms: u64,
    pub state: RunState,
}

impl Message for RunView {
    fn to_json(&self) -> Value {
        let (state, ended) = match &self.state {
            RunState::Running => ("running", None),
            RunState::Ended(ended) => ("ended", Some(ended.to_json())),
            RunState::Lost => ("lost", None),
        };
        json!({
            "number": self.number,
            "command": self.command,
            "began_unix_ms": self.began_unix_ms,
            "state": state,
            "ended": ended,
        })
    }

    fn read(fields: &mut Fields) -> Result<RunView, ReadError> {
        let ended = match fields.take("ended") {
            None | Some(Value::Null) => None,
            Some(ended) => Some(Ended::of(ended)?),
        };
        let state = match (fields.string("state")?.as_str(), ended) {
            ("running", _) => RunState::Running,
            ("ended", Some(ended)) => RunState::Ended(ended),
            _ => RunState::Lost,
        };
        Ok(RunView {
            number: fields.int("number", 1..=u32::MAX)?,
            command: fields.string("command")?,
            began_unix_ms: fields.int("began_unix_ms", 0..=u64::MAX)?,
            state,
        })
    }
}

/// More than are kept.
const RUNS: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    pub runs: Vec<RunView>,
}

impl Message for Runs {
    fn to_json(&self) -> Value {
        json!({"runs": to_list(&self.runs)})
    }

    fn read(fields: &mut Fields) -> Result<Runs, ReadError> {
        Ok(Runs { runs: read_list(fields, "runs", RUNS)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_crosses_and_nothing_else_does() {
        let terminal = Terminal::new("xterm-256color", (80, 24));
        let run = Run {
            words: vec!["ls".into(), "-l".into(), String::new()],
            dir: Some("src".into()),
            terminal: Some(terminal),
            input: Some("a\n".into()),
            ..Run::default()
        };
        assert_eq!(Run::of(run.to_json()), Ok(run));
        let script = ScriptName { name: "migrate".into(), digest: Digest::of("a", "b") };
        let run =
            Run { workspace: Some("app".into()), script: Some(script.clone()), ..Run::default() };
        assert_eq!(Run::of(run.to_json()), Ok(run));
        let script = script.to_json();
        assert_eq!(Terminal::new("a\nb", (1, 2)).name, "dumb");
        for bad in [
            json!({}),
            json!({"command": []}),
            json!({"command": [""]}),
            json!({"command": "ls"}),
            json!({"command": ["ls", 1]}),
            json!({"command": ["ls", "a\0b"]}),
            json!({"command": ["ls"], "dir": ""}),
            json!({"command": ["ls"], "more": 1}),
            json!({"command": [], "workspace": "app"}),
            json!({"command": ["ls"], "workspace": "../app"}),
            json!({"command": [], "script": script}),
            json!({"command": [], "workspace": "app", "script": "migrate"}),
            json!({"command": [], "workspace": "app", "script": {"name": "migrate"}}),
            json!({"command": ["ls"], "terminal": {"name": "a b", "columns": 1, "rows": 1}}),
            json!({"command": ["ls"], "terminal": {"name": "a", "columns": 65536, "rows": 1}}),
        ] {
            let fields = Fields::of(bad.clone(), "params").unwrap();
            assert!(Run::read_strictly(fields).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_what_a_shell_says() {
        let ends = [
            (Ended::Code(7), 7),
            (Ended::Signal(15), 143),
            (Ended::NotStarted(127, "no".into()), 127),
        ];
        for (end, status) in ends {
            assert_eq!((Ended::of(end.to_json()), end.status()), (Ok(end.clone()), status));
        }
        assert_eq!(Said::Out(b"a\xc3\xa4\n".to_vec()).to_json(), json!({"out": "a\u{e4}\n"}));
        assert_eq!(Said::Err(b"\xff\0".to_vec()).to_json(), json!({"err64": "/wA="}));
        for said in [Said::Out(b"a".to_vec()), Said::Err(vec![0xff, 1, 2, 3]), Said::Out(vec![])] {
            assert_eq!(Said::of(said.to_json()), Ok(said));
        }
        let states = [RunState::Running, RunState::Ended(Ended::Signal(9)), RunState::Lost];
        for state in states {
            let view = RunView { number: 1, command: "a b".into(), began_unix_ms: 7, state };
            assert_eq!(RunView::of(view.to_json()), Ok(view));
        }
    }
}
