//! Which companions a session has.

use std::ffi::OsStr;
use std::time::Duration;

use crate::session::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ports of the server, here.
    Ports,
    /// What the server may have of this laptop.
    Bridges,
}

/// Each with its name, and its hidden first argument.
const ALL: [(Kind, &str, &str); 2] =
    [(Kind::Ports, "ports", "--ports"), (Kind::Bridges, "bridges", "--bridges")];

impl Kind {
    pub fn all() -> impl Iterator<Item = Kind> {
        ALL.iter().map(|(kind, ..)| *kind)
    }

    /// How long it may take to its end, once it is to end.
    pub fn end_limit(self) -> Duration {
        match self {
            Kind::Ports => Duration::from_millis(500),
            Kind::Bridges => limits::COMPANIONS,
        }
    }

    /// The one that a command line begins with.
    pub fn of(word: &OsStr) -> Option<Kind> {
        ALL.iter().find(|(.., argument)| word == *argument).map(|(kind, ..)| *kind)
    }

    pub fn name(self) -> &'static str {
        ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    pub fn argument(self) -> &'static str {
        ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., argument)| argument)
    }
}
