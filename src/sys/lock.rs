//! A lock file that is free again when its holder ends, however it ends.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Held as long as this value, or this process, lives. The file stays: removing it would let two
/// holders lock two files of one name.
pub struct Lock {
    held: Flock<File>,
}

impl Lock {
    /// Take the lock without waiting; `None` when somebody else has it.
    pub fn take(path: &Path) -> io::Result<Option<Lock>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        Lock::on(file)
    }

    /// Whether somebody has the lock. Nothing is made, and it is not kept.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
        match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            file => Ok(Lock::on(file?)?.is_none()),
        }
    }

    /// Leaves a word for who finds the lock taken. Where that cannot be written they learn less.
    pub fn note(&self, text: &str) {
        let _ = self.held.set_len(0).and_then(|()| self.held.write_all_at(text.as_bytes(), 0));
    }

    /// The same with a directory for a file: nothing is made, and whoever may read the directory
    /// may lock it.
    pub fn take_dir(dir: &Path) -> io::Result<Option<Lock>> {
        Lock::on(OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?)
    }

    fn on(file: File) -> io::Result<Option<Lock>> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Some(Lock { held })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let path = std::env::temp_dir().join(format!("hopbox-lock-{}", std::process::id()));
        let first = Lock::take(&path).expect("lock file");
        assert!(first.is_some());
        assert!(Lock::take(&path).expect("lock file").is_none());
        drop(first);
        assert!(Lock::take(&path).expect("lock file").is_some());
        std::fs::remove_file(&path).expect("remove");
        let dir = std::env::temp_dir();
        assert!(Lock::take_dir(&path).is_err());
        assert!(Lock::take_dir(&dir.join(".")).is_ok());
    }
}
