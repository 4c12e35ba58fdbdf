//! Trees of files: a frozen twin of one, that shares its blocks until somebody writes to it; and
//! what a tree is, as one digest.
//!
//! Each directory is opened once and what is in it looked at from there, no link followed: whoever
//! changes a tree meanwhile leads nobody out of it. What cannot be had of it is named.
//!
//! Bounds: 256 directories in one another; 64 names of what is left out, and the number of others.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink,
};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use super::place::ROOM;
use crate::sys::{file_times, process, reflink, xattr};
use crate::workspace::digest::{Digest, Digesting};

const DEPTH: usize = 256;
const NAMED: usize = 64;
const BLOCK_BYTES: u64 = 4096;
const PIECE: usize = 256 * 1024;
const MODE: u32 = 0o7777;

/// What there is in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub files: u64,
    pub dirs: u64,
    /// Of the files, holes included.
    pub bytes: u64,
    /// What could not be had, each with its reason; and how many more there are.
    pub left_out: Vec<String>,
    pub more: u64,
}

impl Count {
    fn leave_out(&mut self, path: &Path, why: impl std::fmt::Display) {
        match self.left_out.len() < NAMED {
            true => self.left_out.push(format!("{}: {why}", path.display())),
            false => self.more += 1,
        }
    }

    pub fn add(&mut self, other: Count) {
        (self.files, self.dirs) = (self.files + other.files, self.dirs + other.dirs);
        (self.bytes, self.more) = (self.bytes + other.bytes, self.more + other.more);
        for name in other.left_out {
            match self.left_out.len() < NAMED {
                true => self.left_out.push(name),
                false => self.more += 1,
            }
        }
    }
}

/// What is at `path`, as whoever has it open sees it.
fn within(dir: &File, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn open_file(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// In the order of their bytes; our own rooms are none of the tree's.
fn names(dir: &File) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(within(dir, OsStr::new("")))?;
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| name != ROOM);
    names.sort();
    Ok(names)
}

/// Whether a file in `dir` can be cloned to another there: the file system is asked, by two files
/// without a name's worth of content.
pub fn can_freeze(dir: &Path) -> bool {
    let probe = || {
        let (from, to) = (dir.join(".probe-from"), dir.join(".probe-to"));
        let made = fs::write(&from, [b'x'; 4096])
            .and_then(|()| reflink::clone(&File::open(&from)?, &File::create(&to)?));
        let _ = (fs::remove_file(from), fs::remove_file(to));
        made
    };
    probe().is_ok()
}

/// What is there, counted. `is_wanted` is asked now and then.
pub fn count(path: &Path, is_wanted: &dyn Fn() -> bool) -> io::Result<Count> {
    let mut walk =
        Walk { act: Act::Count, linked: BTreeMap::new(), count: Count::default(), is_wanted };
    walk.top(path, Path::new(""))?;
    Ok(walk.count)
}

/// A twin of the file or directory `from` at `to`, where nothing is, on the same file system. With
/// owners as far as this user may give files away.
pub fn freeze(from: &Path, to: &Path, is_wanted: &dyn Fn() -> bool) -> io::Result<Count> {
    let mut walk =
        Walk { act: Act::Freeze, linked: BTreeMap::new(), count: Count::default(), is_wanted };
    walk.top(from, to)?;
    Ok(walk.count)
}

/// All that a restore has to bring back, as one number: names, kinds, modes, owners where they can
/// be kept, times, sizes, contents, attributes, links of both kinds.
pub fn digest(path: &Path, is_wanted: &dyn Fn() -> bool) -> io::Result<(Digest, Count)> {
    let act = Act::Digest(Box::new(Digesting::of("hopbox.tree/1")));
    let mut walk = Walk { act, linked: BTreeMap::new(), count: Count::default(), is_wanted };
    walk.top(path, Path::new("."))?;
    match walk.act {
        Act::Digest(digesting) => Ok((digesting.done(), walk.count)),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

enum Act {
    Count,
    Freeze,
    Digest(Box<Digesting>),
}

struct Walk<'a> {
    act: Act,
    /// Where a file that has several names was met first.
    linked: BTreeMap<(u64, u64), PathBuf>,
    count: Count,
    is_wanted: &'a dyn Fn() -> bool,
}

impl Walk<'_> {
    fn top(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(from)?;
        self.one(from, from, to, &found, 0)
    }

    /// `seen` is how it is opened, `told` what it is called.
    fn one(
        &mut self,
        seen: &Path,
        told: &Path,
        to: &Path,
        found: &Metadata,
        depth: usize,
    ) -> io::Result<()> {
        let kind = found.file_type();
        if kind.is_dir() {
            return self.dir(seen, told, to, found, depth);
        }
        if kind.is_socket() {
            // Of a process that listens; no restore brings that back.
            return Ok(());
        }
        if !(kind.is_file() || kind.is_symlink() || kind.is_fifo()) {
            self.count.leave_out(told, "it is a device");
            return Ok(());
        }
        self.count.files += 1;
        if kind.is_file() {
            self.count.bytes += found.len();
        }
        if found.nlink() > 1 && !matches!(self.act, Act::Count) {
            if let Some(first) = self.linked.get(&(found.dev(), found.ino())) {
                let first = first.clone();
                return self.again(&first, to);
            }
            self.linked.insert((found.dev(), found.ino()), to.to_owned());
        }
        match &mut self.act {
            Act::Count => Ok(()),
            Act::Freeze => freeze_one(seen, to, found),
            Act::Digest(digesting) => {
                put_head(digesting, to, found, seen)?;
                digest_one(digesting, seen, found, self.is_wanted)
            }
        }
    }

    /// One more name of what was met before.
    fn again(&mut self, first: &Path, to: &Path) -> io::Result<()> {
        match &mut self.act {
            Act::Count => Ok(()),
            Act::Freeze => fs::hard_link(first, to),
            Act::Digest(digesting) => {
                put(digesting, to.as_os_str().as_bytes());
                put(digesting, b"same as");
                put(digesting, first.as_os_str().as_bytes());
                Ok(())
            }
        }
    }

    fn dir(
        &mut self,
        seen: &Path,
        told: &Path,
        to: &Path,
        found: &Metadata,
        depth: usize,
    ) -> io::Result<()> {
        if depth >= DEPTH {
            self.count.leave_out(told, "it is too deep");
            return Ok(());
        }
        if !(self.is_wanted)() {
            return Err(ErrorKind::Interrupted.into());
        }
        let dir = match open_dir(seen) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.count.leave_out(told, "it cannot be read by this login");
                return Ok(());
            }
            dir => dir?,
        };
        self.count.dirs += 1;
        match &mut self.act {
            Act::Count => {}
            Act::Freeze => DirBuilder::new().mode(0o700).create(to)?,
            Act::Digest(digesting) => put_head(digesting, to, found, seen)?,
        }
        for name in names(&dir)? {
            let path = within(&dir, &name);
            let told = told.join(&name);
            let found = match fs::symlink_metadata(&path) {
                // Gone since: who writes here goes on.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found?,
            };
            match self.one(&path, &told, &to.join(&name), &found, depth + 1) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    self.count.leave_out(&told, "it cannot be read by this login");
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
        // Last: what is put into it changes its time.
        if matches!(self.act, Act::Freeze) { dress(seen, to, found) } else { Ok(()) }
    }
}

