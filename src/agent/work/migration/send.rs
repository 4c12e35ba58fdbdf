//! The source's part of a pass: all places are walked and told, and what the target wants of them
//! is sent. Nothing is written but to the connection.
//!
//! Bounds: 1024 entries ahead of what is not done, 256 of them open files; 4 times 64 blocks that
//! are being compared; 400,000 files with more than one name, beyond which each name is one file.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::attributes::Attributes;
use super::outgoing::{Outgoing, theirs};
use super::stamps::{Hash, Mark, Row, Stamps, key};
use super::wire::{AHEAD, Answer, Entry, Said, VERSION, What};
use crate::agent::work::snap::tree::{self, Count, Met};
use crate::sys::{clock, process, writeback};

const OPEN: usize = 256;
const LINKED: usize = 400_000;
/// A clock tick of a kernel is 10 ms at the most.
const TICK_MS: i64 = 100;

/// One place of the data: as the workspace's file has it, and where it is.
pub struct From {
    pub text: String,
    pub path: PathBuf,
}

/// A file that was told, and that the target has not got yet.
struct Waiting {
    key: Vec<u8>,
    /// Below the place.
    path: PathBuf,
    /// None where the target has it, by all that is known.
    file: Option<File>,
    found: Mark,
    mark: Option<Mark>,
    /// Which of the entries it was.
    turn: u64,
}

pub struct Sending<'a> {
    pub out: Outgoing<'a>,
    pub stamps: &'a mut Stamps,
    pub is_last: bool,
    pub waiting: Queue,
}

#[derive(Default)]
pub struct Queue {
    files: VecDeque<Waiting>,
    open: usize,
    /// Entries so far.
    turn: u64,
    /// Files with several names: which number each has.
    numbers: BTreeMap<(u64, u64), u64>,
}

/// What holds for one place.
struct Here<'a> {
    index: usize,
    path: &'a Path,
    /// When it was begun; none where no mark tells a change.
    began_ms: Option<u64>,
}

