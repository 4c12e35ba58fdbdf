//! How the tunnel's datagrams travel where UDP does not pass.

mod ssh_pipe;

use crate::base::failure::Failure;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::ssh::known_hosts;
use crate::ssh::target::Target;

pub use ssh_pipe::{Event, SshPipe};

/// Where SSH finds a host beside the tunnel, with the keys that setup pinned.
pub fn target(paths: &Paths, host: &HostConfig) -> Result<Target, Failure> {
    let pinned = known_hosts::pinned(&paths.known_hosts(), &host.name)?;
    let ssh = host.ssh.as_ref();
    Ok(Target {
        address: ssh.map_or_else(|| host.endpoint.host.clone(), |ssh| ssh.address.clone()),
        user: host.user.clone(),
        identity: host.identity.clone().map(Into::into),
        port: ssh.and_then(|ssh| ssh.port),
        pinned,
    })
}
