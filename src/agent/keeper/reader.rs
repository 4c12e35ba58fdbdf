//! Reads what [`super::log`] writes, while it is written, in whatever process: from some line on,
//! then what follows, file after file through all rotations, each line once. A file that is being
//! read stays until it is read, though its name goes; files of which none was open may be gone
//! before their turn, which is told.
//!
//! Nothing waits here, and nobody is kept waiting: the one who writes knows of no reader. Bounds: a
//! piece of one file and a line of memory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::LOG;
use super::log::{LINE_BYTES, Voice};

const PIECE: usize = 64 * 1024;
/// Beside the text of a line.
const HEAD_BYTES: usize = 64;
/// Between two looks at files of which the names are just being changed, and how often.
const CHANGE: Duration = Duration::from_millis(1);
const LOOKS: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub unix_ms: u64,
    pub voice: Voice,
    /// It goes on in the next line of its voice.
    pub more: bool,
    pub text: Vec<u8>,
}

impl Line {
    /// None of what is no line of a log.
    fn read(bytes: &[u8]) -> Option<Line> {
        let mut parts = bytes.splitn(3, |byte| *byte == b' ');
        let unix_ms = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let (voice, more) = match parts.next()? {
            [letter] => (Voice::of(*letter)?, false),
            [letter, b'+'] => (Voice::of(*letter)?, true),
            _ => return None,
        };
        Some(Line { unix_ms, voice, more, text: parts.next()?.to_vec() })
    }
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Line(Line),
    /// Files have gone before they were read.
    Skipped,
    /// Nothing more has been said so far.
    End,
}

/// One file, by its number: 0 is the one that is written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kept {
    number: u32,
    inode: u64,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Oldest,
    /// So many lines before the end, each with all its pieces.
    Last(u32),
    /// Before the first line of this moment, by unix time in ms, and of any that came later.
    Time(u64),
}

pub struct Reader {
    dir: PathBuf,
    file: Option<(File, u64)>,
    bytes: Vec<u8>,
    /// So many of them are read.
    taken: usize,
    is_skipped: bool,
}

impl Reader {
    pub fn open(dir: &Path, from: Start) -> Reader {
        let (dir, bytes) = (dir.to_owned(), Vec::new());
        let mut reader = Reader { dir, file: None, bytes, taken: 0, is_skipped: false };
        let kept = reader.kept();
        // What cannot be read now is read from its beginning.
        match from {
            Start::Oldest => reader.file = kept.last().and_then(|oldest| reader.held(*oldest)),
            Start::Last(last) => drop(reader.go_back(&kept, last)),
            Start::Time(unix_ms) => {
                let is_older = |(file, _): &(File, u64)| began(file).is_some_and(|at| at < unix_ms);
                let mut held = kept.iter().filter_map(|kept| reader.held(*kept));
                // The first that began before, else the oldest.
                reader.file = held.find(is_older).or_else(|| reader.held(*kept.last()?));
            }
        }
        reader
    }

    pub fn next_line(&mut self) -> io::Result<Next> {
        loop {
            while let Some(line) = self.take() {
                if let Some(line) = Line::read(&line) {
                    return Ok(Next::Line(line));
                }
            }
            if std::mem::take(&mut self.is_skipped) {
                return Ok(Next::Skipped);
            }
            // Looked at before the last bytes are read: after a change of names nobody adds any.
            let is_newest = self.is_newest();
            if !self.more()? && (is_newest || !self.advance()) {
                return Ok(Next::End);
            }
        }
    }

