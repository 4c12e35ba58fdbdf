//! One user at a time of this laptop's key for a host: the server keeps one session for a key, and
//! takes only handshakes that are later than the one before. The lock lies beside the mark of the
//! handshakes' time (`tunnel::timestamp_file`), so that whoever would use that mark finds it.

use std::path::{Path, PathBuf};

use crate::host::paths::{self, Paths};
use crate::sys::bounded;
use crate::sys::lock::Lock;

/// Longest note that is read, in bytes.
const NOTE_BYTES: u64 = 32;

/// Held as long as this value, or this process, lives.
pub struct InUse {
    _locks: Vec<Lock>,
}

/// The process that has it, if it said its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: Option<u32>,
}

/// Why it was not to be had.
#[derive(Debug)]
pub enum Refused {
    Held(Holder),
    /// The place that was tried last, and why there is no lock to be had.
    Failed(PathBuf, String),
}

/// Takes the key of `host` into use, without waiting. Where the state cannot be written the lock
/// lies in the runtime directory; both are taken where both can be, because another may have found
/// only one of them.
pub fn take(paths: &Paths, host: &str) -> Result<InUse, Refused> {
    let (mut locks, mut failed) = (Vec::new(), None);
    for dir in paths.session_places() {
        let file = paths::lock_in(dir, host);
        match paths::ensure_private(dir).map_err(|error| error.why).and_then(|()| lock(&file)) {
            Ok(Some(lock)) => {
                lock.note(&format!("{}\n", std::process::id()));
                locks.push(lock);
            }
            Ok(None) => return Err(Refused::Held(holder(&file))),
            Err(why) => failed = Some((file, why)),
        }
    }
    match failed.filter(|_| locks.is_empty()) {
        Some((file, why)) => Err(Refused::Failed(file, why)),
        None => Ok(InUse { _locks: locks }),
    }
}

/// Who uses the key of `host`. For a look; who wants to use it takes it.
pub fn holder_of(paths: &Paths, host: &str) -> Option<Holder> {
    let mut files = paths.session_dirs().map(|dir| paths::lock_in(dir, host));
    let held = files.find(|file| Lock::is_held(file).is_ok_and(|held| held))?;
    Some(holder(&held))
}

fn lock(file: &Path) -> Result<Option<Lock>, String> {
    Lock::take(file).map_err(|error| error.to_string())
}

fn holder(file: &Path) -> Holder {
    let text = bounded::read(file, NOTE_BYTES).unwrap_or_default();
    Holder { pid: std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_at_a_time_whatever_the_runtime_directory_is() {
        let root = std::env::temp_dir().join(format!("hopbox-in-use-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let paths = Paths::below(&root);
        let first = take(&paths, "mybox").unwrap();
        let us = Holder { pid: Some(std::process::id()) };
        let held = |outcome| matches!(outcome, Err(Refused::Held(holder)) if holder == us);
        assert!(held(take(&paths, "mybox")));
        assert_eq!(holder_of(&paths, "mybox"), Some(us));
        assert_eq!(holder_of(&paths, "other"), None);
        assert!(take(&paths, "other").is_ok(), "another key");
        fs::remove_dir_all(root.join("run")).unwrap();
        assert!(held(take(&paths, "mybox")), "emptied");
        drop(first);
        assert_eq!(holder_of(&paths, "mybox"), None);
        // A state that cannot be written: the other place.
        fs::remove_dir_all(root.join("state")).unwrap();
        fs::write(root.join("state"), "a file where a directory should be").unwrap();
        let first = take(&paths, "mybox").unwrap();
        assert!(held(take(&paths, "mybox")));
        fs::remove_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run"), "and here").unwrap();
        assert!(matches!(take(&paths, "mybox"), Err(Refused::Failed(..))));
        drop(first);
        fs::remove_dir_all(root).unwrap();
    }
}
