//! The one file of what outlives a daemon, in a directory that is its alone while the value lives.
//! It is replaced as a whole: it is always the old one or the new one. Must not know: what it
//! says.

use crate::core::files;
use crate::core::start::locked;
use crate::proto::{Code, OpError};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "state.json";
const TEMPORARY: &str = "state.json.new";

pub struct StateFile {
    pub path: PathBuf,
    _lock: File,
    /// Why the last write failed.
    pub trouble: Option<String>,
}

impl StateFile {
    pub fn open(dir: &Path) -> Result<StateFile, String> {
        let lock = locked(dir, "lock", &format!("another helper uses {}", dir.display()))?;
        // What a daemon left that was killed while it wrote.
        let _ = fs::remove_file(dir.join(TEMPORARY));
        Ok(StateFile { path: dir.join(NAME), _lock: lock, trouble: None })
    }

    /// What is in it, up to this many bytes; `None` where there is no file.
    pub fn read(&self, max: u64) -> Result<Option<Vec<u8>>, String> {
        match files::read(&self.path, max) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(|e| e.to_string()),
        }
    }

    /// Returns when the file and its name are on the disk.
    pub fn replace(&mut self, text: &str) -> Result<(), OpError> {
        let result = files::replace(&self.path, TEMPORARY, text.as_bytes(), |_| Ok(()));
        self.trouble = result.as_ref().err().map(|e| format!("write {}: {e}", self.path.display()));
        result.map_err(|_| OpError::new(Code::InternalError, "the state cannot be written"))
    }
}
