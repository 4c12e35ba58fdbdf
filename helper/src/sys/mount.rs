//! Mounts, by descriptors alone: a path could lead elsewhere a moment later.

use super::check;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const NO_LINKS: u64 = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;

fn made(fd: libc::c_long) -> io::Result<File> {
    check(fd as libc::c_int)?;
    // SAFETY: the descriptor was just made and is owned by nobody else.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
}

/// Looks a directory up, below one that is open or from the root on, by no link whatever.
pub fn open_beneath(dir: Option<&File>, path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let beneath = if dir.is_some() { libc::RESOLVE_BENEATH } else { 0 };
    let dir = dir.map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd);
    // struct open_how: flags, mode, resolve.
    let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u64;
    let how = [flags, 0, NO_LINKS | beneath];
    // SAFETY: path is a string of C, and how as long as is said; the kernel copies both.
    made(unsafe {
        libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), how.as_ptr(), size_of_val(&how))
    })
}

fn own_path(file: &File) -> io::Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?)
}

/// A new file system in memory, without programs and devices that give rights.
pub fn mount_tmpfs(name: &str, place: &File, options: &str) -> io::Result<()> {
    let (name, place, options) = (CString::new(name)?, own_path(place)?, CString::new(options)?);
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all four are strings of C; the kernel copies them.
    check(unsafe {
        let (place, kind) = (place.as_ptr(), c"tmpfs".as_ptr());
        libc::mount(name.as_ptr(), place, kind, flags, options.as_ptr().cast())
    })
    .map(|_| ())
}

/// The same directory at another place as well, and nothing that is mounted below it. It has its
/// restrictions before anybody sees it, and keeps those of where it was.
pub fn mount_bind(source: &File, place: &File, read_only: bool) -> io::Result<()> {
    let empty = c"".as_ptr();
    let flags = libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
    let flags = flags | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: the path is a string of C.
    let tree =
        made(unsafe { libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), empty, flags) })?;
    let only = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    // struct mount_attr: set, clear, propagation, user namespace.
    let attributes = [libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | only, 0, 0, 0];
    let (tree, place) = (tree.as_raw_fd(), place.as_raw_fd());
    // SAFETY: the path is a string of C, and attributes as long as is said.
    check(unsafe {
        let (at, len) = (attributes.as_ptr(), size_of_val(&attributes));
        libc::syscall(libc::SYS_mount_setattr, tree, empty, libc::AT_EMPTY_PATH, at, len)
    } as libc::c_int)?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are strings of C.
    check(unsafe { libc::syscall(libc::SYS_move_mount, tree, empty, place, empty, flags) }
        as libc::c_int)
    .map(|_| ())
}

/// Takes away the mount that this is the root of. Whoever has something open there keeps it.
pub fn unmount(mount: &File) -> io::Result<()> {
    let path = own_path(mount)?;
    // SAFETY: the path is a string of C.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(|_| ())
}
