//! The files of the laptop's hosts on disk: their names, reading and writing one, the default host
//! (`config.json`), new keys, and forgetting a host.
//!
//! A host file names its key file, so that one replaced file is a new pair of keys: the new key is
//! written first, under a name of its own, then the host file that names it takes the old one's
//! place. Killed in between, the old pair is untouched. See `agent/store.rs` for the other side,
//! which accepts both pairs until it has heard of the new one. Nothing that reads writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::config::{self, HostConfig};
use super::paths::Paths;
use crate::base::failure::{Failure, Fault};
use crate::base::field::check_name;
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, KEY_BYTES, Secret};
use crate::fix;

/// Most hosts a user can have; the address plan numbers them 0 to 255.
const HOSTS: usize = 256;
/// Of `config.json`.
const DEFAULT_SCHEMA: u32 = 1;
/// How often host and key are read while somebody renews them.
const TRIES: usize = 5;

/// The names of all hosts, sorted.
pub fn names(paths: &Paths) -> Result<Vec<String>, Failure> {
    let dir = paths.hosts_dir();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io("list", &dir, &error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(4 * HOSTS) {
        let entry = entry.map_err(|error| Failure::io("list", &dir, &error))?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        if check_name(name).is_ok() {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The numbers of the other hosts, and that of `host` where it has one.
pub fn numbers(paths: &Paths, host: &str) -> Result<(BTreeSet<u8>, Option<u8>), Failure> {
    let (mut taken, mut own) = (BTreeSet::new(), None);
    for name in names(paths)? {
        let number = load(paths, &name)?.number;
        if name == host {
            own = Some(number);
        } else {
            taken.insert(number);
        }
    }
    Ok((taken, own))
}

/// Reads one host file; its name must be the name inside it.
pub fn load(paths: &Paths, name: &str) -> Result<HostConfig, Failure> {
    if let Err(why) = check_name(name) {
        return Err(Failure::new(Fault::Config, format!("no host {name:?}"), why, "hop host ls"));
    }
    let path = paths.host_file(name);
    let text = file::read_private(&path)?;
    let host = config::parse(&text).map_err(|error| match config::is_newer(&text) {
        true => Failure { fault: Fault::Newer, ..fault(&path, &error) },
        false => fault(&path, &error),
    })?;
    if host.name != name {
        let error = ReadError { key: "name".to_owned(), why: format!("must be {name:?} here") };
        return Err(fault(&path, &error));
    }
    Ok(host)
}

/// The host and its own key, which belong together.
pub fn load_with_key(paths: &Paths, name: &str) -> Result<(HostConfig, Secret), Failure> {
    let mut host = load(paths, name)?;
    for _ in 1..TRIES {
        match key::load(&paths.keys_dir().join(&host.key_file)) {
            Ok(key) => return Ok((host, key)),
            // Renewed after the host file was read, and gone with the old host file?
            Err(error) if error.fault == Fault::NotFound => {
                let again = load(paths, name)?;
                if again.key_file == host.key_file {
                    return Err(error);
                }
                host = again;
            }
            Err(error) => return Err(error),
        }
    }
    let what = format!("the keys of {name} change all the time");
    Err(Failure::new(Fault::Exists, what, "another hop is at work", "hop status"))
}

/// Where the key of a host is.
pub fn key_file(paths: &Paths, name: &str) -> PathBuf {
    paths.keys_dir().join(key_file_name(paths, name))
}

/// Without a host file that can be read: the one that is there, if it is alone, else the first.
pub fn key_file_name(paths: &Paths, name: &str) -> String {
    if let Ok(host) = load(paths, name) {
        return host.key_file;
    }
    match &key_files(paths, name)[..] {
        [alone] => alone.clone(),
        _ => config::first_key_file(name),
    }
}

/// The names of all key files of a host.
fn key_files(paths: &Paths, name: &str) -> Vec<String> {
    let files = files_in(&paths.keys_dir()).into_iter();
    files.filter(|file| config::key_file_of(name, file).is_ok()).collect()
}

fn files_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Writes one host file, atomically. What could not be read back is not written.
pub fn save(paths: &Paths, host: &HostConfig) -> Result<(), Failure> {
    paths.ensure_config()?;
    let path = paths.host_file(&host.name);
    check(&path, host)?;
    let text = Zeroizing::new(format!("{:#}\n", config::to_json(host)));
    file::replace(&path, text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))
}

/// Writes a host with a new key of its own, whose public half is `public`: from the moment that the
/// host file is replaced the new pair is the host's. The caller has the hosts to itself.
pub fn renew(
    paths: &Paths,
    host: &mut HostConfig,
    new: &Secret,
    public: &[u8; KEY_BYTES],
) -> Result<(), Failure> {
    paths.ensure_config()?;
    let renewed = HostConfig { key_file: config::new_key_file(&host.name, public), ..host.clone() };
    check(&paths.host_file(&host.name), &renewed)?;
    key::store_new(&paths.keys_dir().join(&renewed.key_file), new)?;
    save(paths, &renewed)?;
    // Nothing names the others any more: old ones, and what renewals left that were cut off.
    let start = format!("{}.", host.name);
    for file in files_in(&paths.keys_dir()) {
        let whole = file.strip_prefix('.').unwrap_or(&file);
        if whole.starts_with(&start) && file != renewed.key_file {
            let _ = fs::remove_file(paths.keys_dir().join(file));
        }
    }
    *host = renewed;
    Ok(())
}

/// Whether a host, part of which a server may have said, is one that a file of ours can hold.
fn check(path: &Path, host: &HostConfig) -> Result<(), Failure> {
    let read = Fields::of(config::to_json(host), "").and_then(config::read);
    read.map(drop).map_err(|error| fault(path, &error))
}

/// Removes all files of a host, which begin with its name and a dot; those of its own directory
/// last, so that it can be tried again by name.
pub fn forget(paths: &Paths, name: &str) -> Result<Vec<String>, Failure> {
    let (keys, tunnels, hosts) = (paths.keys_dir(), paths.tunnels_dir(), paths.hosts_dir());
    let bridges = paths.bridges_dir();
    let dirs = [keys.as_path(), &tunnels, &bridges].into_iter().chain(paths.session_places());
    let mut removed = Vec::new();
    for dir in dirs.chain([hosts.as_path()]) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, file) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            // Also what a write that was cut off left.
            let file = file.strip_prefix('.').unwrap_or(&file);
            if !file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path.display().to_string()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::io("remove", &path, &error)),
            }
        }
    }
    Ok(removed)
}

