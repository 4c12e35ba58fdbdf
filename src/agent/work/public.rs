//! Services that are open to the internet: their ports in the server's firewall, and their names in
//! its nginx, by its helper.
//! That is asked nothing for a workspace that never had such a service. Must not know: plans, who
//! asked.

use std::collections::{BTreeMap, BTreeSet};

use super::services::{Done, Unable, unable};
use crate::agent::firewall::{self, NotDone};
use crate::agent::sites;
use crate::rpc::code::Code;
use crate::rpc::types::firewall::Effective;
use crate::workspace::manifest::{Desired, Kind};
use crate::workspace::plan::Site;

fn has_some(desired: &Desired) -> bool {
    desired.services.values().any(|service| service.public) || has_sites(desired)
}

fn has_sites(desired: &Desired) -> bool {
    desired.services.values().any(|service| !service.domains.is_empty())
}

/// Each port that is open with its service, of what is wanted and was wanted before.
pub fn open(desired: &Desired, before: Option<&Desired>) -> Done<BTreeMap<u16, String>> {
    let wants = (has_some(desired), before.is_some_and(has_some));
    there(wants, || firewall::open_of(&desired.workspace))
}

/// What nginx answers for, by service, of what is wanted and was wanted before.
pub fn sites(desired: &Desired, before: Option<&Desired>) -> Done<BTreeMap<String, Site>> {
    let wants = (has_sites(desired), before.is_some_and(has_sites));
    there(wants, || sites::of(&desired.workspace))
}

fn there<K: Ord, V>(
    (wants, had): (bool, bool),
    ask: impl FnOnce() -> firewall::Done<BTreeMap<K, V>>,
) -> Done<BTreeMap<K, V>> {
    if !wants && !had {
        return Ok(BTreeMap::new());
    }
    match ask() {
        // Where there is none any more, nothing is open, and nothing is to be closed.
        Err(NotDone::Absent(_)) if !wants => Ok(BTreeMap::new()),
        told => told.map_err(refused),
    }
}

fn refused(not: NotDone) -> Unable {
    let code = match not {
        NotDone::Absent(_) => Code::NoFirewall,
        NotDone::Older(_) => Code::UnknownMethod,
        _ => Code::Failed,
    };
    unable(code, not.why())
}

/// What cannot be seen from a plan: a native service listens where it likes.
pub fn notes(desired: &Desired) -> Vec<String> {
    let native = desired
        .services
        .iter()
        .filter(|(_, service)| service.public && matches!(service.kind, Kind::Native { .. }));
    let note = |name: &String| format!("{name} is reached only where it listens at 0.0.0.0 itself");
    native.map(|(name, _)| note(name)).collect()
}

/// Returns what of it is dropped all the same, in words.
pub fn publish(workspace: &str, service: &str, ports: &BTreeSet<u16>) -> Done<Vec<String>> {
    let opened = firewall::publish(workspace, service, ports).map_err(refused)?;
    let shadowed = opened.iter().filter_map(|rule| match &rule.effective {
        Effective::Shadowed(chain) => Some(format!(
            "{} is open, and yet the chain {chain} of the server's firewall drops what comes to it: \
             hop firewall ls tells what lets it in",
            rule.spec.text()
        )),
        Effective::Accepted | Effective::Unknown(_) => None,
    });
    Ok(shadowed.collect())
}

pub fn close(workspace: &str, ports: &BTreeSet<u16>) -> Done<()> {
    firewall::unpublish(workspace, ports).map_err(refused)
}

/// Returns what of it is answered by others all the same, in words.
pub fn serve(workspace: &str, service: &str, site: &Site) -> Done<Vec<String>> {
    let shadow = sites::serve(workspace, service, site).map_err(refused)?;
    let names = site.domains.join(", ");
    let told = |by| format!("{names} is served, and yet nginx answers in its place by {by}");
    Ok(shadow.map(told).into_iter().collect())
}

pub fn unserve(workspace: &str, service: &str) -> Done<()> {
    sites::unserve(workspace, service).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What upgrades the server cures it, which `hop` tells by this code.
    #[test]
    fn a_helper_that_does_not_know_how_is_to_be_upgraded() {
        assert_eq!(refused(NotDone::Older(String::new())).code, Code::UnknownMethod);
        assert_eq!(refused(NotDone::Absent(String::new())).code, Code::NoFirewall);
        assert_eq!(refused(NotDone::Failed(String::new())).code, Code::Failed);
    }
}
