//! What stands for `${X}` in a file of docker compose: the `.env` of its project's directory. Where
//! that is the one beside `hopbox.yaml`, services see it here, too, in another dialect.

use std::collections::BTreeSet;

use super::dotenv;
use crate::base::yaml::{NOWHERE, Place, START};
use crate::workspace::dotenv as ours;
use crate::workspace::env::Env;
use crate::workspace::import::note::Note;

pub const FILE: &str = ".env";

/// The text of a file, by its path from the project's directory; nothing where there is no file, or
/// why it cannot be read.
pub type Read<'r> = &'r mut dyn FnMut(&str) -> Result<Option<String>, String>;

#[derive(Clone, Debug, Default)]
pub struct Given {
    pub values: Env,
    /// Those that every service sees here with the same value.
    passed: BTreeSet<String>,
}

impl Given {
    /// Of the directory `dir`; what includes it (`base`) has the last word.
    pub fn of(dir: &str, base: &Given, read: Read, notes: &mut Vec<Note>) -> Given {
        let path = if dir.is_empty() { FILE.to_owned() } else { format!("{dir}/{FILE}") };
        let mut say = |line: usize, name: &str, what: String| {
            let at = Place { file: u8::MAX, line, ..START };
            notes.push(Note { file: Some(path.clone()), at, path: name.to_owned(), what });
        };
        let text = match read(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return base.clone(),
            Err(why) => {
                say(1, "", format!("left out: {why}"));
                return base.clone();
            }
        };
        let read = match dotenv::parse(&text, &base.values) {
            Ok(read) => read,
            Err((line, why)) => {
                say(line, "", format!("nothing is taken from it: {why}"));
                return base.clone();
            }
        };
        for (name, needed) in &read.shell {
            let line = read.lines.get(name).copied().unwrap_or(1);
            say(line, name, format!("left out: {} is of the shell", needed.join(", ")));
        }
        let mut passed = base.passed.clone();
        if dir.is_empty() {
            passed.extend(seen(&text, &read, base, say));
        }
        Given { values: read.env.under(&base.values), passed }
    }

    /// Whether services have this value of it without a word in the manifest.
    pub fn passes(&self, name: &str, value: &str) -> bool {
        self.passed.contains(name) && self.values.get(name) == Some(value)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name)
    }
}

/// What is the same in both dialects, and a word for what is not.
fn seen(
    text: &str,
    read: &dotenv::Read,
    base: &Given,
    mut say: impl FnMut(usize, &str, String),
) -> Vec<String> {
    let here = match ours::parse(text) {
        Ok(here) => here,
        Err(wrongs) => {
            for wrong in wrongs {
                let (why, fix) = (&wrong.why, &wrong.fix);
                say(wrong.at.line, "", format!("has to be mended before hop up: {why}: {fix}"));
            }
            return Vec::new();
        }
    };
    let mut passed = Vec::new();
    for (name, value) in read.env.iter() {
        if here.get(name) != Some(value) {
            let line = read.lines.get(name).copied().unwrap_or(1);
            let what = "is another text for hop than for docker compose: put it into '…' as it is";
            say(line, name, what.to_owned());
        } else if base.get(name).is_none() {
            passed.push(name.to_owned());
        }
    }
    passed
}

/// Said of a variable of the project's own file.
pub fn note(name: &str, what: &str) -> Note {
    let at = Place { file: u8::MAX, ..NOWHERE };
    Note { file: Some(FILE.to_owned()), at, path: name.to_owned(), what: what.to_owned() }
}

/// A manifest is for everybody's eyes: what looks like a secret is not copied into it.
pub fn is_secret(name: &str, value: &str) -> bool {
    const PARTS: [&str; 6] = ["PASS", "SECRET", "TOKEN", "CRED", "PRIVATE", "APIKEY"];
    const WORDS: [&str; 9] = ["KEY", "KEYS", "PWD", "PW", "AUTH", "SALT", "DSN", "PIN", "COOKIE"];
    let name = name.to_ascii_uppercase();
    let with_login = value.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '?', '#']).next().is_some_and(|place| place.contains('@'))
    });
    with_login
        || PARTS.iter().any(|part| name.contains(part))
        || name.split('_').any(|word| WORDS.contains(&word))
}
