//! One entry of a tree: opened where no link leads out of it, and made again in a twin with all
//! that a restore has to bring back.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink,
};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use crate::agent::work::snap::place::ROOM;
use crate::sys::{file_times, process, reflink, xattr};

pub const MODE: u32 = 0o7777;

/// What is at `path`, as whoever has it open sees it.
pub fn within(dir: &File, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

pub fn open_dir(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// In the order of their bytes; our own rooms are none of the tree's.
pub fn names(dir: &File) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(within(dir, OsStr::new("")))?;
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| name != ROOM);
    names.sort();
    Ok(names)
}

pub fn freeze_one(seen: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
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
pub fn dress(seen: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
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
pub fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}