impl Sending<'_> {
    /// Whether both are root's, so that owners are kept.
    pub fn all(&mut self, from: &[From]) -> io::Result<bool> {
        let done = self.told(from);
        match &done {
            // The target may have said why it heard no more.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.out.line.hear_failure().map_or(done, |why| Err(theirs(&why)))
            }
            _ => done,
        }
    }

    fn told(&mut self, from: &[From]) -> io::Result<bool> {
        let is_root = process::is_root();
        self.out.line.say(&Said::Hello { version: VERSION, is_root })?;
        let are_owners_kept = match self.out.line.hear_answer()? {
            Answer::Welcome { version: VERSION, is_root: is_theirs } => is_root && is_theirs,
            Answer::Failed(why) => return Err(theirs(&why)),
            _ => return Err(theirs("its agent is of another version: set up both servers again")),
        };
        for (index, place) in from.iter().enumerate() {
            self.place(index, place)?;
        }
        self.out.line.say(&Said::Finished)?;
        match self.out.line.hear_answer()? {
            Answer::Finished => Ok(are_owners_kept),
            Answer::Failed(why) => Err(theirs(&why)),
            _ => Err(theirs("it answered something else")),
        }
    }

    fn place(&mut self, index: usize, place: &From) -> io::Result<()> {
        self.out.line.say(&Said::Place(place.text.clone()))?;
        self.waiting.numbers.clear();
        let dir = match fs::symlink_metadata(&place.path) {
            Ok(found) if found.is_dir() => place.path.as_path(),
            Ok(_) => place.path.parent().unwrap_or(&place.path),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = clock::wall_ms();
        let began_ms = writeback::settle(dir)?.then_some(now);
        let here = Here { index, path: &place.path, began_ms };
        let count = tree::visit(&place.path, &mut |met| self.met(&here, met), &|| true);
        let Count { left_out, more, .. } = count?;
        self.out.pass.left_out.extend(left_out);
        self.out.pass.more += more;
        while !self.waiting.files.is_empty() {
            self.serve(&here)?;
        }
        Ok(())
    }

    /// What tells a later change of it.
    fn mark(&self, here: &Here, found: &Metadata) -> Option<Mark> {
        let began = here.began_ms?;
        let settled = Mark::settled(found, began);
        if settled.is_some() || !self.is_last || found.ctime_nsec() == 0 {
            return settled;
        }
        // Nobody writes any more, and this file system tells moments.
        let changed = found.ctime().saturating_mul(1000) + found.ctime_nsec() / 1_000_000;
        let is_before = changed.saturating_add(TICK_MS) < i64::try_from(began).unwrap_or(0);
        is_before.then(|| Mark::of(found))
    }

    fn met(&mut self, here: &Here, met: &Met<'_>) -> io::Result<()> {
        let depth = u16::try_from(met.path.components().count()).unwrap_or(u16::MAX);
        let name = met.path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let kind = met.found.file_type();
        if kind.is_file() {
            return self.file(here, met, depth, name);
        }
        let (number, is_again) = self.number(met.found);
        let what = match number {
            Some(number) if is_again => What::Same { number },
            number if kind.is_symlink() => {
                let to = fs::read_link(met.seen)?.as_os_str().as_bytes().to_vec();
                What::Symlink { to, number }
            }
            number if kind.is_fifo() => What::Fifo { number },
            _ => What::Dir,
        };
        if !kind.is_dir() {
            self.out.pass.files += 1;
            self.out.so_far.has(self.out.so_far.bytes());
        }
        let attributes = Attributes::of(met.seen, met.found)?;
        self.tell(here, Entry { depth, name, what, attributes })
    }

    /// Its number, where it has more than one name, and whether that was told before.
    fn number(&mut self, found: &Metadata) -> (Option<u64>, bool) {
        if found.nlink() < 2 || found.is_dir() {
            return (None, false);
        }
        let (which, next) = ((found.dev(), found.ino()), self.waiting.numbers.len() as u64);
        match self.waiting.numbers.get(&which) {
            Some(number) => (Some(*number), true),
            None if self.waiting.numbers.len() < LINKED => {
                self.waiting.numbers.insert(which, next);
                (Some(next), false)
            }
            None => (None, false),
        }
    }

    fn file(&mut self, here: &Here, met: &Met<'_>, depth: u16, name: Vec<u8>) -> io::Result<()> {
        let attributes = Attributes::of(met.seen, met.found)?;
        if let (Some(number), true) = self.number(met.found) {
            self.out.pass.files += 1;
            self.out.so_far.has(self.out.so_far.bytes());
            let what = What::Same { number };
            return self.tell(here, Entry { depth, name, what, attributes });
        }
        let key = key(here.index, met.path.as_os_str().as_bytes());
        let mark = self.mark(here, met.found);
        let is_known =
            mark.is_some() && self.stamps.get(&key).is_some_and(|row| row.theirs == mark);
        // One that cannot be opened is not told of.
        let file = if is_known { None } else { Some(tree::open_file(met.seen)?) };
        self.out.pass.files += 1;
        self.out.pass.bytes += met.found.len();
        if self.waiting.open >= OPEN && file.is_some() {
            self.serve(here)?;
        }
        let (bytes, number) = (met.found.len(), self.number(met.found).0);
        let what = What::File { bytes, mark, number };
        self.tell(here, Entry { depth, name, what, attributes })?;
        self.waiting.open += usize::from(file.is_some());
        let (path, found) = (met.path.to_owned(), Mark::of(met.found));
        let turn = self.waiting.turn;
        self.waiting.files.push_back(Waiting { key, path, file, found, mark, turn });
        Ok(())
    }

    fn tell(&mut self, here: &Here, entry: Entry) -> io::Result<()> {
        let is_far = |queue: &Queue| {
            queue.files.front().is_some_and(|first| queue.turn - first.turn >= AHEAD as u64)
        };
        while is_far(&self.waiting) {
            self.serve(here)?;
        }
        self.waiting.turn += 1;
        self.out.line.say(&Said::Entry(Box::new(entry)))
    }

    /// The first of those that wait.
    fn serve(&mut self, here: &Here) -> io::Result<()> {
        let Some(it) = self.waiting.files.pop_front() else { return Ok(()) };
        self.waiting.open -= usize::from(it.file.is_some());
        let after = self.out.so_far.bytes().saturating_add(it.found.bytes);
        let is_in_part = match self.out.answer()? {
            Answer::Have => {
                self.out.so_far.has(after);
                self.has(it, None);
                return Ok(());
            }
            Answer::Whole => false,
            Answer::Blocks => true,
            Answer::Failed(why) => return Err(theirs(&why)),
            _ => return Err(theirs("it answered something else")),
        };
        let file = match &it.file {
            Some(file) => file.try_clone()?,
            None => open_below(here.path, &it.path)?,
        };
        let sent = self.out.pass.bytes_sent;
        let hash = match is_in_part {
            true => self.out.blocks(&file, it.found.bytes, self.waiting.files.len())?,
            false => self.out.whole(&file, it.found.bytes)?,
        };
        let is_whole = Mark::of(&file.metadata()?) == it.found;
        self.out.line.say(&Said::End { is_whole: is_whole && it.mark.is_some() })?;
        self.out.pass.files_sent += u64::from(self.out.pass.bytes_sent > sent);
        self.out.so_far.has(after);
        match is_whole {
            true => self.has(it, Some(hash)),
            false => self.stamps.remove(&it.key),
        }
        Ok(())
    }

    /// The target has it. What is in it is known from now on, or from before.
    fn has(&mut self, it: Waiting, hash: Option<Hash>) {
        let Some(mark) = it.mark else { return self.stamps.remove(&it.key) };
        let known = self.stamps.get(&it.key).filter(|row| row.ours == mark);
        let hash = hash.or_else(|| known.and_then(|row| row.hash));
        self.stamps.put(&it.key, Row { theirs: Some(mark), ours: mark, hash });
    }
}

/// No link is followed on the way.
fn open_below(place: &Path, path: &Path) -> io::Result<File> {
    let Some(name) = path.file_name() else { return tree::open_file(place) };
    let mut dir = tree::open_dir(place)?;
    for part in path.parent().into_iter().flat_map(Path::components) {
        dir = tree::open_dir(&tree::within(&dir, part.as_os_str()))?;
    }
    tree::open_file(&tree::within(&dir, name))
}
