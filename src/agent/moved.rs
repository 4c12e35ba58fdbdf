//! Files of an older release. It kept the agent's file and keys in `/etc/hopbox`, which its user
//! therefore had to be able to write; now that directory is root's alone, and they have their own.
//!
//! They move when root runs `start` or `setup`. The old place counts as long as it has an
//! `agent.json`: everything is copied before that file is removed, and nothing is removed before,
//! so that whoever is killed at whatever moment leaves one whole pair, and `location` finds it.
//! Where the older program is put back, `give_back.sh` takes them back in the same order.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use super::config::{KEY_FILE, NEW_KEY_FILE, OLD_KEY_FILE};
use super::exec::{run, warn};
use super::location::{DIR, FILE, OLD_DIR, give_dir, is_there};
use super::store::Store;
use super::{config, install, read_checked};
use crate::base::failure::Failure;
use crate::base::file;
use crate::sys;

/// What an older release made where the login's own group was shared.
const OLD_GROUP: &str = "hopbox-agent";
/// The one that the others are named by comes last.
const NAMES: [&str; 4] = [OLD_KEY_FILE, NEW_KEY_FILE, KEY_FILE, FILE];
const GIVE_BACK: &str = include_str!("give_back.sh");

/// Moves what an older release left. True if there was something.
pub fn take_in() -> Result<bool, Failure> {
    let (old, new) = (Path::new(OLD_DIR), Path::new(DIR));
    let there: Vec<&str> = NAMES.into_iter().filter(|name| is_there(&old.join(name))).collect();
    if !there.is_empty() {
        let _lock = Store::lock(&old.join(FILE))?;
        // Without their file, keys are of a setup that was cut off, or of a move.
        if is_there(&old.join(FILE)) || !is_there(&new.join(FILE)) {
            copy(old, new)?;
        }
        for name in NAMES.iter().rev() {
            remove(&old.join(name))?;
        }
        install::leftovers(old, &mut Vec::new())?;
    }
    close();
    Ok(!there.is_empty())
}

/// Each file as it is: whether a key is damaged is for whoever needs it.
fn copy(old: &Path, new: &Path) -> Result<(), Failure> {
    let first = NAMES.iter().rev().find_map(|name| fs::symlink_metadata(old.join(name)).ok());
    let owner = first.map_or((0, 0), |found| (found.uid(), found.gid()));
    give_dir(new, owner)?;
    let _lock = Store::lock(&new.join(FILE))?;
    for name in NAMES {
        let (from, to) = (old.join(name), new.join(name));
        if !is_there(&from) {
            remove(&to)?;
            continue;
        }
        let (text, _) = read_checked::read(&from, Some(owner.0)).map_err(config::refuse)?;
        let put = file::replace_for(&to, text.as_bytes(), Some(owner));
        put.map_err(|error| super::io("write", &to, &error))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.and_then(|()| File::open(dir)?.sync_all()),
    };
    removed.map_err(|error| super::io("remove", path, &error))
}

/// The directory is root's to write. As long as files of the agent's are in it, it stays shared.
pub fn close() {
    let old = Path::new(OLD_DIR);
    let shut = || {
        let dir = sys::open_no_link(old)?;
        let found = dir.metadata()?;
        if found.is_dir() && found.uid() == 0 && found.mode() & 0o1022 != 0 {
            fchown(&dir, None, Some(0))?;
            dir.set_permissions(Permissions::from_mode(0o755))?;
        }
        Ok::<(), std::io::Error>(())
    };
    if !is_there(&old.join(FILE)) && old.is_dir() {
        if let Err(error) = shut() {
            warn(&super::io("close", old, &error));
        }
    }
}

/// Puts the files where `program` looks for them, if that is of an older release.
pub fn give_back(program: &str) -> Result<(), Failure> {
    run("sh", &["-c", &format!("{GIVE_BACK}give_back \"$1\""), "sh", program]).map(drop)
}

/// The group is of no use any more, once no older release can be put back.
pub fn forget_group() {
    if run("getent", &["group", OLD_GROUP]).is_ok() {
        if let Err(failure) = run("groupdel", &[OLD_GROUP]) {
            warn(&failure);
        }
    }
}
