//! What is remembered of a host's ports from one session to the next: those that answer at another
//! number than their own, those that the user pinned to one, and those that they want nowhere.
//!
//! A file that cannot be read is begun anew: the worst is another number.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::host::paths::Paths;

const SCHEMA: u32 = 1;
const ENTRIES: usize = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The number here.
    pub local: Option<u16>,
    pub is_pinned: bool,
    pub is_excluded: bool,
    /// Grows with each change: the lowest is forgotten first.
    turn: u64,
}

impl Entry {
    fn says_something(&self) -> bool {
        self.local.is_some() || self.is_excluded
    }
}

pub struct Ledger {
    path: PathBuf,
    entries: BTreeMap<u16, Entry>,
    /// Ports appear here without being pinned.
    is_auto: bool,
    /// Not yet in the file.
    has_changed: bool,
}

impl Ledger {
    /// As it is on the disk; with the reason where that is of no use.
    pub fn open(paths: &Paths, host: &str) -> (Ledger, Option<String>) {
        let path = paths.ports_file(host);
        let with = |path, (entries, is_auto)| Ledger { path, entries, is_auto, has_changed: false };
        let empty = |path| with(path, (BTreeMap::new(), true));
        let text = match file::read_private(&path) {
            Ok(text) => text,
            Err(_) if matches!(fs::symlink_metadata(&path), Err(e) if is_absent(&e)) => {
                return (empty(path), None);
            }
            Err(failure) => {
                return (empty(path), Some(format!("{}: {}", failure.what, failure.why)));
            }
        };
        match read(&text) {
            Ok(read) => (with(path, read), None),
            Err(error) => {
                let why = format!("{} is begun anew: {error}", path.display());
                (empty(path), Some(why))
            }
        }
    }

    pub fn of(&self, port: u16) -> Entry {
        self.entries.get(&port).copied().unwrap_or_default()
    }

    /// The numbers here that are remembered for other ports than this.
    pub fn numbers_but(&self, port: u16) -> impl Iterator<Item = u16> {
        let others = self.entries.iter().filter(move |(other, _)| **other != port);
        others.filter_map(|(_, entry)| entry.local)
    }

    pub fn is_auto(&self) -> bool {
        self.is_auto
    }

    /// Whether that is a change.
    pub fn set_auto(&mut self, is_auto: bool) -> bool {
        let is_new = self.is_auto != is_auto;
        self.is_auto = is_auto;
        self.has_changed |= is_new;
        is_new
    }

    pub fn moved(&mut self, port: u16, local: u16) {
        self.change(port, |entry| entry.local = Some(local));
    }

    /// Whether it is another one afterwards.
    pub fn change(&mut self, port: u16, how: impl FnOnce(&mut Entry)) -> bool {
        let turn = self.entries.values().map(|entry| entry.turn).max().unwrap_or(0) + 1;
        let entry = self.entries.entry(port).or_default();
        let before = *entry;
        how(entry);
        if *entry == before {
            if !entry.says_something() {
                self.entries.remove(&port);
            }
            return false;
        }
        entry.turn = turn;
        self.has_changed = true;
        if !entry.says_something() {
            self.entries.remove(&port);
        }
        while self.entries.len() > ENTRIES {
            let oldest = self.entries.iter().min_by_key(|(_, it)| (it.is_pinned, it.turn));
            let Some(oldest) = oldest.map(|(port, _)| *port) else { break };
            self.entries.remove(&oldest);
        }
        true
    }

    /// Writes what has changed, if anything.
    pub fn save(&mut self, paths: &Paths) -> io::Result<()> {
        if !self.has_changed {
            return Ok(());
        }
        self.has_changed = false;
        paths.ensure_ports().map_err(io::Error::other)?;
        let one = |(port, entry): (&u16, &Entry)| {
            let (is_pinned, is_excluded) = (entry.is_pinned, entry.is_excluded);
            let mut one = json!({"port": port, "pinned": is_pinned, "excluded": is_excluded});
            if let Some(local) = entry.local {
                one["local"] = local.into();
            }
            one
        };
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|(_, entry)| entry.turn);
        let all: Vec<Value> = all.into_iter().map(one).collect();
        let text = json!({"version": SCHEMA, "auto": self.is_auto, "ports": all}).to_string();
        file::replace(&self.path, text.as_bytes())
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn read(text: &str) -> Result<(BTreeMap<u16, Entry>, bool), ReadError> {
    let mut fields = Fields::parse(text)?;
    fields.int::<u32>("version", 1..=SCHEMA)?;
    let is_auto = fields.bool("auto")?;
    let mut entries = BTreeMap::new();
    for (turn, mut one) in fields.objects("ports", ENTRIES)?.into_iter().enumerate() {
        let port = one.int("port", 1..=u16::MAX)?;
        let entry = Entry {
            local: one.opt_int("local", 1..=u16::MAX)?,
            is_pinned: one.bool("pinned")?,
            is_excluded: one.bool("excluded")?,
            turn: turn as u64,
        };
        entries.insert(port, entry);
    }
    Ok((entries, is_auto))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(what: &str) -> Paths {
        let dir = format!("hopbox-ledger-{what}-{}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        let _ = fs::remove_dir_all(&dir);
        Paths::below(&dir)
    }

    #[test]
    fn what_is_remembered_is_there_the_next_time() {
        let paths = paths("kept");
        let (mut ledger, why) = Ledger::open(&paths, "mybox");
        assert_eq!(why, None);
        ledger.moved(5173, 5174);
        ledger.change(80, |entry| (entry.local, entry.is_pinned) = (Some(8080), true));
        ledger.change(9, |entry| entry.is_excluded = true);
        assert!(!ledger.change(10, |entry| entry.is_excluded = false));
        assert!(ledger.set_auto(false) && !ledger.set_auto(false));
        ledger.save(&paths).unwrap();
        let (again, why) = Ledger::open(&paths, "mybox");
        assert_eq!((why, again.entries.len(), again.is_auto()), (None, 3, false));
        assert_eq!((again.of(5173).local, again.of(80).local), (Some(5174), Some(8080)));
        assert!(again.of(80).is_pinned && again.of(9).is_excluded && !again.of(10).is_excluded);
        assert!(again.numbers_but(1).any(|it| it == 5174));
        assert!(again.numbers_but(5173).all(|it| it != 5174));
        assert_eq!(Ledger::open(&paths, "other").0.entries.len(), 0);
        let damaged = "{\"version\":1,\"auto\":true,\"ports\":7}";
        fs::write(paths.ports_file("mybox"), damaged).unwrap();
        let (anew, why) = Ledger::open(&paths, "mybox");
        assert!(anew.entries.is_empty() && why.is_some());
    }

    #[test]
    fn it_holds_so_many_and_pinned_ones_longest() {
        let paths = paths("full");
        let (mut ledger, _) = Ledger::open(&paths, "mybox");
        ledger.change(1, |entry| (entry.local, entry.is_pinned) = (Some(7), true));
        for port in 2..2000 {
            ledger.moved(port, port + 1);
        }
        assert_eq!(ledger.entries.len(), ENTRIES);
        assert_eq!((ledger.of(1).local, ledger.of(2).local), (Some(7), None));
        assert_eq!(ledger.of(1999).local, Some(2000));
        ledger.save(&paths).unwrap();
        assert!(fs::metadata(paths.ports_file("mybox")).unwrap().len() < 64 * 1024);
        assert_eq!(Ledger::open(&paths, "mybox").0.entries.len(), ENTRIES);
    }
}
