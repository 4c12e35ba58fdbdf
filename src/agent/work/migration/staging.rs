//! The tree that comes, beside the place that it is to take. Each of its directories is opened from
//! the one that it lies in, without following a link, and what is written lies in one of them:
//! there is no way out of it, whatever is told.
//!
//! Bounds: what is announced of a file is the most that is written of it; 256 directories in one
//! another; 2048 entries that wait for the content of one before them; 400,000 files with several
//! names, and 64 MiB of their paths.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::sys::stat::Mode;

use super::attributes::Attributes;
use super::content::{block, hash};
use super::stamps::{Hash, Mark, Row, Stamps, key};
use super::wire::{AHEAD, Answer, BLOCK, DEPTH, Entry, What};
use crate::agent::work::snap::remove::remove_tree;
use crate::agent::work::snap::tree::{open_dir, within};
use crate::rpc::types::migration::Pass;
use crate::sys::{holes, writeback};

const QUEUE: usize = 2 * AHEAD;
const NUMBERED: usize = 400_000;
const NUMBERED_BYTES: usize = 64 * 1024 * 1024;

/// What no agent says.
pub fn bad(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the other server sends nonsense: {why}"))
}

/// A directory that is being filled.
struct Level {
    dir: Rc<File>,
    /// Below the place.
    path: Vec<u8>,
    /// By the order of their bytes.
    seen: Vec<OsString>,
    /// Where it lies, and what it gets at its end.
    dress: Option<(Rc<File>, OsString, Attributes)>,
}

/// What is done in the order of entries.
enum Turn {
    File(Filling),
    Dress(Rc<File>, OsString, Attributes),
}

struct Filling {
    dir: Rc<File>,
    name: OsString,
    key: Vec<u8>,
    file: File,
    bytes: u64,
    mark: Option<Mark>,
    attributes: Attributes,
    /// Where content goes on, and the next block that is compared.
    at: u64,
    next: Option<u64>,
}

/// One place's.
pub struct Staging {
    index: usize,
    /// Where the tree lies.
    root: PathBuf,
    levels: Vec<Level>,
    queue: VecDeque<Turn>,
    /// Files with several names, by number.
    numbered: BTreeMap<u64, Vec<u8>>,
    numbered_bytes: usize,
    are_owners_kept: bool,
}

impl Staging {
    /// `root` is in a directory that is there, and that no one else enters.
    pub fn begin(index: usize, root: &Path, are_owners_kept: bool) -> io::Result<Staging> {
        let room = open_dir(root.parent().ok_or(ErrorKind::InvalidInput)?)?;
        let outer = Level { dir: Rc::new(room), path: Vec::new(), seen: Vec::new(), dress: None };
        Ok(Staging {
            index,
            root: root.to_owned(),
            levels: vec![outer],
            queue: VecDeque::new(),
            numbered: BTreeMap::new(),
            numbered_bytes: 0,
            are_owners_kept,
        })
    }

