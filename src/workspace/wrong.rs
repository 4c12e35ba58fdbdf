//! What is said of a mistake: where it is, why it is one, and what to write. Many of a file are
//! told at once, and never without a bound.

use std::fmt;

use crate::base::yaml::{NOWHERE, Place};

/// Most mistakes that are told of one file.
pub const MOST: usize = 32;
/// Characters of a foreign text that are repeated.
const SHOWN_CHARS: usize = 60;

/// Why a text cannot be what it should be, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    pub fix: String,
}

impl Refusal {
    pub fn new(why: impl Into<String>, fix: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), fix: fix.into() }
    }

    pub fn at(self, at: Place, path: &str) -> Wrong {
        Wrong { at, path: path.to_owned(), why: self.why, fix: self.fix }
    }
}

/// A mistake in a file, or in a message where nothing has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub at: Place,
    /// Such as `services.web.ports[0]`; empty for the whole.
    pub path: String,
    pub why: String,
    pub fix: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at != NOWHERE {
            write!(out, "line {}, column {}: ", self.at.line, self.at.column)?;
        }
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        out.write_str(&self.why)?;
        if self.fix.is_empty() { Ok(()) } else { write!(out, "; {}", self.fix) }
    }
}

/// The mistakes of one file, in the order of its lines.
#[derive(Debug, Default)]
pub struct Wrongs(Vec<Wrong>);

impl Wrongs {
    pub fn push(&mut self, wrong: Wrong) {
        // One more than is told, so that it is known that there are more.
        if !self.is_full() {
            self.0.push(wrong);
        }
    }

    /// No more of them is told.
    pub fn is_full(&self) -> bool {
        self.0.len() > MOST
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None` where nothing is wrong.
    pub fn told(mut self) -> Option<Vec<Wrong>> {
        if self.0.is_empty() {
            return None;
        }
        let more = self.0.len() > MOST;
        self.0.truncate(MOST);
        self.0.sort_by(|a, b| (a.at, &a.path).cmp(&(b.at, &b.path)));
        if let (true, Some(last)) = (more, self.0.last()) {
            let more = Refusal::new("and more is wrong", "mend these first").at(last.at, "");
            self.0.push(more);
        }
        Some(self.0)
    }
}

/// A foreign text in a sentence of ours.
pub fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

pub fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}