fn freeze_one(seen: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(seen)?, to)?;
    } else if kind.is_fifo() {
        nix::unistd::mkfifo(to, Mode::S_IRWXU)?;
    } else {
        let from = open_file(seen)?;
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        copy_or_share(&from, new)?;
    }
    dress(seen, to, found)
}

/// What fits into one block is copied: to share that takes the file system longer.
fn copy_or_share(from: &File, mut new: File) -> io::Result<()> {
    let mut bytes = Vec::new();
    from.take(BLOCK_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > BLOCK_BYTES {
        true => reflink::clone(from, &new),
        false => new.write_all(&bytes),
    }
}

/// Nothing of it waits to be written, so that freezing it takes less time.
pub fn flush(path: &Path) -> io::Result<()> {
    reflink::flush(&open_file(path)?)
}

/// Owner, attributes, mode and times of what `found` tells. Only root gives files away.
fn dress(seen: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
    let is_link = found.file_type().is_symlink();
    if process::is_root() {
        lchown(to, Some(found.uid()), Some(found.gid()))?;
    } else if found.gid() != process::gid() {
        // One of the login's groups, if it is one.
        let _ = lchown(to, None, Some(found.gid()));
    }
    if !is_link {
        for (name, value) in xattr::all(seen)? {
            match xattr::set(to, &name, &value) {
                Err(error) if is_kept(name.as_bytes()) => return Err(error),
                _ => {}
            }
        }
        fs::set_permissions(to, Permissions::from_mode(found.mode() & MODE))?;
    }
    let read = (found.atime(), found.atime_nsec());
    file_times::set(to, read, (found.mtime(), found.mtime_nsec()))
}

/// Those that a user may set, and a restore has to bring back. Others are the system's own, such as
/// a label.
fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

/// With its length, so that no two lists of pieces are one.
fn put(digesting: &mut Digesting, piece: &[u8]) {
    digesting.add(&(piece.len() as u64).to_be_bytes());
    digesting.add(piece);
}

fn put_head(
    digesting: &mut Digesting,
    name: &Path,
    found: &Metadata,
    seen: &Path,
) -> io::Result<()> {
    let kind = found.file_type();
    put(digesting, name.as_os_str().as_bytes());
    let word: &[u8] = match () {
        () if kind.is_dir() => b"dir",
        () if kind.is_symlink() => b"symlink",
        () if kind.is_fifo() => b"fifo",
        () => b"file",
    };
    put(digesting, word);
    let number = |number: i64| number.to_be_bytes();
    if !kind.is_symlink() {
        digesting.add(&(found.mode() & MODE).to_be_bytes());
        for (name, value) in xattr::all(seen)?.iter().filter(|(name, _)| is_kept(name.as_bytes())) {
            put(digesting, name.as_bytes());
            put(digesting, value);
        }
    }
    if process::is_root() {
        digesting.add(&[found.uid().to_be_bytes(), found.gid().to_be_bytes()].concat());
    }
    digesting.add(&[number(found.mtime()), number(found.mtime_nsec())].concat());
    Ok(())
}

fn digest_one(
    digesting: &mut Digesting,
    seen: &Path,
    found: &Metadata,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<()> {
    if found.file_type().is_symlink() {
        put(digesting, fs::read_link(seen)?.as_os_str().as_bytes());
    } else if found.is_file() {
        digesting.add(&found.len().to_be_bytes());
        let (mut file, mut piece) = (open_file(seen)?, vec![0; PIECE]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                count => digesting.add(piece.get(..count).unwrap_or_default()),
            }
            if !is_wanted() {
                return Err(ErrorKind::Interrupted.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
