//! What a keeper is told of its service: `spec.json`, written as a whole by whoever starts the
//! keeper, never by the keeper. It may hold secrets of the workspace: 0600.

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base::json::{Fields, ReadError};
use crate::sys::bounded;

/// Of the whole file.
const SPEC_BYTES: u64 = 1024 * 1024;
const WORDS: usize = 1024;
const DAY_MS: u32 = 86_400_000;
const HOUR_MS: u32 = 3_600_000;

#[derive(Clone, PartialEq, Eq)]
pub struct Spec {
    /// Which start this is. A keeper that finds another number in its state begins anew.
    pub start: u64,
    /// The unit whose group is the service's alone; where there is none, what was started is found
    /// by descent and by a mark in its environment.
    pub unit: Option<String>,
    /// The program and its arguments; it has one.
    pub argv: Vec<String>,
    pub cwd: String,
    /// Beside what the keeper has itself.
    pub env: Vec<(String, String)>,
    pub restart: Restart,
    pub backoff: Backoff,
    /// From the first signal to the one that cannot be ignored.
    pub stop_ms: u32,
    pub log: LogBounds,
    /// Nothing of it is a child of the keeper's.
    pub proxy: Option<Proxy>,
}

/// What is run outside of the unit; the service's own process stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Ends the rest where that process could not: a program and its arguments, with the
    /// service's environment.
    pub end: Vec<String>,
}

/// Of its variables the names alone.
impl fmt::Debug for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.env.iter().map(|(name, _)| name);
        write!(out, "start {} of {:?} with ", self.start, self.argv)?;
        out.debug_set().entries(names).finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Never,
    OnFailure,
    Always,
}

const RESTARTS: [(Restart, &str); 3] =
    [(Restart::Never, "never"), (Restart::OnFailure, "on-failure"), (Restart::Always, "always")];

impl Restart {
    pub fn word(self) -> &'static str {
        RESTARTS.iter().find(|(restart, _)| *restart == self).map_or("never", |(_, word)| word)
    }

    fn read(word: &str) -> Result<Restart, String> {
        let found = RESTARTS.iter().find(|(_, known)| *known == word);
        let none = || "must be never, on-failure or always".to_owned();
        found.map(|(restart, _)| *restart).ok_or_else(none)
    }
}

/// How long to wait before the next start, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Doubled with each start that fails soon.
    pub first_ms: u32,
    pub most_ms: u32,
    /// Starts in a row that fail soon, after which it is given up.
    pub tries: u32,
    /// Who ran this long has started well.
    pub settled_ms: u32,
}

impl Backoff {
    pub const USUAL: Backoff =
        Backoff { first_ms: 500, most_ms: 30_000, tries: 8, settled_ms: 10_000 };
}

/// A log is never larger than `bytes` times one more than `files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    pub bytes: u64,
    /// Older ones, beside the one that is written.
    pub files: u32,
}

impl LogBounds {
    pub const USUAL: LogBounds = LogBounds { bytes: 8 * 1024 * 1024, files: 4 };
}

impl Spec {
    pub fn load(path: &Path) -> Result<Spec, String> {
        let bytes = bounded::read(path, SPEC_BYTES).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        Spec::parse(&text).map_err(|error| error.to_string())
    }

    pub fn parse(text: &str) -> Result<Spec, ReadError> {
        let mut fields = Fields::parse(text)?;
        fields.int::<u32>("version", 1..=1)?;
        let spec = Spec {
            start: fields.int("start", 0..=u64::MAX)?,
            unit: opt_word(&mut fields, "unit")?,
            argv: words(&mut fields, "argv")?,
            cwd: fields.string("cwd")?,
            env: pairs(&mut fields, "env")?,
            restart: fields.meant("restart", Restart::read)?,
            backoff: Backoff {
                first_ms: fields.int("backoff_first_ms", 1..=HOUR_MS)?,
                most_ms: fields.int("backoff_most_ms", 1..=DAY_MS)?,
                tries: fields.int("backoff_tries", 1..=u32::MAX)?,
                settled_ms: fields.int("settled_ms", 1..=DAY_MS)?,
            },
            stop_ms: fields.int("stop_ms", 0..=HOUR_MS)?,
            log: LogBounds {
                bytes: fields.int("log_bytes", 4096..=1 << 40)?,
                files: fields.int("log_files", 0..=1000)?,
            },
            proxy: match fields.opt_object("proxy")? {
                Some(mut proxy) => Some(Proxy { end: words(&mut proxy, "end")? }),
                None => None,
            },
        };
        fields.finish().map(|()| spec)
    }

