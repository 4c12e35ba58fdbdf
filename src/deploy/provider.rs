//! The firewall of a host's provider, where one is declared: its own ports there. The tunnel's is
//! let in before the tunnel is tried, and let in no more where it does not work all the same.

use std::path::Path;

use super::console::Console;
use crate::base::failure::Failure;
use crate::cloud::api::{Api, ENDPOINT};
use crate::cloud::firewall::{Firewall, Grant};
use crate::cloud::hetzner::Hetzner;
use crate::host::config::{Backend, HostConfig};
use crate::rpc::types::firewall::of_tunnel;

/// The one that is declared. Its token is read when it is asked something.
pub fn of(host: &HostConfig) -> Option<Hetzner> {
    let provider = host.provider.as_ref()?;
    let token_file = Path::new(&provider.token_file);
    let endpoint = provider.endpoint.as_deref();
    let ca_file = provider.ca_file.as_deref().map(Path::new);
    match provider.backend {
        Backend::HetznerCloud => {
            let endpoint = endpoint.unwrap_or(ENDPOINT);
            let api = Api::of(endpoint, provider.firewall, token_file, ca_file);
            Some(Hetzner::of(api, host.peer_ip, &host.name))
        }
    }
}

/// What a setup has let in there that was not before.
pub struct Opened(Option<(Hetzner, Vec<Grant>)>);

/// The tunnel's port, at which the server listens, and its second one if it has one. Where nobody
/// has declared a provider nothing is done.
pub fn open_tunnel(
    console: &mut dyn Console,
    host: &HostConfig,
    port: u16,
) -> Result<Opened, Failure> {
    let Some(mut hetzner) = of(host) else { return Ok(Opened(None)) };
    console.begin(&format!("opening UDP {port} at {}", hetzner.name()));
    let wanted: Vec<_> = std::iter::once(port).chain(host.second_port).map(of_tunnel).collect();
    let before = hetzner.list()?;
    let mut new = Vec::new();
    for spec in &wanted {
        let grant = hetzner.grant(spec)?;
        if !before.iter().any(|grant| grant.spec == *spec) {
            new.push(grant);
        }
    }
    // One that the tunnel had before.
    let is_old = |grant: &&Grant| {
        wanted.iter().any(|spec| spec.app == grant.spec.app) && !wanted.contains(&grant.spec)
    };
    before.iter().filter(is_old).try_for_each(|grant| hetzner.revoke(grant))?;
    console.done(if new.is_empty() { "it is open" } else { "" });
    tell_overlap(console, &hetzner);
    Ok(Opened((!new.is_empty()).then_some((hetzner, new))))
}

impl Opened {
    /// The tunnel does not work.
    pub fn take_back(self, console: &mut dyn Console) {
        let Some((mut hetzner, grants)) = self.0 else { return };
        for grant in grants {
            let port = grant.spec.text();
            match hetzner.revoke(&grant) {
                Ok(()) => {
                    console.say(&format!("{port} is not open at {} any more", hetzner.name()));
                }
                Err(failure) => {
                    let name = hetzner.name();
                    let text = format!("{port} is still open at {name}: {}", failure.why);
                    console.warn("open_at_provider", &text);
                }
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
    let Some(mut hetzner) = of(host) else { return };
    let closed = hetzner.list().map(|grants| {
        let failed = grants.iter().filter_map(|grant| hetzner.revoke(grant).err());
        let failed: Vec<Failure> = failed.collect();
        failed.into_iter().next().map_or(Ok(grants.len()), Err)
    });
    match closed.and_then(|closed| closed) {
        Ok(0) => {}
        Ok(count) => console.say(&format!("{} at {} closed", ports(count), hetzner.name())),
        Err(failure) => {
            let (name, firewall) = (hetzner.name(), hetzner.api().firewall());
            let text = format!(
                "ports may still be open at {name}, in its firewall {firewall}: {}",
                failure.why
            );
            console.warn("open_at_provider", &text);
        }
    }
}

fn ports(count: usize) -> String {
    if count == 1 { "1 port".to_owned() } else { format!("{count} ports") }
}

/// A host is forgotten here, and its server goes on: so does what is open for it.
pub fn tell_left(console: &mut dyn Console, host: &HostConfig) {
    let Some(provider) = &host.provider else { return };
    let text = format!(
        "what is open for {} at {}, in its firewall {}, stays so",
        host.name,
        provider.backend.word(),
        provider.firewall
    );
    console.warn("open_at_provider", &text);
}
