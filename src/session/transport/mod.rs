//! How the tunnel's datagrams travel: over UDP, and over SSH where that does not pass.
//!
//! Reading order: `told` (the ways, and why one is in use) → `ladder` (when to try which; pure) →
//! `networks` (where UDP did not pass) → `ssh_pipe` (the way over SSH) → `ways` (what a session has
//! of all this), `kept` (the same where there is none). WireGuard knows nothing of it: a way is an
//! address that its peer may be at.

mod kept;
mod ladder;
mod networks;
mod ssh_pipe;
mod told;
mod ways;

use crate::base::failure::Failure;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::ssh::known_hosts;
use crate::ssh::target::Target;

pub use kept::KeptWays;
pub use ssh_pipe::{Event, SshPipe};
pub use told::{Rung, Told, TooLong, Why};
pub use ways::Ways;

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
