//! What is said of a value that was not carried over, or not as it was.

use std::fmt;

use crate::base::yaml::{NOWHERE, Node, Place};
use crate::workspace::wrong::cut;

/// More than anybody reads.
const NOTES: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which of the files, where several were read.
    pub file: Option<String>,
    /// In the file that was read.
    pub at: Place,
    pub path: String,
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(out, "{file}: ")?;
        }
        if self.at.line != NOWHERE.line {
            write!(out, "line {}, column {}: ", self.at.line, self.at.column)?;
        }
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        out.write_str(&self.what)
    }
}

#[derive(Debug, Default)]
pub struct Notes(Vec<Note>);

impl Notes {
    pub fn add(&mut self, node: &Node, path: &str, what: impl Into<String>) {
        self.push(Note { file: None, at: node.at, path: path.to_owned(), what: what.into() });
    }

    pub fn push(&mut self, note: Note) {
        let is_same = |known: &Note| {
            (known.at, &known.what, &known.file) == (note.at, &note.what, &note.file)
        };
        match self.0.len() {
            // Anchors bring the same place in again and again.
            _ if self.0.iter().any(is_same) => {}
            0..NOTES => self.0.push(note),
            NOTES => {
                let what = "and more that is not carried over".to_owned();
                self.0.push(Note { what, path: String::new(), ..note });
            }
            _ => {}
        }
    }

    /// In the order of the lines. `files` names the files where there are several.
    pub fn told(mut self, files: &[String]) -> Vec<Note> {
        self.0.sort_by_key(|note| note.at);
        for note in self.0.iter_mut().filter(|note| note.file.is_none()) {
            note.file = files.get(usize::from(note.at.file)).cloned();
        }
        self.0
    }
}

pub fn below(path: &str, key: &str) -> String {
    if path.is_empty() { cut(key) } else { format!("{path}.{}", cut(key)) }
}
