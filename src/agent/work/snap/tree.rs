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

mod content;
mod entry;
mod seen;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use self::content::{digest_one, put_head};
pub use self::content::{put, word};
pub use self::entry::{MODE, is_kept, open_dir, open_file, within};
use self::entry::{dress, freeze_one, names};
pub use self::seen::Seen;
use super::remove::remove_tree;
use crate::sys::reflink;
use crate::workspace::digest::{Digest, Digesting};

const DEPTH: usize = 256;
const NAMED: usize = 64;

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

/// One entry, as a walk meets it.
pub struct Met<'a> {
    /// Below where the walk began, which is empty itself.
    pub path: &'a Path,
    /// How it is opened, for as long as it is being looked at.
    pub seen: &'a Path,
    pub found: &'a Metadata,
}

pub type Visit<'a> = &'a mut dyn FnMut(&Met<'_>) -> io::Result<()>;

/// Each directory before what is in it, and that by the order of names' bytes. What `visit` is not
/// permitted is left out, and what it does not find is passed by.
pub fn visit(path: &Path, visit: Visit<'_>, is_wanted: &dyn Fn() -> bool) -> io::Result<Count> {
    Walk::of(Act::Visit(visit), is_wanted).all(path, Path::new("")).map(|(_, count)| count)
}

enum Pass<'a> {
    First(Seen),
    Second(&'a Seen),
}

enum Act<'a> {
    Count,
    Freeze(Pass<'a>),
    Digest(Box<Digesting>),
    Visit(Visit<'a>),
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
        if let Act::Visit(visit) = &mut self.act {
            return visit(&Met { path: to, seen, found });
        }
        if found.nlink() > 1 && !matches!(self.act, Act::Count) {
            if let Some(first) = self.linked.get(&(found.dev(), found.ino())) {
                let first = first.clone();
                return self.again(&first, to);
            }
            self.linked.insert((found.dev(), found.ino()), to.to_owned());
        }
        match &mut self.act {
            Act::Count | Act::Visit(_) => Ok(()),
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
            Act::Count | Act::Visit(_) => Ok(()),
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
            Act::Visit(visit) => visit(&Met { path: to, seen, found })?,
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

#[cfg(test)]
mod tests;
