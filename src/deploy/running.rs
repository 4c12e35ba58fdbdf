//! Whether what runs on a server is what its release lists, or what this laptop would install
//! there. The server tells it of itself: what was forgotten, or changed on the spot, is found, and
//! one that lies is not. Must not know: how it is asked.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::artifacts::{self, Programs};
use crate::base::{b2sum, own_program};
use crate::rpc::VERSION;
use crate::rpc::types::running::{Program, Running};
use crate::sys::bounded;

/// Of those that may run on a server.
const NAMES: [&str; 3] = ["hop-agent", "hop-helper", "hop-helper-server"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Released,
    /// What this laptop would install there.
    Ours,
    /// Of this version, and neither.
    Other,
    /// Another file lies in its place: it was not started anew.
    Replaced,
    AnotherVersion,
    /// There is nothing here to compare it with.
    Alone,
    /// It does not say which one it is.
    Untold,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Released => "released",
            Verdict::Ours => "ours",
            Verdict::Other => "other",
            Verdict::Replaced => "replaced",
            Verdict::AnotherVersion => "another_version",
            Verdict::Alone => "alone",
            Verdict::Untold => "untold",
        }
    }

    /// Something has to be done about it.
    pub fn is_fault(self) -> bool {
        matches!(self, Verdict::Other | Verdict::Replaced)
    }
}

/// A program that runs on a server, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub name: &'static str,
    pub version: String,
    pub digest: Option<String>,
    pub verdict: Verdict,
}

impl Judged {
    pub fn in_words(&self) -> String {
        let version = &self.version;
        match self.verdict {
            Verdict::Released => "as released".to_owned(),
            Verdict::Ours => "what this laptop installs".to_owned(),
            Verdict::Other => "neither as released nor what this laptop installs".to_owned(),
            Verdict::Replaced => "another file lies in its place than runs".to_owned(),
            Verdict::AnotherVersion => format!("version {version}, and this hop is {VERSION}"),
            Verdict::Alone => "nothing here to compare it with".to_owned(),
            Verdict::Untold => format!("version {version} does not tell which file it is"),
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name, "version": self.version, "b2sum": self.digest,
            "is": self.verdict.word(),
        })
    }
}

/// What is compared with, of this version.
#[derive(Default)]
pub struct Known {
    /// Names and digests, as the release lists them; of every kind of machine.
    released: BTreeSet<(String, String)>,
    /// What this laptop would install there.
    ours: BTreeSet<(String, String)>,
}

impl Known {
    pub fn of(programs: &Programs) -> Known {
        Known { released: installed(), ours: programs.digests() }
    }

    /// For a server of this kind, in the words of `uname -m`, for which nothing may be here.
    fn here(machine: &str) -> Known {
        let ours = artifacts::load(None, machine).ok();
        let ours = ours.map(|programs| programs.digests()).unwrap_or_default();
        Known { released: installed(), ours }
    }
}

/// What the release lists that this hop is of, if it is of one.
fn installed() -> BTreeSet<(String, String)> {
    let own = own_program::own().ok();
    let list = own.as_deref().and_then(Path::parent).map(own_program::digests);
    list.and_then(|list| bounded::text(list).ok()).map(|list| released(&list)).unwrap_or_default()
}

/// The lines of a list as b2sum(1) reads them: `DIGEST  TARGET/NAME`.
fn released(list: &str) -> BTreeSet<(String, String)> {
    let line = |line: &str| {
        let (digest, path) = line.split_once("  ")?;
        let (_, name) = path.rsplit_once('/')?;
        Some((name.to_owned(), b2sum::read(digest).ok()?))
    };
    list.lines().filter_map(line).collect()
}

/// What runs on a host, compared with what lies on this laptop.
pub fn compared(running: &Running) -> Vec<Judged> {
    judge(running, &Known::here(&running.machine))
}

/// One of a later version that nobody knows here is passed over.
pub fn judge(running: &Running, known: &Known) -> Vec<Judged> {
    let judged = |program: &Program| {
        let name = NAMES.into_iter().find(|name| *name == program.name)?;
        let Program { version, digest, .. } = program.clone();
        Some(Judged { name, version, digest, verdict: verdict(program, known) })
    };
    running.programs.iter().filter_map(judged).collect()
}

fn verdict(program: &Program, known: &Known) -> Verdict {
    if program.is_on_disk == Some(false) {
        return Verdict::Replaced;
    }
    let Some(digest) = &program.digest else { return Verdict::Untold };
    let is = (program.name.clone(), digest.clone());
    let is_known = |all: &BTreeSet<(String, String)>| all.iter().any(|(name, _)| *name == is.0);
    match () {
        () if known.released.contains(&is) => Verdict::Released,
        () if known.ours.contains(&is) => Verdict::Ours,
        () if program.version != VERSION => Verdict::AnotherVersion,
        // The list may be of other kinds of machines alone.
        () if is_known(&known.ours) => Verdict::Other,
        () => Verdict::Alone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> String {
        String::from(of).repeat(128)
    }

    fn program(name: &str, of: Option<char>, is_on_disk: Option<bool>) -> Program {
        let (name, version) = (name.to_owned(), VERSION.to_owned());
        Program { name, version, digest: of.map(digest), is_on_disk }
    }

    fn known() -> Known {
        let list = format!(
            "# rustc: 1.95.0\n{}  x86_64-linux-musl/hop-agent\n{}  a/hop-helper\nx  y/z\n\n",
            digest('a'),
            digest('b'),
        );
        let ours = [("hop-agent", 'c'), ("hop-helper", 'd')];
        let ours = ours.map(|(name, of)| (name.to_owned(), digest(of))).into();
        Known { released: released(&list), ours }
    }

    #[test]
    fn a_program_is_what_is_released_or_ours_or_neither() {
        let known = known();
        assert_eq!(known.released.len(), 2);
        let of = |name, of, is_on_disk| verdict(&program(name, of, is_on_disk), &known);
        let there = Some(true);
        assert_eq!(of("hop-agent", Some('a'), there), Verdict::Released);
        assert_eq!(of("hop-agent", Some('a'), None), Verdict::Released);
        assert_eq!(of("hop-agent", Some('c'), there), Verdict::Ours);
        assert_eq!(of("hop-agent", Some('b'), there), Verdict::Other, "the helper's");
        assert_eq!(of("hop-agent", Some('e'), there), Verdict::Other);
        assert_eq!(of("hop-agent", Some('a'), Some(false)), Verdict::Replaced);
        assert_eq!(of("hop-helper", None, Some(false)), Verdict::Replaced);
        assert_eq!(of("hop-helper", None, None), Verdict::Untold);
        assert_eq!(of("hop-helper-server", Some('e'), there), Verdict::Alone);
        let none = Known::default();
        assert_eq!(verdict(&program("hop-agent", Some('a'), there), &none), Verdict::Alone);
        let older = Program { version: "0.1.0".into(), ..program("hop-agent", Some('e'), there) };
        assert_eq!(verdict(&older, &known), Verdict::AnotherVersion);
    }

    #[test]
    fn what_nobody_knows_here_is_passed_over() {
        let programs = ["hop-later", "hop-agent"].map(|name| program(name, Some('a'), None)).into();
        let running = Running { machine: "x86_64".to_owned(), programs };
        let judged = judge(&running, &known());
        assert_eq!(judged.iter().map(|one| one.name).collect::<Vec<_>>(), ["hop-agent"]);
        assert_eq!(judged[0].to_json()["is"], "released");
    }
}
