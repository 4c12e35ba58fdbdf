//! What a first pass over a tree has made, so that a second one knows what has changed since.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::clock;

/// What a second pass knows again of the first.
const MARKS: usize = 400_000;
/// A change is told by the second at the least, on every file system.
pub const SETTLED_S: i64 = 2;

/// What the first pass made, each by its place in the twin.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<PathBuf, Mark>);

/// Which file it was, and when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    ino: u64,
    changed: (i64, i64),
}

impl Mark {
    fn of(found: &Metadata) -> Mark {
        Mark { ino: found.ino(), changed: (found.ctime(), found.ctime_nsec()) }
    }
}

impl Seen {
    /// Not of a file that was changed just now: one more change of the same moment would not be
    /// told. Nor where it has several names, which are made anew together.
    pub fn put(&mut self, to: &Path, found: &Metadata) {
        let now = i64::try_from(clock::wall_ms() / 1000).unwrap_or(0);
        let is_settled = found.ctime() < now.saturating_sub(SETTLED_S);
        if is_settled && found.nlink() == 1 && self.0.len() < MARKS {
            self.0.insert(to.to_owned(), Mark::of(found));
        }
    }

    pub fn has(&self, to: &Path, found: &Metadata) -> bool {
        found.nlink() == 1 && self.0.get(to) == Some(&Mark::of(found))
    }
}
