//! Notices when a file loses its name: a queue of kernel events with the file in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Becomes readable when something may have happened to the file; [`FileWatch::gone`] tells.
pub struct FileWatch {
    queue: OwnedFd,
    /// The directory that holds the name: a socket itself cannot be opened.
    _dir: File,
    path: PathBuf,
    identity: (u64, u64),
}

impl FileWatch {
    pub fn new(path: &Path) -> io::Result<FileWatch> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let dir =
            File::options().read(true).custom_flags(libc::O_EVTONLY | libc::O_CLOEXEC).open(dir)?;
        // SAFETY: takes nothing.
        let queue = unsafe { libc::kqueue() };
        if queue < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, owned by nobody else. Queues are not inherited by children.
        let queue = unsafe { OwnedFd::from_raw_fd(queue) };
        let change = libc::kevent {
            ident: dir.as_raw_fd() as usize,
            filter: libc::EVFILT_VNODE,
            flags: libc::EV_ADD | libc::EV_CLEAR,
            fflags: libc::NOTE_WRITE | libc::NOTE_DELETE | libc::NOTE_RENAME,
            data: 0,
            udata: std::ptr::null_mut(),
        };
        let (none, at_once) = (std::ptr::null_mut(), std::ptr::null());
        let number = queue.as_raw_fd();
        // SAFETY: one change is passed and read; there is no room for events, so none is written.
        if unsafe { libc::kevent(number, &raw const change, 1, none, 0, at_once) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(FileWatch { queue, _dir: dir, path: path.to_owned(), identity: identity_of(path)? })
    }

    /// Drain the events; true if the path no longer names the file that was watched.
    pub fn gone(&self) -> bool {
        let mut event = libc::kevent {
            ident: 0,
            filter: 0,
            flags: 0,
            fflags: 0,
            data: 0,
            udata: std::ptr::null_mut(),
        };
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let (queue, none) = (self.queue.as_raw_fd(), std::ptr::null());
        // SAFETY: there is room for the one event asked for, and no change is passed.
        unsafe { libc::kevent(queue, none, 0, &raw mut event, 1, &raw const now) };
        self.replaced()
    }

    /// As [`FileWatch::gone`], without draining.
    pub fn replaced(&self) -> bool {
        identity_of(&self.path).ok() != Some(self.identity)
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}
