//! `~/.ssh/config`: our block in it, and nothing else of it changed.
//!
//! The file is replaced by a rename beside it, so ssh sees the old one or the new one. A symbolic
//! link stays: what it leads to is replaced. Mode and owner stay as they are. What somebody else
//! writes between our reading and our rename is noticed and kept.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::config_block::{self, Damaged, Stanza};
use super::{directives, quote};
use crate::base::failure::{Failure, Fault};
use crate::base::file::Beside;
use crate::fix;

/// Larger files are not configuration.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Symbolic links followed, as the kernel does.
const LINKS: usize = 40;
/// How often to begin again because somebody else wrote at the same time.
const TRIES: usize = 5;

/// What ssh needs to know of one host.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Such as `mybox.hop`.
    pub name: &'a str,
    pub user: Option<&'a str>,
    pub keys: Keys,
    pub port: u16,
    /// The name of its pinned keys and the file they are in; `None` where none were recorded.
    pub pinned: Option<(&'a str, &'a Path)>,
}

/// The user's keys for one host.
#[derive(Clone, Debug)]
pub enum Keys {
    /// This file, and no other before it.
    File(String),
    /// As they stand in the user's configuration; none where ssh's own are meant.
    Listed(Vec<String>),
}

impl Entry<'_> {
    fn stanza(&self) -> Result<Stanza, Failure> {
        let line = |option: &str, value: &str, written: Option<String>| {
            written.map(|written| format!("{option} {written}")).ok_or_else(|| unwritable(value))
        };
        let mut options = vec![format!("HostName {}", self.name), format!("Port {}", self.port)];
        if let Some(user) = self.user {
            options.push(line("User", user, quote::argument(user))?);
        }
        match &self.keys {
            Keys::File(file) => {
                options.push(line("IdentityFile", file, quote::path(file))?);
                options.push("IdentitiesOnly yes".to_owned());
            }
            Keys::Listed(keys) => {
                for key in keys {
                    options.push(line("IdentityFile", key, quote::argument(key))?);
                }
            }
        }
        if let Some((alias, file)) = self.pinned {
            let file = file.to_str().ok_or_else(|| unwritable(&file.to_string_lossy()))?;
            options.push(format!("HostKeyAlias {alias}"));
            options.push(line("UserKnownHostsFile", file, quote::path(file))?);
            options.push("StrictHostKeyChecking yes".to_owned());
        }
        options.extend(directives::lines(self.pinned.is_some()));
        Ok(Stanza { name: self.name.to_owned(), options })
    }
}

fn unwritable(value: &str) -> Failure {
    let what = format!("{value:?} cannot be written to ssh's configuration");
    let why = "ssh has no way to quote control characters and ${ in it";
    Failure::new(Fault::Config, what, why, "hop host ls")
}

/// The file that ssh(1) reads where `HOME` is the user's home.
pub fn default_path() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute())
        .map(|home| home.join(".ssh/config"))
}

/// Puts a host into the block. False when it was there already, word for word.
pub fn install(path: &Path, entry: &Entry<'_>) -> Result<bool, Failure> {
    let stanza = entry.stanza()?;
    edit(path, |text, made| config_block::with(text, &stanza, made).map(Some))
}

/// Whether a host is in the block.
pub fn knows(path: &Path, name: &str) -> Result<bool, Failure> {
    let text = read(path).map_err(|error| Failure::io("read", path, &error))?;
    config_block::has(&text.unwrap_or_default(), name).map_err(|damage| damaged(path, &damage))
}

/// Whether these words stand in the file.
pub fn mentions(path: &Path, words: &str) -> bool {
    let text = read(path).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).contains(words)
}

/// Takes one host, or all of them, out of the file. False when there was nothing.
pub fn remove(path: &Path, name: Option<&str>) -> Result<bool, Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        _ => {}
    }
    edit(path, |text, _| config_block::without(text, name))
}

/// Reads, edits and replaces. `change` is told whether the file is new; `None` removes it.
fn edit(
    path: &Path,
    change: impl Fn(&[u8], bool) -> Result<Option<Vec<u8>>, Damaged>,
) -> Result<bool, Failure> {
    let target = resolve(path).map_err(|error| Failure::io("find", path, &error))?;
    for _ in 0..TRIES {
        let old = read(&target).map_err(|error| Failure::io("read", path, &error))?;
        let text = old.as_deref().unwrap_or_default();
        let new = change(text, old.is_none()).map_err(|damage| damaged(path, &damage))?;
        if old.as_deref() == new.as_deref() {
            return Ok(false);
        }
        match replace(&target, old.as_deref(), new.as_deref()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(Failure::io("change", path, &error)),
            Ok(()) => return Ok(true),
        }
    }
    let why = "somebody else keeps writing it";
    let what = format!("cannot change {}", path.display());
    Err(Failure::new(Fault::Failed, what, why, fix!("ls -l {}", path)))
}

fn damaged(path: &Path, damage: &Damaged) -> Failure {
    let what = format!("the hopbox block in {} is damaged", path.display());
    let line = damage.begins.iter().chain(&damage.ends).min().copied().unwrap_or(1);
    let next = fix!("${EDITOR:-vi} +{} {}", line, path);
    Failure::new(Fault::Config, what, damage.to_string(), next)
}

/// Where the links lead to, whether or not something is there.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("/")).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES} bytes")));
    }
    Ok(Some(text))
}

/// `WouldBlock` when the file is no longer `old`.
fn replace(path: &Path, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if old.is_none() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let Some(new) = new else {
        return fs::remove_file(path);
    };
    let like = fs::metadata(path).ok();
    let mode = like.as_ref().map_or(0o600, |like| like.mode() & 0o7777);
    let owner = like.map(|like| (like.uid(), like.gid()));
    let beside = Beside::write(path, new, mode, owner)?;
    match read(path)?.as_deref() == old {
        true => beside.replace(),
        false => Err(ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests;
