//! Files and directories that are root's alone: checked, read, replaced as a whole.
//!
//! Links are never followed, and a pipe cannot make us wait. Must not know: what is in a file.

use super::peer_cred::is_nobody;
use crate::sys;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Root's, and nobody else can change it.
fn is_roots(meta: &Metadata) -> bool {
    meta.uid() == 0 && meta.mode() & 0o022 == 0
}

/// Makes a directory of root, or checks that only root can change what is in it.
pub fn own_dir(dir: &Path, mode: u32) -> Result<(), String> {
    let failed = |e| format!("create {}: {e}", dir.display());
    let mask = sys::umask(0o777 & !mode);
    let made = DirBuilder::new().recursive(true).mode(mode).create(dir);
    sys::umask(mask);
    made.map_err(failed)?;
    let meta = fs::symlink_metadata(dir).map_err(failed)?;
    if meta.is_dir() && is_roots(&meta) {
        return Ok(());
    }
    Err(format!("{} must be a directory of root that nobody else can write", dir.display()))
}

/// Refuses what is no regular file of root, or can be written by others.
pub fn check(file: &File) -> io::Result<Metadata> {
    let meta = file.metadata()?;
    if meta.is_file() && is_roots(&meta) {
        return Ok(meta);
    }
    Err(io::Error::other("must be a regular file of root that nobody else can write"))
}

/// A directory that root alone can change, held open: what is looked at in it is in this one.
pub fn root_dir(dir: &Path) -> io::Result<File> {
    let held = sys::open_at(None, dir, sys::LOOK | libc::O_DIRECTORY | libc::O_NOFOLLOW);
    match held.and_then(|held| held.metadata().map(|meta| is_roots(&meta).then_some(held))) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(e),
        Ok(Some(held)) => Ok(held),
        found => {
            let why = found.err().map_or(String::new(), |e| format!(" ({e})"));
            let (dir, cure) = (dir.display(), "sudo chown root:root");
            Err(io::Error::other(format!(
                "{dir} must be a directory that root alone can write{why}: \
                 {cure} {dir} && sudo chmod 755 {dir}"
            )))
        }
    }
}

/// The bytes of a file of at most `max`.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    read_at(None, path, max)
}

/// The same for a name in a directory.
pub fn read_at(dir: Option<&File>, name: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = sys::open_at(dir, name, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK)?;
    if check(&file)?.len() > max {
        return Err(io::Error::other(format!("is longer than {max} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file of mode 0600 for writing; with `new` it must not be there.
pub fn create(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).create_new(new).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Puts a file in its place as a whole: it is always the old one or the new one. `prepare` gets it
/// with mode 0600, under a name that nobody else knows or, in a directory of ours, the same always.
pub fn replace(
    path: &Path,
    temporary: &str,
    bytes: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let temporary = dir.join(temporary);
    let written = create(&temporary, true).and_then(|mut file| {
        file.write_all(bytes)?;
        prepare(&file)?;
        file.sync_all()?;
        // A program that is open for writing cannot be run, under whatever name.
        drop(file);
        fs::rename(&temporary, path)
    });
    if let Err(e) = written {
        let _ = fs::remove_file(&temporary);
        return Err(e);
    }
    File::open(dir)?.sync_all()
}

/// Tells one state of a file from another: device, inode, length, and the times of the last write
/// and the last change, in seconds and their parts. The default is that of no file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp([u64; 3], [i64; 4]);

impl Stamp {
    /// A look takes one call and also sees a file that was put in the place of another, where a
    /// watch would see the old one.
    pub fn of(path: &Path) -> Option<Stamp> {
        let file = fs::metadata(path).ok()?;
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Some(Stamp([file.dev(), file.ino(), file.len()], times))
    }
}

/// In a user namespace whoever is outside of it is shown as one and the same number, which nobody
/// in it has: they cannot be told apart, but nobody who could be served here is among them.
fn is_of_nobody_here(meta: &Metadata) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map");
    is_nobody(meta.uid())
        && meta.mode() & 0o022 == 0
        && map.is_ok_and(|map| !is_mapped(&map, meta.uid()))
}

/// Whether a user of this number may be in the namespace: first in it, first outside, how many.
fn is_mapped(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        let [first, _, count] = numbers[..] else { return true };
        (first..first.saturating_add(count)).contains(&uid.into())
    })
}

/// Every directory above `path` that exists must be root's and writable by nobody else: whoever
/// can rename a directory can replace what is in it.
pub fn check_parents(path: &Path) -> Result<(), String> {
    let existing = path.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let real = fs::canonicalize(existing).map_err(|e| format!("{}: {e}", existing.display()))?;
    for dir in real.ancestors() {
        let meta = fs::symlink_metadata(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        if !meta.is_dir() || !is_roots(&meta) && !is_of_nobody_here(&meta) {
            let why = "others than root could replace what is in it";
            return Err(format!("{}: {why}", dir.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_others_can_write_is_refused() {
        assert!(check_parents(Path::new("/tmp/x/y")).is_err());
    }

    #[test]
    fn who_is_outside_of_a_user_namespace_is_told_by_its_map() {
        let all = "         0          0 4294967295\n";
        assert!(is_mapped(all, 65_534) && is_mapped(all, 0));
        let one = "         0       1000          1\n";
        assert!(is_mapped(one, 0) && !is_mapped(one, 65_534) && !is_mapped(one, 1));
        let container = "0 100000 65536\n70000 7 1\n";
        assert!(is_mapped(container, 65_534) && is_mapped(container, 70_000));
        assert!(!is_mapped(container, 65_536));
        for odd in ["0 0", "a b c", "0 0 1 1", "-1 0 1"] {
            assert!(is_mapped(odd, 65_534), "{odd}");
        }
    }
}
