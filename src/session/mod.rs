//! One host brought up: the order of the steps, their undoing, and watching over it.
//!
//! Reading order: this file (undo stack, trouble) → `up` (the sequence; `asking` waits for the
//! agent) → `run` (a session from lock to clean-up) → `watch` (while it is up) → `monitor`,
//! `layers`, `state` (whether the agent answers, what is broken, what is remembered) → `network`
//! (finding the VPS again) → `control` (its socket) → `daemon` (detaching, and what `hop up`
//! hears) → `through` (asking the agent of a host that is up) → `journal` (its log).
//! Knows nothing of commands, flags or how a message is printed.

mod asking;
pub mod control;
pub mod daemon;
pub mod diagnose;
pub mod elsewhere;
pub mod identity;
pub mod in_use;
pub mod journal;
pub mod layers;
pub mod monitor;
pub mod network;
pub mod probe;
pub mod report;
pub mod rotate;
pub mod run;
pub mod state;
pub mod through;
pub mod up;
mod watch;

use crate::base::failure::{HostError, Kind as FileKind};
use crate::text::fix::Fix;

/// What sort of trouble it is; chooses the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Failed,
    Config,
    NotFound,
    Helper,
    Unreachable,
    Timeout,
    Busy,
    /// Another session of the host has the lock.
    Held,
    Interrupted,
}

/// Names of the kinds on the progress pipe.
const KINDS: [(Kind, &str); 9] = [
    (Kind::Failed, "failed"),
    (Kind::Config, "config"),
    (Kind::NotFound, "not_found"),
    (Kind::Helper, "helper"),
    (Kind::Unreachable, "unreachable"),
    (Kind::Timeout, "timeout"),
    (Kind::Busy, "busy"),
    (Kind::Held, "held"),
    (Kind::Interrupted, "interrupted"),
];

impl Kind {
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("failed", |(_, name)| name)
    }

    pub fn from_name(name: &str) -> Kind {
        KINDS.iter().find(|(_, known)| *known == name).map_or(Kind::Failed, |(kind, _)| *kind)
    }
}

/// Why a session did not come up or did not stay, in the three parts a user is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: Kind,
    pub what: String,
    pub why: String,
    /// One command that fixes it.
    pub next: Fix,
}

impl Trouble {
    pub fn new(
        kind: Kind,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<Fix>,
    ) -> Trouble {
        Trouble { kind, what: what.into(), why: why.into(), next: next.into() }
    }
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Trouble {
        let kind = match error.kind {
            FileKind::Config => Kind::Config,
            FileKind::NotFound => Kind::NotFound,
            FileKind::Exists => Kind::Busy,
            FileKind::Io => Kind::Failed,
        };
        Trouble { kind, what: error.what, why: error.why, next: error.next }
    }
}

/// One step's undoing; an error is told, and the rest is undone all the same.
type Step<C> = Box<dyn FnOnce(&mut C) -> Result<(), String>>;

/// What has been done so far and how to take it back, newest first. `C` is what the steps work
/// on. Undone at most once; dropping it undoes nothing, because a step may need `C`.
pub struct Undo<C> {
    steps: Vec<(&'static str, Step<C>)>,
}

impl<C> Undo<C> {
    pub fn new() -> Undo<C> {
        Undo { steps: Vec::new() }
    }

    /// Notes that `what` has been done and how to undo it.
    pub fn done(
        &mut self,
        what: &'static str,
        undo: impl FnOnce(&mut C) -> Result<(), String> + 'static,
    ) {
        self.steps.push((what, Box::new(undo)));
    }

    /// Undoes everything in reverse order; `told` hears each step and how it went.
    pub fn unwind(&mut self, on: &mut C, mut told: impl FnMut(&'static str, Result<(), String>)) {
        while let Some((what, undo)) = self.steps.pop() {
            let outcome = undo(on);
            told(what, outcome);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl<C> Default for Undo<C> {
    fn default() -> Undo<C> {
        Undo::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoes_in_reverse_once_and_past_failures() {
        let mut undo: Undo<Vec<u32>> = Undo::new();
        let mut trace = Vec::new();
        for (step, what) in [(1, "device"), (2, "tunnel"), (3, "name")] {
            undo.done(what, move |trace: &mut Vec<u32>| {
                trace.push(step);
                if step == 2 { Err("gone already".to_owned()) } else { Ok(()) }
            });
        }
        let mut told = Vec::new();
        undo.unwind(&mut trace, |what, outcome| told.push((what, outcome.is_ok())));
        assert_eq!(trace, [3, 2, 1]);
        assert_eq!(told, [("name", true), ("tunnel", false), ("device", true)]);
        undo.unwind(&mut trace, |_, _| panic!("nothing is left to undo"));
        assert!(undo.is_empty());
    }

    #[test]
    fn kinds_keep_their_names() {
        for (kind, name) in KINDS {
            assert_eq!(Kind::from_name(kind.name()), kind, "{name}");
        }
        assert_eq!(Kind::from_name("of a later version"), Kind::Failed);
    }
}