    /// What the source has told next, and what is answered.
    pub fn entry(
        &mut self,
        entry: Entry,
        stamps: &mut Stamps,
        pass: &mut Pass,
    ) -> io::Result<Option<Answer>> {
        let depth = usize::from(entry.depth);
        while self.levels.len() > depth + 1 {
            self.leave()?;
        }
        if self.levels.len() != depth + 1 || depth > DEPTH || self.queue.len() >= QUEUE {
            return Err(bad("an entry in no directory"));
        }
        let name = match depth {
            0 => self.root.file_name().unwrap_or_default().to_owned(),
            _ => OsString::from_vec(entry.name),
        };
        let level = self.levels.last_mut().ok_or_else(|| bad("an entry in no directory"))?;
        let is_after = level.seen.last().is_none_or(|last| *last < name);
        if !is_after || (depth == 0 && !level.seen.is_empty()) {
            return Err(bad("names that are not in their order"));
        }
        let dir = level.dir.clone();
        let mut path = level.path.clone();
        level.seen.push(name.clone());
        if depth > 0 {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
        }
        let Entry { what, attributes, .. } = entry;
        let to = within(&dir, &name);
        let is_dir = what == What::Dir;
        pass.files += u64::from(!is_dir);
        match what {
            What::Dir => {
                let made = Rc::new(make_dir(&to)?);
                let dress = Some((dir, name, attributes));
                self.levels.push(Level { dir: made, path, seen: Vec::new(), dress });
            }
            What::Symlink { to: target, number } => {
                remove_tree(&to)?;
                symlink(OsStr::from_bytes(&target), &to)?;
                attributes.put(&to, self.are_owners_kept)?;
                self.put_number(number, &path)?;
            }
            What::Fifo { number } => {
                remove_tree(&to)?;
                nix::unistd::mkfifo(&to, Mode::S_IRWXU)?;
                attributes.put(&to, self.are_owners_kept)?;
                self.put_number(number, &path)?;
            }
            What::Same { number } => self.same(number, &to)?,
            What::File { bytes, mark, number } => {
                pass.bytes = pass.bytes.saturating_add(bytes);
                self.put_number(number, &path)?;
                let key = key(self.index, &path);
                if is_had(&to, mark, stamps.get(&key)) {
                    let row = stamps.get(&key).cloned();
                    row.into_iter().for_each(|row| stamps.put(&key, row));
                    return Ok(Some(Answer::Have));
                }
                stamps.remove(&key);
                let older = older(&to, bytes)?;
                let answer = if older.is_some() { Answer::Blocks } else { Answer::Whole };
                let next = older.is_some().then_some(0);
                let file = match older {
                    Some(file) => file,
                    None => make_file(&to)?,
                };
                file.set_len(bytes)?;
                let at = 0;
                let filling = Filling { dir, name, key, file, bytes, mark, attributes, at, next };
                self.queue.push_back(Turn::File(filling));
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    fn put_number(&mut self, number: Option<u64>, path: &[u8]) -> io::Result<()> {
        let Some(number) = number else { return Ok(()) };
        self.numbered_bytes += path.len();
        if self.numbered.len() >= NUMBERED || self.numbered_bytes > NUMBERED_BYTES {
            return Err(bad("too many files with several names"));
        }
        match self.numbered.insert(number, path.to_vec()) {
            None => Ok(()),
            Some(_) => Err(bad("a number of two files")),
        }
    }

    /// One more name of what came before.
    fn same(&self, number: u64, to: &Path) -> io::Result<()> {
        let path = self.numbered.get(&number).ok_or_else(|| bad("a name of no file"))?;
        let (dir, name) = self.open_parent(path)?;
        let first = within(&dir, &name);
        let found = fs::symlink_metadata(&first)?;
        let is_it = |there: fs::Metadata| (there.dev(), there.ino()) == (found.dev(), found.ino());
        if fs::symlink_metadata(to).is_ok_and(is_it) {
            return Ok(());
        }
        remove_tree(to)?;
        fs::hard_link(first, to)
    }

    /// From directory to directory, none of which is a link.
    fn open_parent(&self, path: &[u8]) -> io::Result<(Rc<File>, OsString)> {
        let outer = self.levels.first().ok_or_else(|| bad("a name of no file"))?;
        let mut dir = outer.dir.clone();
        let mut name = self.root.file_name().unwrap_or_default().to_owned();
        if !path.is_empty() {
            for part in path.split(|byte| *byte == b'/') {
                dir = Rc::new(open_dir(&within(&dir, &name))?);
                name = OsStr::from_bytes(part).to_owned();
            }
        }
        Ok((dir, name))
    }

    fn filling(&mut self) -> io::Result<&mut Filling> {
        match self.queue.front_mut() {
            Some(Turn::File(filling)) => Ok(filling),
            _ => Err(bad("content of no file")),
        }
    }

    pub fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let filling = self.filling()?;
        filling.take(offset, bytes.len() as u64)?;
        filling.file.write_all_at(bytes, offset)
    }

    pub fn zero(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        let filling = self.filling()?;
        filling.take(offset, bytes)?;
        let Some(next) = filling.next else {
            return Err(bad("a hole in what was not there"));
        };
        filling.next = Some(next.max(filling.at.div_ceil(BLOCK as u64)));
        holes::punch(&filling.file, offset, bytes)
    }

    /// Which of these blocks are others here.
    pub fn compare(&mut self, first: u64, all: &[Hash], pass: &mut Pass) -> io::Result<u64> {
        let filling = self.filling()?;
        let count = filling.bytes.div_ceil(BLOCK as u64);
        let end = first.saturating_add(all.len() as u64);
        if filling.next.is_none_or(|next| first < next) || end > count {
            return Err(bad("blocks of no file"));
        }
        filling.next = Some(end);
        let mut bits = 0;
        for (at, theirs) in all.iter().enumerate() {
            let ours = block(&filling.file, filling.bytes, first + at as u64)?;
            pass.bytes_read += ours.len() as u64;
            bits |= u64::from(hash(&ours) != *theirs) << at;
        }
        Ok(bits)
    }

    /// A file has all its content.
    pub fn end(&mut self, is_whole: bool, stamps: &mut Stamps, pass: &mut Pass) -> io::Result<()> {
        self.filling()?;
        let Some(Turn::File(it)) = self.queue.pop_front() else { return Ok(()) };
        pass.files_sent += u64::from(it.at > 0);
        drop(it.file);
        let to = within(&it.dir, &it.name);
        it.attributes.put(&to, self.are_owners_kept)?;
        let ours = Mark::of(&fs::symlink_metadata(&to)?);
        let theirs = it.mark.filter(|_| is_whole);
        stamps.put(&it.key, Row { theirs, ours, hash: None });
        self.dress()
    }

    /// Directories whose content is all there.
    fn dress(&mut self) -> io::Result<()> {
        while let Some(Turn::Dress(..)) = self.queue.front() {
            let Some(Turn::Dress(dir, name, attributes)) = self.queue.pop_front() else { break };
            attributes.put(&within(&dir, &name), self.are_owners_kept)?;
        }
        Ok(())
    }

    /// A directory has all its names: what else is in it has gone at the source.
    fn leave(&mut self) -> io::Result<()> {
        let Some(Level { dir, seen, dress, .. }) = self.levels.pop() else { return Ok(()) };
        let Some((parent, name, attributes)) = dress else { return Ok(()) };
        for entry in fs::read_dir(within(&dir, OsStr::new("")))? {
            let name = entry?.file_name();
            if seen.binary_search(&name).is_err() {
                remove_tree(&within(&dir, &name))?;
            }
        }
        if self.queue.len() >= QUEUE {
            return Err(bad("too many directories ahead of a file"));
        }
        self.queue.push_back(Turn::Dress(parent, name, attributes));
        self.dress()
    }

    /// All of the place has been told. What is there is on the disk after that.
    pub fn finish(mut self) -> io::Result<()> {
        while self.levels.len() > 1 {
            self.leave()?;
        }
        if !self.queue.is_empty() {
            return Err(bad("a file without its content"));
        }
        let Some(outer) = self.levels.pop() else { return Ok(()) };
        if outer.seen.is_empty() {
            remove_tree(&self.root)?;
        }
        writeback::settle(self.root.parent().unwrap_or(&self.root)).map(drop)
    }
}

impl Filling {
    /// Content comes in its order, and never more than was announced.
    fn take(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes);
        match end {
            Some(end) if offset >= self.at => {
                self.at = end;
                Ok(())
            }
            _ => Err(bad("more of a file than there is")),
        }
    }
}

/// Its maker alone can enter it until it is dressed.
fn make_dir(to: &Path) -> io::Result<File> {
    match fs::symlink_metadata(to) {
        Ok(found) if found.is_dir() => fs::set_permissions(to, Permissions::from_mode(0o700))?,
        _ => {
            remove_tree(to)?;
            DirBuilder::new().mode(0o700).create(to)?;
        }
    }
    open_dir(to)
}

fn make_file(to: &Path) -> io::Result<File> {
    remove_tree(to)?;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to)
}

/// It is what came the last time, and that is what the source has now.
fn is_had(to: &Path, mark: Option<Mark>, row: Option<&Row>) -> bool {
    let (Some(row), Ok(found)) = (row, fs::symlink_metadata(to)) else { return false };
    let ours = Mark::of(&found);
    // Each further name of a file moves its time.
    let is_ours = ours == row.ours
        || (found.nlink() > 1 && (ours.ino, ours.bytes) == (row.ours.ino, row.ours.bytes));
    mark.is_some() && row.theirs == mark && found.is_file() && is_ours
}

/// What may have much in common with what comes: none of a file with several names, which may not
/// have the same ones any more.
fn older(to: &Path, bytes: u64) -> io::Result<Option<File>> {
    let Ok(found) = fs::symlink_metadata(to) else { return Ok(None) };
    let is_large = found.len().min(bytes) >= 2 * BLOCK as u64;
    if !found.is_file() || found.nlink() != 1 || !is_large {
        return Ok(None);
    }
    fs::set_permissions(to, Permissions::from_mode(0o600))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
    options.open(to).map(Some)
}
