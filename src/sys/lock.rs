//! A lock file that is free again when its holder ends, however it ends.
//!
//! Who looks whether it is held locks it for an instant themselves, there being no other way to
//! ask: shared, so that those who look do not see each other; and who takes it tries again for
//! 50 ms, so that they do not see those either.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(5);

/// Held as long as this value, or this process, lives. The file stays: removing it would let two
/// holders lock two files of one name.
pub struct Lock {
    held: Flock<File>,
}

impl Lock {
    /// Takes the lock, or finds within 50 ms that somebody else has it: `None`.
    pub fn take(path: &Path) -> io::Result<Option<Lock>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        Lock::keep(file)
    }

    /// Whether somebody has the lock. Nothing is made, and it is not kept.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
        match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            file => Ok(lock(file?, FlockArg::LockSharedNonblock)?.is_err()),
        }
    }

    /// Leaves a word for who finds the lock taken. Where that cannot be written they learn less.
    pub fn note(&self, text: &str) {
        let _ = self.held.set_len(0).and_then(|()| self.held.write_all_at(text.as_bytes(), 0));
    }

    /// The same with a directory for a file: nothing is made, and whoever may read the directory
    /// may lock it.
    pub fn take_dir(dir: &Path) -> io::Result<Option<Lock>> {
        Lock::keep(OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?)
    }

    fn keep(mut file: File) -> io::Result<Option<Lock>> {
        for tries in 1..=TRIES {
            match lock(file, FlockArg::LockExclusiveNonblock)? {
                Ok(held) => return Ok(Some(Lock { held })),
                Err(back) => file = back,
            }
            if tries < TRIES {
                thread::sleep(PAUSE);
            }
        }
        Ok(None)
    }
}

/// The file comes back where somebody else has it.
fn lock(file: File, how: FlockArg) -> io::Result<Result<Flock<File>, File>> {
    match Flock::lock(file, how) {
        Ok(held) => Ok(Ok(held)),
        Err((file, Errno::EWOULDBLOCK)) => Ok(Err(file)),
        Err((_, error)) => Err(error.into()),
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

    /// A service that is asked about while its agent starts is not taken for one that runs.
    #[test]
    fn who_looks_is_no_holder() {
        let path = std::env::temp_dir().join(format!("hopbox-look-{}", std::process::id()));
        drop(Lock::take(&path).expect("lock file"));
        let look = || (0..20_000).filter(|_| Lock::is_held(&path).expect("lock file")).count();
        thread::scope(|scope| {
            let looks = [scope.spawn(look), scope.spawn(look), scope.spawn(look)];
            assert_eq!(looks.map(|look| look.join().expect("looks")), [0; 3]);
            let looks = scope.spawn(look);
            while !looks.is_finished() {
                let held = Lock::take(&path).expect("lock file");
                assert!(held.is_some());
            }
        });
        std::fs::remove_file(&path).expect("remove");
    }
}
