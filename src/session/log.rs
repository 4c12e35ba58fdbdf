//! A session's own words: on the terminal of one that has a terminal, else in a file of bounded
//! size. A full disk must not end a tunnel, so nothing here can fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::locale;
use crate::base::time_text::{local, utc};
use crate::host::paths::Paths;
use crate::sys::{clock, process};
use crate::text::shown;

/// A log that is longer becomes `<name>.log.1`, in place of an older one.
const LOG_BYTES: u64 = 1024 * 1024;

static LOG: Mutex<Option<Log>> = Mutex::new(None);

struct Log {
    path: PathBuf,
    file: File,
    length: u64,
}

/// One line with its moment; a terminal has it in its own time.
pub fn log(text: &str) {
    let (secs, _) = clock::wall();
    let kept = LOG.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    line(&format!("{} {text}", if kept { utc(secs) } else { local(secs) }));
}

/// A line for the user.
pub fn line(text: &str) {
    let text = format!("{}\n", shown(text));
    match &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(log) => log.write(text.as_bytes()),
        None => drop(io::stderr().write_all(locale::text(&text).as_bytes())),
    }
}

/// Opens the log of a host: beside its other state, or in the runtime directory where that cannot
/// be written.
pub fn open(paths: &Paths, name: &str) -> io::Result<(PathBuf, File)> {
    let usual = paths.log_file(name);
    let opened = paths.ensure_state().map_err(io::Error::other).and_then(|()| open_at(&usual));
    match opened {
        Ok(file) => Ok((usual, file)),
        Err(error) => {
            let other = paths.runtime_log_file(name);
            let file = paths.ensure_runtime().map_err(io::Error::other);
            file.and_then(|()| open_at(&other)).map(|file| (other, file)).map_err(|_| error)
        }
    }
}

/// From now on everything goes to the host's log file, and standard error, too.
pub fn keep(paths: &Paths, name: &str) -> io::Result<()> {
    let (path, file) = open(paths, name)?;
    let log = Log::new(path, file)?;
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
    Ok(())
}

impl Log {
    fn new(path: PathBuf, file: File) -> io::Result<Log> {
        process::stderr_to(&file)?;
        Ok(Log { path, length: file.metadata()?.len(), file })
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.length >= LOG_BYTES {
            // Where that fails the log stays as long as it is, and nothing is added.
            if self.turn_over().is_err() {
                return;
            }
        }
        if self.file.write_all(bytes).is_ok() {
            self.length += bytes.len() as u64;
        }
    }

    fn turn_over(&mut self) -> io::Result<()> {
        fs::rename(&self.path, self.path.with_extension("log.1"))?;
        let file = open_at(&self.path)?;
        *self = Log::new(std::mem::take(&mut self.path), file)?;
        Ok(())
    }
}

fn open_at(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
