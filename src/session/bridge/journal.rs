//! What bridges did, in a file of bounded size: what, how much, what became of it. Never what was
//! copied, nor what follows the host in an address. What is said again and again is said once.
//!
//! Bounds: 256 KiB, and as much of what was before.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::policy::Bridge;
use crate::base::json::Fields;
use crate::sys::{bounded, clock};

const MOST_BYTES: u64 = 256 * 1024;
const LINE_BYTES: usize = 1024;
const TEXT_CHARS: usize = 200;

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// By the policy, or by somebody here.
    Denied,
    Failed,
    /// There were too many.
    Limited,
    /// Nobody waits for it any more.
    TakenBack,
}

pub const ENDS: usize = 5;
const WORDS: [(End, &str); ENDS] = [
    (End::Done, "done"),
    (End::Denied, "denied"),
    (End::Failed, "failed"),
    (End::Limited, "limited"),
    (End::TakenBack, "taken back"),
];

impl End {
    pub fn word(self) -> &'static str {
        WORDS.iter().find(|(end, _)| *end == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<End> {
        WORDS.iter().find(|(_, known)| *known == word).map(|(end, _)| *end)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub unix_s: u64,
    pub bridge: Bridge,
    pub end: End,
    /// The kind of what was copied, the host of an address, the title of a notice.
    pub what: String,
    pub bytes: Option<u64>,
    pub why: String,
}

impl Entry {
    pub fn to_json(&self) -> Value {
        json!({
            "at_unix": self.unix_s, "bridge": self.bridge.word(), "outcome": self.end.word(),
            "what": self.what, "bytes": self.bytes, "why": self.why,
        })
    }

    fn of(line: &str) -> Option<Entry> {
        let mut fields = Fields::parse(line).ok()?;
        Some(Entry {
            unix_s: fields.int("at_unix", 0..=u64::MAX).ok()?,
            bridge: Bridge::of(&fields.string("bridge").ok()?)?,
            end: End::of(&fields.string("outcome").ok()?)?,
            what: fields.string("what").ok()?,
            bytes: match fields.take("bytes") {
                None | Some(Value::Null) => None,
                Some(bytes) => bytes.as_u64(),
            },
            why: fields.string("why").ok()?,
        })
    }

    fn is_like(&self, other: &Entry) -> bool {
        let key = |entry: &Entry| (entry.bridge.place(), entry.end, entry.why.clone());
        self.end != End::Done && key(self) == key(other)
    }
}

pub struct Journal {
    path: PathBuf,
    last: Option<Entry>,
}

impl Journal {
    pub fn new(path: PathBuf) -> Journal {
        Journal { path, last: None }
    }

    /// A full disk ends no bridge: what cannot be written is not.
    pub fn add(&mut self, entry: Entry) {
        let cut = |text: &str| text.chars().take(TEXT_CHARS).collect();
        let entry = Entry { what: cut(&entry.what), why: cut(&entry.why), ..entry };
        // A flood of what is refused leaves what was before.
        if self.last.as_ref().is_some_and(|last| last.is_like(&entry) && is_near(last, &entry)) {
            return;
        }
        let line = format!("{}\n", entry.to_json());
        if line.len() <= 8 * LINE_BYTES {
            let _ = self.file().and_then(|mut file| file.write_all(line.as_bytes()));
        }
        self.last = Some(entry);
    }

    fn file(&self) -> std::io::Result<File> {
        let length = self.path.metadata().map_or(0, |found| found.len());
        if length >= MOST_BYTES {
            fs::rename(&self.path, before(&self.path))?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).open(&self.path)
    }
}

fn is_near(last: &Entry, next: &Entry) -> bool {
    next.unix_s.saturating_sub(last.unix_s) < 10
}

fn before(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// All that is known, the newest last. What is no entry is left out.
pub fn read(path: &Path) -> Vec<Entry> {
    let text = |path: &Path| {
        let bytes = bounded::read(path, 2 * MOST_BYTES).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let all = text(&before(path)) + &text(path);
    all.lines().filter_map(Entry::of).collect()
}

pub fn now() -> u64 {
    clock::wall().0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry(unix_s: u64, end: End, what: &str) -> Entry {
        let (bridge, what) = (Bridge::Notify, what.to_owned());
        Entry { unix_s, bridge, end, what, bytes: Some(5), why: String::new() }
    }

    #[test]
    fn what_happened_is_kept_within_bounds_and_a_flood_is_one_line() {
        let dir = std::env::temp_dir().join(format!("hopbox-journal-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("mybox.bridge.log");
        let mut journal = Journal::new(path.clone());
        let first = entry(1, End::Done, "\u{1b}[2J \"quoted\"\n{\"at_unix\":1}");
        journal.add(first.clone());
        (0..1000).for_each(|_| journal.add(entry(2, End::Limited, "flood")));
        journal.add(entry(60, End::Limited, "still"));
        let read_back = read(&path);
        assert_eq!(read_back.len(), 3);
        assert_eq!(read_back[0], first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        (0..6000).for_each(|at| journal.add(entry(at, End::Done, &"x".repeat(5000))));
        let kept: u64 = [&path, &before(&path)].map(|at| at.metadata().unwrap().len()).iter().sum();
        assert!(kept < 2 * MOST_BYTES + 4096, "{kept}");
        assert_eq!(read(&path).last().unwrap().unix_s, 5999);
        fs::write(&path, "nonsense\n{\"at_unix\":1}\n\u{0}\n").unwrap();
        assert!(read(&path).iter().all(|entry| entry.end == End::Done));
        fs::remove_dir_all(dir).unwrap();
    }
}
