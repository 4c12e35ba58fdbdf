//! Keeps the mark of our handshake timestamps over restarts (R28), so that a clock that went back
//! meanwhile does not lock us out of peers that remember.
//!
//! The file holds a moment that no timestamp has passed yet, up to [`AHEAD_S`] ahead, so that it is
//! not written for each. A crash costs no more than that, and crash after crash hardly more: from a
//! mark that is ahead of the clock the next one is a small step. A clean end leaves the exact mark,
//! but never one below what somebody else has written, whose timestamps may be later than ours.
//!
//! A copy of the file that is older than the last timestamp (a home directory that was restored, a
//! second machine with the same key) leaves that machine unheard until its clock has passed it: the
//! protocol has no answer for it. What helps is a new key (`hop rotate`), which the peer has not
//! heard before.

use crate::base::file;
use crate::sys::{bounded, clock};
use crate::wg::Wall;
use std::io;
use std::path::{Path, PathBuf};

/// Seconds that the file is ahead of the timestamps; and where these are ahead of the clock, which
/// they are by 17 ms each.
const AHEAD_S: u64 = 300;
const STEP_S: u64 = 10;
/// Longest file that is read, in bytes: two numbers.
const SIZE_MAX: u64 = 64;

pub(super) struct TimestampFile {
    path: PathBuf,
    /// What the file says.
    kept: Option<Wall>,
    /// The last write failed; not tried again before the next start.
    broken: bool,
}

impl TimestampFile {
    /// A missing or unreadable file counts as none: then the wall clock alone is trusted.
    pub fn open(path: &Path) -> TimestampFile {
        TimestampFile { path: path.to_owned(), kept: read(path), broken: false }
    }

    /// The mark to resume from.
    pub fn mark(&self) -> Option<Wall> {
        self.kept
    }

    /// Call with the last timestamp issued, as often as convenient.
    pub fn cover(&mut self, mark: Option<Wall>) {
        if mark > self.kept {
            self.cover_at(mark, clock::wall().0);
        }
    }

    fn cover_at(&mut self, mark: Option<Wall>, now_s: u64) {
        let step = |m: Wall| if m.secs > now_s { STEP_S } else { AHEAD_S };
        self.keep(mark.map(|m| Wall { secs: m.secs.saturating_add(step(m)), ..m }));
    }

    /// The end: no timestamp follows.
    pub fn close(&mut self, mark: Option<Wall>) {
        if mark.is_some() {
            self.broken = false;
            self.keep(mark);
        }
    }

    /// What is in the file and was not written here is another's, and is never lowered.
    fn keep(&mut self, mark: Option<Wall>) {
        let Some(mark) = mark.filter(|_| !self.broken) else { return };
        let others = read(&self.path).filter(|there| Some(*there) != self.kept);
        let mark = others.map_or(mark, |there| there.max(mark));
        self.broken = write(&self.path, mark).is_err();
        self.kept = Some(mark);
    }
}

fn read(path: &Path) -> Option<Wall> {
    let bytes = bounded::read(path, SIZE_MAX).ok()?;
    parse(std::str::from_utf8(&bytes).ok()?)
}

fn parse(text: &str) -> Option<Wall> {
    let (secs, nanos) = text.trim_end().split_once(' ')?;
    let nanos = nanos.parse().ok().filter(|n| *n < 1_000_000_000)?;
    Some(Wall { secs: secs.parse().ok()?, nanos })
}

fn write(path: &Path, mark: Wall) -> io::Result<()> {
    file::replace(path, format!("{} {}\n", mark.secs, mark.nanos).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(secs: u64) -> Option<Wall> {
        Some(Wall { secs, nanos: 7 })
    }

    #[test]
    fn the_file_is_ahead_while_running_and_exact_after_a_clean_end() {
        // R28
        let dir = std::env::temp_dir().join(format!("hopbox-timestamps-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("mybox.stamp");
        let mut file = TimestampFile::open(&path);
        assert_eq!(file.mark(), None);
        file.cover(None);
        assert!(!path.exists(), "nothing was issued");
        file.cover(at(1000));
        assert_eq!(TimestampFile::open(&path).mark(), at(1300), "after a crash");
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        file.cover(at(1200));
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "not each time");
        file.cover(at(1301));
        assert_eq!(TimestampFile::open(&path).mark(), at(1601));
        file.close(at(1400));
        assert_eq!(TimestampFile::open(&path).mark(), at(1400));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
        for garbage in ["", "x", "1", "1 2 3", "-1 0", "5 1000000000", &"9".repeat(100)] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(TimestampFile::open(&path).mark(), None, "{garbage:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
        file.cover(at(9000));
        file.close(at(9001));
    }

    #[test]
    fn a_mark_of_somebody_else_never_goes_down() {
        // R28: a diagnosis, or a copy of the program, used the key at the same time.
        let dir =
            std::env::temp_dir().join(format!("hopbox-timestamps-two-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("mybox.stamp");
        let (mut one, mut other) = (TimestampFile::open(&path), TimestampFile::open(&path));
        one.cover(at(1000));
        other.cover(at(9000));
        assert_eq!(TimestampFile::open(&path).mark(), at(9300));
        one.cover(at(1400));
        assert_eq!(TimestampFile::open(&path).mark(), at(9300), "while it runs");
        other.close(at(9001));
        one.close(at(1500));
        assert_eq!(TimestampFile::open(&path).mark(), at(9001), "nor at its end");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn crash_after_crash_the_mark_stays_near() {
        let dir =
            std::env::temp_dir().join(format!("hopbox-timestamps-near-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("mybox.stamp");
        let now_s = 1_800_000_000;
        for _ in 0..100 {
            // Each start begins above the mark.
            let mut file = TimestampFile::open(&path);
            let first = file.mark().map_or(now_s, |mark| mark.secs);
            file.cover_at(Some(Wall { secs: first, nanos: 500_000_000 }), now_s);
        }
        let ahead = TimestampFile::open(&path).mark().unwrap().secs - now_s;
        assert!(ahead <= AHEAD_S + 100 * STEP_S, "{ahead} s");
        fs::remove_dir_all(&dir).unwrap();
    }
}
