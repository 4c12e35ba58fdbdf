//! Where the agent's files are, those of an older release too, and the directory that is its own.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use crate::base::failure::{Failure, Fault};
use crate::fix;

/// The agent's own directory: its file, its keys, and what outlives a restart.
pub const DIR: &str = "/var/lib/hopbox-agent";
pub const FILE: &str = "agent.json";
/// Root's: what it allows the helper, and nothing else.
pub const OLD_DIR: &str = "/etc/hopbox";

/// Nothing of ours is a directory; the agent's user could have made one.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir())
}

/// The agent's file.
pub fn located() -> PathBuf {
    now(&Path::new(OLD_DIR).join(FILE))
}

/// The same for whoever found it a while ago.
pub fn now(file: &Path) -> PathBuf {
    let is_old = file.parent() == Some(Path::new(OLD_DIR));
    if is_old && !is_there(file) { Path::new(DIR).join(FILE) } else { file.to_owned() }
}

/// The directory of what outlives a restart.
pub fn state_of(file: &Path) -> PathBuf {
    let dir = file.parent().unwrap_or(Path::new("/"));
    if dir == Path::new(OLD_DIR) { DIR.into() } else { dir.to_owned() }
}

pub fn dir_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

pub fn make_dir(dir: &Path, mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| super::io("prepare", dir, &error);
    DirBuilder::new().recursive(true).mode(0o755).create(dir_of(dir)).map_err(failed)?;
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The agent's directory becomes its user's. What is there already is not given away, unless it
/// is root's own from a setup that was cut off, and holds nothing else.
pub fn give_dir(dir: &Path, owner: (u32, u32)) -> Result<(), Failure> {
    make_dir(dir, 0o700)?;
    let failed = |error: std::io::Error| super::io("prepare", dir, &error);
    let found = fs::symlink_metadata(dir).map_err(failed)?;
    if found.is_dir() && found.uid() == owner.0 {
        return Ok(());
    }
    let ours = |name: &str| name.starts_with("agent.") || name.starts_with(".agent.");
    let cut_off = || {
        let mut names = fs::read_dir(dir).into_iter().flatten().flatten();
        found.mode() & 0o7777 == 0o700 && names.all(|e| ours(&e.file_name().to_string_lossy()))
    };
    if !found.is_dir() || found.uid() != 0 || !cut_off() {
        let what = format!("{} cannot be used", dir.display());
        let why = format!("it must be a directory of user {}, who has the agent's files", owner.0);
        let next = fix!("sudo chown {} {}", format!("{}:{}", owner.0, owner.1), dir);
        return Err(Failure::new(Fault::Usage, &what, why, next));
    }
    lchown(dir, Some(owner.0), Some(owner.1)).map_err(failed)
}