    pub fn to_json(&self) -> Value {
        let env: Map<String, Value> =
            self.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut json = json!({
            "version": 1,
            "start": self.start,
            "unit": self.unit,
            "argv": self.argv,
            "cwd": self.cwd,
            "env": env,
            "restart": self.restart.word(),
            "backoff_first_ms": self.backoff.first_ms,
            "backoff_most_ms": self.backoff.most_ms,
            "backoff_tries": self.backoff.tries,
            "settled_ms": self.backoff.settled_ms,
            "stop_ms": self.stop_ms,
            "log_bytes": self.log.bytes,
            "log_files": self.log.files,
        });
        // A keeper of an older release reads what it knows.
        if let Some(Proxy { end }) = &self.proxy {
            json["proxy"] = json!({"end": end});
        }
        json
    }
}

/// A zero byte would end a word early.
fn is_word(text: &str) -> bool {
    !text.contains('\0')
}

fn opt_word(fields: &mut Fields, key: &str) -> Result<Option<String>, ReadError> {
    match fields.take(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(fields.error(key, "must be a string or null")),
    }
}

fn words(fields: &mut Fields, key: &str) -> Result<Vec<String>, ReadError> {
    let word = |value: &Value| value.as_str().filter(|text| is_word(text)).map(str::to_owned);
    let read = fields.take(key).and_then(|value| {
        value.as_array()?.iter().take(WORDS + 1).map(word).collect::<Option<Vec<String>>>()
    });
    let fits = |words: &Vec<String>| (1..=WORDS).contains(&words.len());
    let bad = || fields.error(key, format!("must be a list of 1 to {WORDS} strings"));
    read.filter(fits).ok_or_else(bad)
}

fn pairs(fields: &mut Fields, key: &str) -> Result<Vec<(String, String)>, ReadError> {
    let pair = |(name, value): (String, Value)| {
        let is_name = !name.is_empty() && is_word(&name) && !name.contains('=');
        let value = value.as_str().filter(|text| is_name && is_word(text))?.to_owned();
        Some((name, value))
    };
    let read = match fields.take(key) {
        Some(Value::Object(map)) if map.len() <= WORDS => map.into_iter().map(pair).collect(),
        _ => None,
    };
    read.ok_or_else(|| fields.error(key, format!("must be at most {WORDS} names with strings")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Spec {
        Spec {
            start: 7,
            unit: Some("hopbox-app-web.service".to_owned()),
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo \u{1b} ü".to_owned()],
            cwd: "/".to_owned(),
            env: vec![("A".to_owned(), "b=c".to_owned())],
            restart: Restart::OnFailure,
            backoff: Backoff::USUAL,
            stop_ms: 10_000,
            log: LogBounds::USUAL,
            proxy: None,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let spec = some();
        assert_eq!(Spec::parse(&spec.to_json().to_string()).unwrap(), spec);
        let proxy = Some(Proxy { end: vec!["/bin/true".to_owned()] });
        let spec = Spec { unit: None, proxy, ..spec };
        assert_eq!(Spec::parse(&spec.to_json().to_string()).unwrap(), spec);
    }

    #[test]
    fn what_no_program_could_be_started_with_is_refused() {
        let bad = |key: &str, value: Value| {
            let mut json = some().to_json();
            json[key] = value;
            let error = Spec::parse(&json.to_string()).unwrap_err();
            assert_eq!(error.key, key, "{error}");
        };
        bad("argv", json!([]));
        bad("argv", json!(["a\u{0}b"]));
        bad("argv", json!(["a", 1]));
        bad("argv", json!(vec!["x"; WORDS + 1]));
        bad("env", json!({"A=B": "c"}));
        bad("env", json!({"": "c"}));
        bad("env", json!({"A": "b\u{0}"}));
        bad("env", json!([]));
        bad("restart", json!("sometimes"));
        bad("backoff_tries", json!(0));
        bad("log_bytes", json!(0));
        bad("stop_ms", json!(-1));
        let mut json = some().to_json();
        json["proxy"] = json!({"end": []});
        assert_eq!(Spec::parse(&json.to_string()).unwrap_err().key, "proxy.end");
        bad("version", json!(2));
        bad("more", json!(1));
    }
}
