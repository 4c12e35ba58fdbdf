//! The firewall of a host's provider, where one is declared: its own ports there. The tunnel's is
//! let in before the tunnel is tried, and let in no more where it does not work all the same.

use std::path::Path;

use super::console::Console;
use crate::base::failure::Failure;
use crate::cloud::api::{Api, ENDPOINT};
use crate::cloud::firewall::{Firewall, Grant};
use crate::cloud::hetzner::Hetzner;
use crate::cloud::token;
use crate::host::config::{Backend, HostConfig};
use crate::rpc::types::firewall::of_tunnel;

/// The one that is declared. Its token is read now.
pub fn of(host: &HostConfig) -> Result<Option<Hetzner>, Failure> {
    let Some(provider) = &host.provider else { return Ok(None) };
    let token = token::load(Path::new(&provider.token_file))?;
    let endpoint = provider.endpoint.as_deref();
    let ca_file = provider.ca_file.as_deref().map(Path::new);
    match provider.backend {
        Backend::HetznerCloud => {
            let endpoint = endpoint.unwrap_or(ENDPOINT);
            let api = Api::of(endpoint, provider.firewall, token, ca_file);
            Ok(Some(Hetzner::of(api, host.peer_ip, &host.name)))
        }
    }
}

/// What a setup has let in there that was not before.
pub struct Opened(Option<(Hetzner, Grant)>);

/// The tunnel's port, at which the server listens. Where nobody has declared a provider nothing is
/// done.
pub fn open_tunnel(
    console: &mut dyn Console,
    host: &HostConfig,
    port: u16,
) -> Result<Opened, Failure> {
    let Some(mut hetzner) = of(host)? else { return Ok(Opened(None)) };
    console.begin(&format!("opening UDP {port} at {}", hetzner.name()));
    let spec = of_tunnel(port);
    let before = hetzner.list()?;
    let was = before.iter().any(|grant| grant.spec == spec);
    let grant = hetzner.grant(&spec)?;
    // One that the tunnel had before.
    let mut others = before.iter().filter(|grant| grant.spec.app == spec.app && grant.spec != spec);
    others.try_for_each(|grant| hetzner.revoke(grant))?;
    console.done(if was { "it is open" } else { "" });
    tell_overlap(console, &hetzner);
    Ok(Opened((!was).then_some((hetzner, grant))))
}

impl Opened {
    /// The tunnel does not work.
    pub fn take_back(self, console: &mut dyn Console) {
        let Some((mut hetzner, grant)) = self.0 else { return };
        let port = grant.spec.text();
        match hetzner.revoke(&grant) {
            Ok(()) => console.say(&format!("{port} is not open at {} any more", hetzner.name())),
            Err(failure) => {
                let text = format!("{port} is still open at {}: {}", hetzner.name(), failure.why);
                console.warn("open_at_provider", &text);
            }
        }
    }
}

/// The API cannot keep two from losing each other's changes.
pub fn tell_overlap(console: &mut dyn Console, hetzner: &Hetzner) {
    if hetzner.overlapped {
        let text = format!(
            "somebody else has changed the firewall at {} at the same moment: see whether all of \
             their rules are there",
            hetzner.name()
        );
        console.warn("changed_by_others", &text);
    }
}

/// There is no agent any more: nothing of ours stays open there. What could not be closed is told.
pub fn close_all(console: &mut dyn Console, host: &HostConfig) {
    let closed = of(host).and_then(|hetzner| {
        let Some(mut hetzner) = hetzner else { return Ok(()) };
        hetzner.list()?.iter().try_for_each(|grant| hetzner.revoke(grant))
    });
    if let Err(failure) = closed {
        let text = format!("ports may still be open at its provider: {}", failure.why);
        console.warn("open_at_provider", &text);
    }
}
