//! A command that is run for a laptop: what is asked for, what it says, and how it ended.

use serde_json::{Map, Value, json};

use super::{Message, opt_meant};
use crate::base::base64;
use crate::base::json::{Fields, ReadError};

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The program and what it is given.
    pub words: Vec<String>,
    /// Where it begins, if that is not the login's home; from there, if it is not absolute.
    pub dir: Option<String>,
    /// The command gets a terminal of its own.
    pub terminal: Option<Terminal>,
    /// What it reads, for who cannot send while it runs.
    pub input: Option<String>,
}

fn words(fields: &mut Fields) -> Result<Vec<String>, ReadError> {
    let text = |value: Value| match value {
        Value::String(text) if !text.contains('\0') => Some(text),
        _ => None,
    };
    let read = match fields.take("command") {
        Some(Value::Array(all)) if (1..=WORDS).contains(&all.len()) => {
            all.into_iter().map(text).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    let read = read.filter(|words| words.first().is_some_and(|program| !program.is_empty()));
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

impl Message for Run {
    fn to_json(&self) -> Value {
        let mut value = Map::from_iter([("command".to_owned(), json!(self.words))]);
        let mut add = |name: &str, given: Option<Value>| {
            given.map(|given| value.insert(name.to_owned(), given));
        };
        add("dir", self.dir.as_ref().map(|dir| json!(dir)));
        add("terminal", self.terminal.as_ref().map(Message::to_json));
        add("input", self.input.as_ref().map(|input| json!(input)));
        Value::Object(value)
    }

    fn read(fields: &mut Fields) -> Result<Run, ReadError> {
        let terminal = match fields.opt_object("terminal")? {
            Some(terminal) => Some(Terminal::read_strictly(terminal)?),
            None => None,
        };
        Ok(Run {
            words: words(fields)?,
            dir: opt_meant(fields, "dir", dir)?,
            terminal,
            input: fields.opt_string("input")?,
        })
    }
}

/// What is said of a command while it runs, to who is told in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Out(Vec<u8>),
    Err(Vec<u8>),
}

impl Said {
    /// As text where all of it is, else in base64, whole: `{"out":"…"}` or `{"out64":"…"}`.
    pub fn to_json(&self) -> Value {
        let (text, coded, bytes) = match self {
            Said::Out(bytes) => ("out", "out64", bytes),
            Said::Err(bytes) => ("err", "err64", bytes),
        };
        match std::str::from_utf8(bytes) {
            Ok(said) => json!({text: said}),
            Err(_) => json!({coded: base64::encode(bytes)}),
        }
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
        };
        assert_eq!(Run::of(run.to_json()), Ok(run));
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
    }
}
