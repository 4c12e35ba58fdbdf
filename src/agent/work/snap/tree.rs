//! Trees of files: a frozen twin of one, that shares its blocks until somebody writes to it; and
//! what a tree is, as one digest.
//!
//! Each directory is opened once and what is in it looked at from there, no link followed: whoever
//! changes a tree meanwhile leads nobody out of it. What cannot be had of it is named.
//!
//! A twin is made in two passes: the first while services write, the second, once they have
//! ended, of what they have written meanwhile alone, which is told by the time of a file's last
//! change. That is moved by every change of content, owner, mode, name or attribute, and no program
//! can set it; FICLONE writes mapped pages back first, so that later writes to them are told, too.
//!
//! Bounds: 256 directories in one another; 64 names of what is left out, and the number of others;
//! 400,000 files that a second pass knows again, some 200 bytes each.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink,
};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use super::place::ROOM;
use super::remove::remove_tree;
use crate::sys::{clock, file_times, process, reflink, xattr};
use crate::workspace::digest::{Digest, Digesting};

const DEPTH: usize = 256;
const NAMED: usize = 64;
/// What a second pass knows again of the first.
const MARKS: usize = 400_000;
/// A change is told by the second at the least, on every file system.
const SETTLED_S: i64 = 2;
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
    Walk::of(Act::Count, is_wanted).all(path, Path::new("")).map(|(_, count)| count)
}

/// The first of two passes over the file or directory `from`, to where nothing is on the same file
/// system. Nobody needs to rest; [`freeze_again`] makes a twin of it.
pub fn freeze_ahead(from: &Path, to: &Path, is_wanted: &dyn Fn() -> bool) -> io::Result<Seen> {
    match Walk::of(Act::Freeze(Pass::First(Seen::default())), is_wanted).all(from, to)? {
        (Act::Freeze(Pass::First(seen)), _) => Ok(seen),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

/// The second: what is at `to` becomes a twin of what is at `from` now, with owners as far as this
/// user may give files away.
pub fn freeze_again(
    from: &Path,
    to: &Path,
    seen: &Seen,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<Count> {
    Walk::of(Act::Freeze(Pass::Second(seen)), is_wanted).all(from, to).map(|(_, count)| count)
}

/// All that a restore has to bring back, as one number: names, kinds, modes, owners where they can
/// be kept, times, sizes, contents, attributes, links of both kinds.
pub fn digest(path: &Path, is_wanted: &dyn Fn() -> bool) -> io::Result<(Digest, Count)> {
    let act = Act::Digest(Box::new(Digesting::of("hopbox.tree/1")));
    match Walk::of(act, is_wanted).all(path, Path::new("."))? {
        (Act::Digest(digesting), count) => Ok((digesting.done(), count)),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

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
    fn put(&mut self, to: &Path, found: &Metadata) {
        let now = i64::try_from(clock::wall_ms() / 1000).unwrap_or(0);
        let is_settled = found.ctime() < now.saturating_sub(SETTLED_S);
        if is_settled && found.nlink() == 1 && self.0.len() < MARKS {
            self.0.insert(to.to_owned(), Mark::of(found));
        }
    }

    fn has(&self, to: &Path, found: &Metadata) -> bool {
        found.nlink() == 1 && self.0.get(to) == Some(&Mark::of(found))
    }
}

enum Pass<'a> {
    First(Seen),
    Second(&'a Seen),
}

enum Act<'a> {
    Count,
    Freeze(Pass<'a>),
    Digest(Box<Digesting>),
}

impl Act<'_> {
    /// Nothing is there, also in a second pass, which finds what the first has made.
    fn make_free(&self, to: &Path) -> io::Result<()> {
        match self {
            Act::Freeze(Pass::Second(_)) => remove_tree(to),
            _ => Ok(()),
        }
    }

    /// A directory of the twin, that its maker alone can enter until it is dressed.
    fn dir(&self, to: &Path) -> io::Result<()> {
        if let Act::Freeze(Pass::Second(_)) = self {
            match fs::symlink_metadata(to) {
                Ok(found) if found.is_dir() => return Ok(()),
                _ => remove_tree(to)?,
            }
        }
        DirBuilder::new().mode(0o700).create(to)
    }

    /// What has gone from a directory since the first pass.
    fn only(&self, to: &Path, names: &[OsString]) -> io::Result<()> {
        let Act::Freeze(Pass::Second(_)) = self else { return Ok(()) };
        for entry in fs::read_dir(to)? {
            let name = entry?.file_name();
            if names.binary_search(&name).is_err() {
                remove_tree(&to.join(name))?;
            }
        }
        Ok(())
    }
}

struct Walk<'a> {
    act: Act<'a>,
    /// Where a file that has several names was met first.
    linked: BTreeMap<(u64, u64), PathBuf>,
    count: Count,
    is_wanted: &'a dyn Fn() -> bool,
}

impl<'a> Walk<'a> {
    fn of(act: Act<'a>, is_wanted: &'a dyn Fn() -> bool) -> Walk<'a> {
        Walk { act, linked: BTreeMap::new(), count: Count::default(), is_wanted }
    }

    fn all(mut self, from: &Path, to: &Path) -> io::Result<(Act<'a>, Count)> {
        let found = fs::symlink_metadata(from)?;
        self.one(from, from, to, &found, 0)?;
        Ok((self.act, self.count))
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
            return self.act.make_free(to);
        }
        if !(kind.is_file() || kind.is_symlink() || kind.is_fifo()) {
            self.count.leave_out(told, "it is a device");
            return self.act.make_free(to);
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
            Act::Freeze(Pass::Second(known)) if known.has(to, found) => Ok(()),
            Act::Freeze(Pass::Second(_)) => {
                remove_tree(to)?;
                freeze_one(seen, to, found)
            }
            Act::Freeze(Pass::First(all)) => {
                freeze_one(seen, to, found)?;
                all.put(to, found);
                Ok(())
            }
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
            Act::Freeze(_) => {
                self.act.make_free(to)?;
                fs::hard_link(first, to)
            }
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
            return self.act.make_free(to);
        }
        if !(self.is_wanted)() {
            return Err(ErrorKind::Interrupted.into());
        }
        let dir = match open_dir(seen) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.count.leave_out(told, "it cannot be read by this login");
                return self.act.make_free(to);
            }
            dir => dir?,
        };
        self.count.dirs += 1;
        match &mut self.act {
            Act::Count => {}
            Act::Freeze(_) => self.act.dir(to)?,
            Act::Digest(digesting) => put_head(digesting, to, found, seen)?,
        }
        let names = names(&dir)?;
        self.act.only(to, &names)?;
        for name in names {
            let path = within(&dir, &name);
            let told = told.join(&name);
            let found = match fs::symlink_metadata(&path) {
                // Gone since: who writes here goes on.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.act.make_free(&to.join(&name))?;
                    continue;
                }
                found => found?,
            };
            match self.one(&path, &told, &to.join(&name), &found, depth + 1) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    self.count.leave_out(&told, "it cannot be read by this login");
                    self.act.make_free(&to.join(&name))?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.act.make_free(&to.join(&name))?;
                }
                done => done?,
            }
        }
        // Last: what is put into it changes its time, and may be forbidden by its mode.
        match &self.act {
            Act::Freeze(Pass::Second(_)) => dress(seen, to, found),
            _ => Ok(()),
        }
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
        reflink::clone(&from, &new)?;
    }
    dress(seen, to, found)
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
