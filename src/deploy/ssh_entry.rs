//! What this laptop's own ssh(1) knows of a host: its part of ~/.ssh/config, and the host keys that
//! setup pinned.

use super::console::Console;
use super::remote;
use crate::base::failure::{Failure, Fault};
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::ssh::config::{self, Entry, Keys};
use crate::ssh::known_hosts;

/// Writes what this laptop's ssh(1) is told of a host, which has `name` in the tunnel. True where
/// that is new.
pub fn write(
    console: &mut dyn Console,
    paths: &Paths,
    host: &HostConfig,
    name: &str,
) -> Result<bool, Failure> {
    let file = config::default_path().ok_or_else(|| {
        let why = "HOME holds no absolute path";
        Failure::new(Fault::Usage, "cannot find ~/.ssh/config", why, "export HOME=~")
    })?;
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
        None => Keys::Listed(remote::target(paths, host)?.settled()?.identities()?),
    };
    let entry = Entry {
        name,
        user: host.user.as_deref(),
        keys: own,
        port: host.ssh.as_ref().map_or(22, |ssh| ssh.listens),
        pinned: pinned.as_ref().map(|(alias, file)| (alias.as_str(), file.as_path())),
    };
    let written = config::install(&file, &entry)?;
    if written {
        console.say(&format!("{} has {name} in the hopbox block", file.display()));
    }
    Ok(written)
}

/// Forgets one host.
pub fn forget(paths: &Paths, name: &str) -> Result<(), Failure> {
    if let Some(path) = config::default_path() {
        config::remove(&path, Some(name))?;
    }
    known_hosts::forget(&paths.known_hosts(), &known_hosts::alias(name))?;
    Ok(())
}

/// Takes all hosts out of ~/.ssh/config; what was removed.
pub fn remove_block() -> Result<Option<String>, Failure> {
    let Some(path) = config::default_path() else { return Ok(None) };
    let removed = config::remove(&path, None)?;
    Ok(removed.then(|| format!("the block in {}", path.display())))
}
