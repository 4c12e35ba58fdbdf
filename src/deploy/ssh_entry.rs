//! What this laptop's own ssh(1) knows of a host: its part of ~/.ssh/config, and the host keys that
//! setup pinned.

use std::path::{Path, PathBuf};

use super::console::Console;
use super::verify;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::{HostConfig, hop_name};
use crate::host::paths::{self, Paths};
use crate::ssh::config::{self, Entry, Keys};
use crate::ssh::known_hosts;
pub use crate::ssh::query::has_path;

/// Writes what this laptop's ssh(1) is told of a host. True where that is new.
pub fn write(console: &mut dyn Console, paths: &Paths, host: &HostConfig) -> Result<bool, Failure> {
    let default = config::default_path().ok_or_else(|| {
        let why = "HOME holds no absolute path";
        Failure::new(Fault::Usage, "cannot find ~/.ssh/config", why, paths::say_home())
    })?;
    // What keeps one from being read keeps it from being written, too.
    let file = told_in(paths, &host.name).ok().flatten().unwrap_or(default);
    let pinned = known_hosts::pinned(&paths.known_hosts(), &host.name)?;
    if pinned.is_none() {
        let text = format!(
            "the host keys of {0} were not recorded: ssh will ask. hop setup {0} records them",
            host.name
        );
        console.warn("host_keys_not_pinned", &text);
    }
    // A name of the tunnel's does not match what the user wrote for the server's.
    let own = match &host.identity {
        Some(file) => Keys::File(file.clone()),
        None => Keys::Listed(verify::target(paths, host)?.settled()?.identities()?),
    };
    let name = host.hop_name();
    let entry = Entry {
        name: &name,
        user: host.user.as_deref(),
        keys: own,
        port: host.ssh.as_ref().map_or(22, |ssh| ssh.listens),
        pinned: pinned.as_ref().map(|(alias, file)| (alias.as_str(), file.as_path())),
    };
    let written = config::install(&file, &entry);
    match written {
        Ok(true) => console.say(&format!("{} has {name} in the hopbox block", file.display())),
        Err(failure) if failure.fault == Fault::Failed => {
            return beside(paths, &file, &entry, failure);
        }
        _ => {}
    }
    written
}

/// Where ~/.ssh/config is not to be changed, as that of home-manager: a file that it can include.
fn beside(paths: &Paths, file: &Path, entry: &Entry, failure: Failure) -> Result<bool, Failure> {
    paths.ensure_config()?;
    let own = paths.ssh_config();
    let written = config::install(&own, entry)?;
    if is_included(&own, file) {
        return Ok(written);
    }
    let why = format!("{}; have `Include {}` stand first in it", failure.why, own.display());
    Err(Failure { why, next: fix!("ssh -F {} {}", own, entry.name), ..failure })
}

fn is_included(own: &Path, file: &Path) -> bool {
    config::mentions(file, &own.to_string_lossy())
}

/// Whether ssh(1) is told of a host already.
pub fn is_written(paths: &Paths, host: &str) -> Result<bool, Failure> {
    told_in(paths, host).map(|file| file.is_some())
}

/// The file in which ssh(1) is told of a host already.
fn told_in(paths: &Paths, host: &str) -> Result<Option<PathBuf>, Failure> {
    let Some(file) = config::default_path() else { return Ok(None) };
    let (own, name) = (paths.ssh_config(), hop_name(host));
    if config::knows(&file, &name)? {
        return Ok(Some(file));
    }
    let told = is_included(&own, &file) && config::knows(&own, &name)?;
    Ok(told.then_some(own))
}

/// Forgets one host.
pub fn forget(paths: &Paths, name: &str) -> Result<(), Failure> {
    for path in config::default_path().into_iter().chain([paths.ssh_config()]) {
        config::remove(&path, Some(&hop_name(name)))?;
    }
    known_hosts::forget(&paths.known_hosts(), &known_hosts::alias(name))?;
    Ok(())
}

/// Takes all hosts out of ~/.ssh/config; what was removed.
pub fn remove_block(paths: &Paths) -> Result<Option<String>, Failure> {
    config::remove(&paths.ssh_config(), None)?;
    let Some(path) = config::default_path() else { return Ok(None) };
    let removed = config::remove(&path, None)?;
    Ok(removed.then(|| format!("the block in {}", path.display())))
}
