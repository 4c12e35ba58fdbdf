//! Services that are open to the internet: their ports in the server's firewall, by its helper.
//! That is asked nothing for a workspace that never had such a service. Must not know: plans, who
//! asked.

use std::collections::{BTreeMap, BTreeSet};

use super::services::{Done, Unable, unable};
use crate::agent::firewall::{self, NotDone};
use crate::rpc::code::Code;
use crate::rpc::types::firewall::Effective;
use crate::workspace::manifest::{Desired, Kind};

fn has_some(desired: &Desired) -> bool {
    desired.services.values().any(|service| service.public)
}

/// Each port that is open with its service, of what is wanted and was wanted before.
pub fn open(desired: &Desired, before: Option<&Desired>) -> Done<BTreeMap<u16, String>> {
    let wants = has_some(desired);
    if !wants && !before.is_some_and(has_some) {
        return Ok(BTreeMap::new());
    }
    match firewall::open_of(&desired.workspace) {
        // Where there is none any more, nothing is open, and nothing is to be closed.
        Err(NotDone::Absent(_)) if !wants => Ok(BTreeMap::new()),
        told => told.map_err(refused),
    }
}

fn refused(not: NotDone) -> Unable {
    let code = match not {
        NotDone::Absent(_) => Code::NoFirewall,
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
            "{} is open, and yet the chain {chain} of the server's firewall drops what comes to it",
            rule.spec.text()
        )),
        Effective::Accepted | Effective::Unknown(_) => None,
    });
    Ok(shadowed.collect())
}

pub fn close(workspace: &str, ports: &BTreeSet<u16>) -> Done<()> {
    firewall::unpublish(workspace, ports).map_err(refused)
}
