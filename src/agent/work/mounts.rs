//! What is mounted for a service, from before it starts until it is removed. A file in its
//! directory says never less than there is, so that what was mounted for it ends with it, whoever
//! was killed meanwhile. Must not know: who mounts.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agent::mounts;
use crate::base::file;
use crate::sys::bounded;
use crate::workspace::manifest::Mount;

const FILE: &str = "mounts";
const FILE_BYTES: u64 = 64 * 1024;

/// An error is a sentence for whoever asked.
type Done<T> = Result<T, String>;

/// Has these mounted, and of what was before nothing else. The service does not run.
pub fn settle(dir: &Path, wanted: &[Mount]) -> Done<()> {
    let had = read(dir).map_err(|error| format!("what is mounted cannot be read: {error}"))?;
    if had.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    let new: Vec<Value> = wanted.iter().map(Mount::to_json).collect();
    let is_new = |one: &&Value| !had.contains(*one);
    let mut all = had.clone();
    all.extend(new.iter().filter(is_new).cloned());
    put(dir, &all)?;
    for old in had.iter().filter(|old| !new.contains(old)) {
        end(old)?;
        all.retain(|one| one != old);
    }
    for (at, (mount, one)) in wanted.iter().zip(&new).enumerate() {
        if let Err(why) = make(mount, had.contains(one)) {
            // Nobody runs in what was mounted just now.
            new.iter().take(at).filter(is_new).try_for_each(end)?;
            all.retain(|one| had.contains(one));
            put(dir, &all)?;
            return Err(why);
        }
    }
    put(dir, &new)
}

/// One that is there and not its own is another's.
fn make(mount: &Mount, is_own: bool) -> Done<()> {
    let path = &mount.path;
    let unable = |why: String| format!("~/{path} is not mounted: {why}");
    let home = std::env::var_os("HOME").ok_or_else(|| unable("this login has no home".into()))?;
    let place = PathBuf::from(home).join(path);
    fs::create_dir_all(&place).map_err(|error| unable(error.to_string()))?;
    match mounts::mount(mount).map_err(unable)? {
        false if !is_own => Err(unable("another service has it there".to_owned())),
        _ => Ok(()),
    }
}

fn end(mount: &Value) -> Done<()> {
    let path = mount.get("path").and_then(Value::as_str).unwrap_or_default();
    let below = path.strip_prefix("~/").unwrap_or(path);
    mounts::unmount(below).map_err(|why| format!("{path} is not unmounted: {why}"))
}

fn read(dir: &Path) -> io::Result<Vec<Value>> {
    match bounded::read(dir.join(FILE), FILE_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        bytes => serde_json::from_slice(&bytes?).map_err(Into::into),
    }
}

fn put(dir: &Path, all: &[Value]) -> Done<()> {
    let written = file::replace(&dir.join(FILE), json!(all).to_string().as_bytes());
    written.map_err(|error| format!("cannot write: {error}"))
}
