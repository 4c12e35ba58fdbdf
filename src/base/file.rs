//! One way to write a file that a crash cannot leave half written, one way to read a file that
//! only its owner may read, and one way to be alone in a directory.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::failure::{Failure, Fault};
use crate::fix;
use crate::sys::interrupt;
use crate::sys::lock::Lock;
use crate::sys::process;
use crate::sys::rename;
use crate::text::fix::Fix;

/// Largest configuration or key file, in bytes.
const FILE_BYTES: u64 = 64 * 1024;
const FILE_MODE: u32 = 0o600;
/// How long another process may take to do the same.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

static TURN: AtomicU32 = AtomicU32::new(0);

/// Puts `bytes` in place of whatever `path` held, with mode 0600. After a crash at any moment the
/// file is the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Beside::write(path, bytes, FILE_MODE, None)?.replace()
}

/// The same for a file that belongs to another user: user and group number.
pub fn replace_for(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    Beside::write(path, bytes, FILE_MODE, owner)?.replace()
}

/// The same, but fails with `AlreadyExists` instead of replacing anything.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = Beside::write(path, bytes, FILE_MODE, None)?;
    fs::hard_link(&beside.temp, path)?;
    sync_dir(path)
}

/// A whole file in the same directory as the one whose place it may take: only there is a rename
/// atomic. Gone if it does not.
pub struct Beside<'a> {
    path: &'a Path,
    temp: PathBuf,
}

impl Beside<'_> {
    /// With this mode, and of this user and group if they are not ours.
    pub fn write<'a>(
        path: &'a Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> io::Result<Beside<'a>> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let temp = path.with_file_name(format!(".{name}.{}-{turn}.tmp", std::process::id()));
        sweep(path, &name);
        // A leftover of a killed process that had our number.
        let _ = fs::remove_file(&temp);
        let mut new = OpenOptions::new();
        let mut file = new.write(true).create_new(true).mode(FILE_MODE).open(&temp)?;
        let beside = Beside { path, temp };
        if let Some((uid, gid)) = owner {
            fchown(&file, Some(uid), Some(gid))?;
        }
        file.write_all(bytes)?;
        // Whole before others may read or run it.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        Ok(beside)
    }

    pub fn replace(self) -> io::Result<()> {
        rename(&self.temp, self.path)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temp);
    }
}

/// Reads a file that holds secrets. Refused when anybody but its owner could read or change it.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = File::open(path).map_err(|error| Failure::io("read", path, &error))?;
    read_opened(file, path)
}

/// The same for a file that is open; `path` is for errors.
pub fn read_opened(file: File, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let fail = |error: &io::Error| Failure::io("read", path, error);
    let found = file.metadata().map_err(|error| fail(&error))?;
    let refuse = |why: String, next: Fix| {
        Failure::new(Fault::Config, format!("{} cannot be used", path.display()), why, next)
    };
    if !found.is_file() {
        return Err(refuse("it is no regular file".to_owned(), fix!("ls -l {}", path)));
    }
    if found.mode() & 0o077 != 0 {
        let why = format!("others may read it (mode {:04o})", found.mode() & 0o7777);
        let error = refuse(why, fix!("chmod 600 {}", path));
        return Err(Failure { fault: Fault::Open, ..error });
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let look = fix!("ls -l {}", path);
    match file.take(FILE_BYTES + 1).read_to_string(&mut text) {
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(refuse("it is no text".to_owned(), look));
        }
        read => read.map_err(|error| fail(&error))?,
    };
    if text.len() as u64 > FILE_BYTES {
        let why = format!("it is longer than {FILE_BYTES} bytes");
        return Err(refuse(why, look));
    }
    Ok(text)
}

/// Removes what processes that were killed on their way left of this file: it may hold a key.
fn sweep(path: &Path, name: &str) {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let start = format!(".{name}.");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let rest = found.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".tmp"));
        let owner =
            rest.and_then(|rest| rest.split_once('-')).and_then(|(pid, _)| pid.parse().ok());
        if owner.is_some_and(|pid| !process::is_alive(pid)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Moves a file that has been written here before into its place.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_dir(to)
}

/// The same where nothing may be; what is there stays, and it is an error.
pub fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    rename::to_free(from, to)?;
    sync_dir(to)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Nobody else is in a directory with the same intention while this is held.
pub struct DirLock {
    _held: Lock,
}

impl DirLock {
    pub fn take(dir: &Path) -> Result<DirLock, Failure> {
        DirLock::take_within(dir, LOCK_WITHIN)
    }

    /// The same, with time for another that asks a person for a password.
    pub fn take_within(dir: &Path, limit: Duration) -> Result<DirLock, Failure> {
        let end = Instant::now() + limit;
        loop {
            match Lock::take_dir(dir) {
                Ok(Some(lock)) => return Ok(DirLock { _held: lock }),
                Ok(None) if interrupt::is_due() => return Err(Failure::stopped("hop status")),
                Ok(None) if Instant::now() < end => thread::sleep(LOCK_PAUSE),
                Ok(None) => {
                    let what = format!("{} is in use", dir.display());
                    let why = "another hop is changing keys";
                    return Err(Failure::new(Fault::Exists, what, why, "hop status"));
                }
                Err(error) => return Err(Failure::io("lock", dir, &error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_write() {
        let dir = std::env::temp_dir().join(format!("hopbox-sweep-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let file = |name: String| fs::write(dir.join(name), "half").unwrap();
        file(format!(".key.{}-0.tmp", gone.id()));
        let kept = [
            format!(".key.{}-99.tmp", std::process::id()),
            format!(".other.{}-0.tmp", gone.id()),
            ".key.tmp".to_owned(),
        ];
        kept.iter().cloned().for_each(file);
        replace(&dir.join("key"), b"whole").unwrap();
        let mut left: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        let mut expected = [&kept[..], &["key".to_owned()]].concat();
        expected.sort();
        assert_eq!(left, expected);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn replaces_whole_files_and_creates_only_new_ones() {
        let dir = std::env::temp_dir().join(format!("hopbox-atomic-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("file");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        assert_eq!(create(&path, b"x").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        create(&dir.join("other"), b"x").unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "no temporary file stays behind");

        assert_eq!(read_private(&path).unwrap().as_str(), "two");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_private(&path).err().unwrap();
        assert_eq!(error.next, fix!("chmod 600 {}", path));
        Beside::write(&path, b"#!/bin/sh\n", 0o755, None).unwrap().replace().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
        assert!(std::process::Command::new(&path).status().unwrap().success(), "closed, and whole");
        // One that could not take its place is not left.
        fs::create_dir(dir.join("dir")).unwrap();
        assert!(replace(&dir.join("dir"), b"x").is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        fs::remove_dir_all(&dir).unwrap();
    }
}
