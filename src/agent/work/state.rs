//! What the agent keeps of workspaces: `$XDG_STATE_HOME/hopbox-agent/WORKSPACE/` of the login, for
//! nobody else to read. `desired.json` says what was asked for last; in a directory for each
//! service are its keeper's files, and `wanted` while it is to run, also after a reboot.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::file;
use crate::sys::lock::Lock;
use crate::sys::{bounded, process};
use crate::workspace::desired::TEXT_BYTES;
use crate::workspace::manifest::Desired;

const ROOM: &str = "hopbox-agent";
const DESIRED: &str = "desired.json";
const WANTED: &str = "wanted";
const CHANGE: &str = "change.lock";
/// More than anybody has.
const WORKSPACES: usize = 256;

/// Below the login's own directory of state, for nobody else to read.
pub fn own_dir() -> io::Result<PathBuf> {
    let given = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || given("HOME").or_else(|| process::login().map(|login| login.home.into()));
    let state = given("XDG_STATE_HOME").or_else(|| home().map(|home| home.join(".local/state")));
    Ok(state.ok_or(ErrorKind::NotFound)?.join(ROOM))
}

/// Where all workspaces are.
pub struct Room(PathBuf);

impl Room {
    /// Of this login.
    pub fn own() -> io::Result<Room> {
        own_dir().map(Room)
    }

    /// Every workspace that was asked for.
    pub fn workspaces(&self) -> Vec<Workspace> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten().take(WORKSPACES);
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.iter().filter_map(|name| self.workspace(name).ok()).collect()
    }

    pub fn workspace(&self, name: &str) -> io::Result<Workspace> {
        let dir = self.0.join(name);
        let bytes = bounded::read(dir.join(DESIRED), TEXT_BYTES as u64)?;
        let bad = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        let desired = Desired::read(&json).map_err(|wrongs| bad(format!("{wrongs:?}")))?;
        match desired.workspace == name {
            true => Ok(Workspace { dir, desired }),
            false => Err(bad(format!("it is of workspace {:?}", desired.workspace))),
        }
    }

    /// From now on this is what is wanted.
    pub fn put(&self, desired: &Desired) -> io::Result<()> {
        let dir = self.0.join(&desired.workspace);
        private_dir(&dir)?;
        file::replace(&dir.join(DESIRED), desired.text().as_bytes())
    }
}

#[derive(Clone)]
pub struct Workspace {
    dir: PathBuf,
    pub desired: Desired,
}

impl Workspace {
    /// The directory of one of its services; it may not be there yet.
    pub fn service(&self, name: &str) -> ServiceDir {
        ServiceDir(self.dir.join("services").join(name))
    }
}

pub struct ServiceDir(PathBuf);

impl ServiceDir {
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn make(&self) -> io::Result<()> {
        private_dir(&self.0)
    }

    /// Whoever changes the service is alone; nothing if another is at it.
    pub fn change(&self) -> io::Result<Option<Lock>> {
        self.make()?;
        Lock::take(&self.0.join(CHANGE))
    }

    pub fn is_wanted(&self) -> bool {
        self.0.join(WANTED).exists()
    }

    pub fn want(&self, is_wanted: bool) -> io::Result<()> {
        let path = self.0.join(WANTED);
        if is_wanted {
            return if path.exists() { Ok(()) } else { file::replace(&path, b"") };
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// For this user alone.
fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = fs::symlink_metadata(dir)?;
    if found.is_dir() && found.uid() == process::uid() && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("{} must be a directory that only this user can enter", dir.display());
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}