    /// A whole line off what was read.
    fn take(&mut self) -> Option<Vec<u8>> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.or((rest.len() > LINE_BYTES + HEAD_BYTES).then_some(rest.len()))?;
        let line = rest.get(..end).unwrap_or_default().to_vec();
        self.taken = (self.taken + end + 1).min(self.bytes.len());
        Some(line)
    }

    /// Another piece of the file; false at its end.
    fn more(&mut self) -> io::Result<bool> {
        let Some((file, _)) = &mut self.file else { return Ok(false) };
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let seen = self.bytes.len();
        self.bytes.resize(seen + PIECE, 0);
        let read = file.read(self.bytes.get_mut(seen..).unwrap_or_default());
        self.bytes.truncate(seen + *read.as_ref().unwrap_or(&0));
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            read => Ok(read? > 0),
        }
    }

    fn is_newest(&self) -> bool {
        let newest = inode(&self.dir.join(LOG));
        self.file.as_ref().is_some_and(|(_, inode)| newest == Some(*inode))
    }

    /// To the file that was written after this one; false if there is none.
    fn advance(&mut self) -> bool {
        for _ in 0..LOOKS {
            let kept = self.kept();
            let at = |inode: u64| kept.iter().position(|kept| kept.inode == inode);
            let (next, is_gap) = match self.file.as_ref().map(|(_, inode)| at(*inode)) {
                None => (kept.last(), false),
                Some(Some(place)) => (place.checked_sub(1).and_then(|next| kept.get(next)), false),
                Some(None) => (kept.last(), true),
            };
            let Some(next) = next else { return false };
            let Some(file) = self.held(*next) else { continue };
            // A line that a killed keeper did not end.
            if self.bytes.len() > self.taken {
                self.bytes.push(b'\n');
            }
            (self.file, self.is_skipped) = (Some(file), is_gap);
            return true;
        }
        false
    }

    /// What there is, the newest first. Names change one after the other: it is so when two looks
    /// see the same.
    fn kept(&self) -> Vec<Kept> {
        let mut before = self.look();
        for _ in 0..LOOKS {
            let now = self.look();
            if now == before {
                break;
            }
            before = now;
            thread::sleep(CHANGE);
        }
        before
    }

    fn look(&self) -> Vec<Kept> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let number = |name: &str| match name.strip_prefix(LOG)? {
            "" => Some(0),
            rest => rest.strip_prefix('.')?.parse().ok(),
        };
        let kept = |entry: fs::DirEntry| {
            let number = number(entry.file_name().to_str()?)?;
            Some(Kept { number, inode: inode(&entry.path())? })
        };
        let mut all: Vec<Kept> = entries.filter_map(kept).collect();
        all.sort_by_key(|kept| kept.number);
        all
    }

    /// This one and no other that has its name by now.
    fn held(&self, kept: Kept) -> Option<(File, u64)> {
        let name = match kept.number {
            0 => LOG.to_owned(),
            number => format!("{LOG}.{number}"),
        };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.dir.join(name));
        let file = file.ok()?;
        let found = file.metadata().ok()?;
        (found.is_file() && found.ino() == kept.inode).then_some((file, kept.inode))
    }

    /// To before the last `last` lines.
    fn go_back(&mut self, kept: &[Kept], last: u32) -> io::Result<()> {
        // The end of the line before them is sought.
        let mut ends = u64::from(last) + 1;
        for kept in kept {
            let Some((file, inode)) = self.held(*kept) else { continue };
            let mut at = file.metadata()?.len();
            let mut piece = vec![0; PIECE];
            // Where the piece of a line ends that is looked at, and where what is wanted begins.
            let (mut end, mut begin) = (None, None);
            let mut whole = |end: &mut Option<u64>, from: u64| {
                let whole = end.replace(from).filter(|_| !goes_on(&file, from));
                ends -= u64::from(whole.is_some());
                whole.filter(|_| ends == 0)
            };
            while at > 0 && begin.is_none() {
                let count = at.min(PIECE as u64);
                let part = piece.get_mut(..count as usize).unwrap_or_default();
                at -= count;
                file.read_exact_at(part, at)?;
                let found = part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
                for (place, _) in found {
                    begin = whole(&mut end, at + place as u64 + 1);
                    if begin.is_some() {
                        break;
                    }
                }
            }
            begin = begin.or_else(|| whole(&mut end, 0));
            io::Seek::seek(&mut &file, io::SeekFrom::Start(begin.unwrap_or(0)))?;
            self.file = Some((file, inode));
            if begin.is_some() {
                break;
            }
        }
        Ok(())
    }
}

/// The words before a line's text.
fn head(file: &File, at: u64) -> Option<[Vec<u8>; 2]> {
    let mut head = [0; HEAD_BYTES];
    let read = file.read_at(&mut head, at).ok()?;
    let mut words = head.get(..read)?.split(|byte| *byte == b' ');
    Some([words.next()?.to_vec(), words.next()?.to_vec()])
}

/// When the first line of a file was said.
fn began(file: &File) -> Option<u64> {
    std::str::from_utf8(&head(file, 0)?[0]).ok()?.parse().ok()
}

/// The line of which this is a piece has its end in a later one.
fn goes_on(file: &File, at: u64) -> bool {
    head(file, at).is_some_and(|[_, voice]| voice.ends_with(b"+"))
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

#[cfg(test)]
mod tests;
