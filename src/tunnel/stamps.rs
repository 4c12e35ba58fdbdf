//! Keeps the mark of our handshake timestamps over restarts (R28), so that a clock that went back
//! meanwhile does not lock us out of peers that remember.
//!
//! The file holds a moment that no timestamp has passed yet, up to [`AHEAD_S`] ahead: it is written
//! about once an hour, and a crash costs no more than that. A clean end leaves the exact mark.

use crate::wg::Wall;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Seconds that the file is ahead of the timestamps.
const AHEAD_S: u64 = 3600;
/// Longest file that is read, in bytes: two numbers.
const SIZE_MAX: usize = 64;

pub(super) struct Stamps {
    path: PathBuf,
    /// What the file says.
    kept: Option<Wall>,
    /// The last write failed; not tried again before the next start.
    broken: bool,
}

impl Stamps {
    /// A missing or unreadable file counts as none: then the wall clock alone is trusted.
    pub fn open(path: &Path) -> Stamps {
        let kept = fs::read_to_string(path).ok().and_then(|text| parse(&text));
        Stamps { path: path.to_owned(), kept, broken: false }
    }

    /// The mark to resume from.
    pub fn mark(&self) -> Option<Wall> {
        self.kept
    }

    /// Call with the last timestamp issued, as often as convenient.
    pub fn cover(&mut self, mark: Option<Wall>) {
        if mark > self.kept {
            let ahead = mark.map(|m| Wall { secs: m.secs.saturating_add(AHEAD_S), ..m });
            self.keep(ahead);
        }
    }

    /// The end: no timestamp follows.
    pub fn close(&mut self, mark: Option<Wall>) {
        if mark.is_some() {
            self.keep(mark);
        }
    }

    fn keep(&mut self, mark: Option<Wall>) {
        let Some(mark) = mark.filter(|_| !self.broken) else { return };
        self.broken = write(&self.path, mark).is_err();
        self.kept = Some(mark);
    }
}

fn parse(text: &str) -> Option<Wall> {
    let (secs, nanos) = text.get(..text.len().min(SIZE_MAX))?.trim_end().split_once(' ')?;
    let nanos = nanos.parse().ok().filter(|n| *n < 1_000_000_000)?;
    Some(Wall { secs: secs.parse().ok()?, nanos })
}

/// Old or new, never half: a temporary file of ours takes the place of the old one.
fn write(path: &Path, mark: Wall) -> io::Result<()> {
    let temporary = path.with_extension("stamp-new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    writeln!(file, "{} {}", mark.secs, mark.nanos)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Option<Wall> {
        Some(Wall { secs, nanos: 7 })
    }

    #[test]
    fn the_file_is_ahead_while_running_and_exact_after_a_clean_end() {
        // R28
        let dir = std::env::temp_dir().join(format!("hopbox-stamps-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("mybox.stamp");
        let mut stamps = Stamps::open(&path);
        assert_eq!(stamps.mark(), None);
        stamps.cover(None);
        assert!(!path.exists(), "nothing was issued");
        stamps.cover(at(1000));
        assert_eq!(Stamps::open(&path).mark(), at(4600), "after a crash");
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        stamps.cover(at(4000));
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "not each time");
        stamps.cover(at(4601));
        assert_eq!(Stamps::open(&path).mark(), at(8201));
        stamps.close(at(5000));
        assert_eq!(Stamps::open(&path).mark(), at(5000));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
        for garbage in ["", "x", "1", "1 2 3", "-1 0", "5 1000000000", &"9".repeat(100)] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(Stamps::open(&path).mark(), None, "{garbage:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
        stamps.cover(at(9000));
        stamps.close(at(9001));
    }
}
