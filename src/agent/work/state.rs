//! What the agent keeps of workspaces: `$XDG_STATE_HOME/hopbox-agent/WORKSPACE/` of the login, for
//! nobody else to read. `desired.json` says what was asked for last, `generation` counts the
//! changes that were made, `setup` is the digest of the hook that has run. In a directory for each
//! service are its keeper's files, `made.json` (of what it was started), and `wanted` while it is
//! to run, also after a reboot.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::base::file;
use crate::base::json::Fields;
use crate::sys::lock::Lock;
use crate::sys::{bounded, process};
use crate::workspace::desired::{ServiceDigest, TEXT_BYTES};
use crate::workspace::digest::Digest;
use crate::workspace::manifest::{Desired, Service};

const ROOM: &str = "hopbox-agent";
const DESIRED: &str = "desired.json";
const WANTED: &str = "wanted";
const CHANGE: &str = "change.lock";
const GENERATION: &str = "generation";
const SETUP: &str = "setup";
const SERVICES: &str = "services";
const MADE: &str = "made.json";
const SMALL_BYTES: u64 = 64 * 1024;
/// More than anybody has.
const WORKSPACES: usize = 256;

fn given(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute())
}

/// Of this login.
pub fn home() -> Option<PathBuf> {
    given("HOME").or_else(|| process::login().map(|login| login.home.into()))
}

/// Below the login's own directory of state, for nobody else to read.
pub fn own_dir() -> io::Result<PathBuf> {
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

    /// Nothing is wanted of it any more.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name).join(DESIRED)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn small(&self, name: &str, file: &str) -> Option<String> {
        let bytes = bounded::read(self.0.join(name).join(file), SMALL_BYTES).ok()?;
        Some(String::from_utf8(bytes).ok()?.trim().to_owned())
    }

    /// How often something was changed in a workspace.
    pub fn generation(&self, name: &str) -> u64 {
        self.small(name, GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Somebody has changed something.
    pub fn changed(&self, name: &str) -> io::Result<()> {
        // One process at a time counts.
        static COUNTING: Mutex<()> = Mutex::new(());
        let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.generation(name).saturating_add(1);
        file::replace(&self.0.join(name).join(GENERATION), next.to_string().as_bytes())
    }

    /// Of the setup hook that has run.
    pub fn setup(&self, name: &str) -> Option<Digest> {
        self.small(name, SETUP)?.parse().ok()
    }

    pub fn put_setup(&self, name: &str, digest: Digest) -> io::Result<()> {
        file::replace(&self.0.join(name).join(SETUP), digest.to_string().as_bytes())
    }

    /// Whoever changes the workspace as a whole is alone; nothing if another is at it.
    pub fn change(&self, name: &str) -> io::Result<Option<Lock>> {
        let dir = self.0.join(name);
        private_dir(&dir)?;
        Lock::take(&dir.join(CHANGE))
    }

    /// All that is kept of a service, which has ended.
    pub fn remove_service(&self, name: &str, service: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.0.join(name).join(SERVICES).join(service)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Of what a service was started.
pub struct Made {
    pub digest: ServiceDigest,
    pub ports: BTreeSet<u16>,
}

impl Made {
    pub fn of(desired: &Desired, name: &str, service: &Service) -> Made {
        let ports = service.ports.iter().map(|port| port.published).collect();
        Made { digest: desired.digest_of(name, service), ports }
    }

    fn read(text: &str) -> Option<Made> {
        let mut fields = Fields::parse(text).ok()?;
        let run = fields.meant("run", str::parse).ok()?;
        let all = fields.meant("all", str::parse).ok()?;
        let Some(Value::Array(ports)) = fields.take("ports") else { return None };
        let port = |port: &Value| u16::try_from(port.as_u64()?).ok();
        let ports = ports.iter().map(port).collect::<Option<_>>()?;
        Some(Made { digest: ServiceDigest { run, all }, ports })
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
        ServiceDir(self.dir.join(SERVICES).join(name))
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

    pub fn made(&self) -> Option<Made> {
        let bytes = bounded::read(self.0.join(MADE), SMALL_BYTES).ok()?;
        Made::read(&String::from_utf8(bytes).ok()?)
    }

    pub fn put_made(&self, made: &Made) -> io::Result<()> {
        let ServiceDigest { run, all } = made.digest;
        let (run, all) = (run.to_string(), all.to_string());
        let json = json!({"run": run, "all": all, "ports": made.ports});
        file::replace(&self.0.join(MADE), json.to_string().as_bytes())
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
pub fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = fs::symlink_metadata(dir)?;
    if found.is_dir() && found.uid() == process::uid() && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("{} must be a directory that only this user can enter", dir.display());
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}