/// The default host named in `config.json`, if any.
pub fn default_host(paths: &Paths) -> Result<Option<String>, Failure> {
    let path = paths.config_file();
    let text = match file::read_private(&path) {
        Err(error) if error.fault == Fault::NotFound => return Ok(None),
        other => other?,
    };
    let read = || {
        let mut fields = Fields::parse(&text)?;
        fields.int::<u32>("version", DEFAULT_SCHEMA..=DEFAULT_SCHEMA)?;
        let name =
            fields.opt_meant("default_host", |text| check_name(text).map(|()| text.to_owned()))?;
        fields.finish()?;
        Ok(name)
    };
    read().map_err(|error| fault(&path, &error))
}

/// Makes `name` the default host, or no host with `None`.
pub fn set_default_host(paths: &Paths, name: Option<&str>) -> Result<(), Failure> {
    paths.ensure_config()?;
    let path = paths.config_file();
    let mut fields = Map::new();
    fields.insert("version".to_owned(), json!(DEFAULT_SCHEMA));
    if let Some(name) = name {
        fields.insert("default_host".to_owned(), json!(name));
    }
    let text = format!("{:#}\n", Value::Object(fields));
    file::replace(&path, text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))
}

fn fault(path: &Path, error: &ReadError) -> Failure {
    let what = format!("{} is not valid", path.display());
    Failure::new(Fault::Config, what, error.to_string(), fix!("${EDITOR:-vi} {}", path))
}

#[cfg(test)]
mod tests;
