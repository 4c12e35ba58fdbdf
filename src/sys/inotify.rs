//! Notice that one file was deleted or replaced.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Becomes readable when something may have happened to the file; [`FileWatch::gone`] tells.
pub struct FileWatch {
    inotify: Inotify,
    path: PathBuf,
    identity: (u64, u64),
}

impl FileWatch {
    pub fn new(path: &Path) -> io::Result<FileWatch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // A file that is still open is not "deleted" when its name goes; its link count changes.
        let what =
            AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        inotify.add_watch(path, what)?;
        let identity = identity_of(path)?;
        Ok(FileWatch { inotify, path: path.to_owned(), identity })
    }

    /// Drain the events; true if the path no longer names the file that was watched.
    pub fn gone(&self) -> bool {
        let _ = self.inotify.read_events();
        self.replaced()
    }

    /// As [`FileWatch::gone`], without draining.
    pub fn replaced(&self) -> bool {
        identity_of(&self.path).ok() != Some(self.identity)
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, wait_one};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    #[test]
    fn the_deletion_of_a_bound_socket_is_seen() {
        let path = std::env::temp_dir().join(format!("hop-watch-{}", std::process::id()));
        let _listener = UnixListener::bind(&path).expect("bind");
        let watch = FileWatch::new(&path).expect("watch");
        assert!(!watch.gone());
        std::fs::remove_file(&path).expect("remove");
        assert!(
            wait_one(watch.as_fd(), Interest::READ, Some(Duration::from_secs(2))).expect("poll")
        );
        assert!(watch.gone());
    }
}
