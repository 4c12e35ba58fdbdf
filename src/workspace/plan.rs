//! The difference between what is wanted and what is there, as steps in the order in which they are
//! taken. What is as it should be is in no step: it is not touched.
//!
//! A plan is known by its digest, which covers the steps, everything that is wanted and the
//! generation of the server's state: a plan that was shown is the one that is applied, or none.

pub mod offers;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::desired::ServiceDigest;
use super::digest::Digest;
use super::manifest::{Desired, Service};
use super::order;

/// Where nginx listens for sites.
const SITES_PORT: u16 = 80;

/// What the server has of this workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Counts every change of this state, whoever makes it.
    pub generation: u64,
    /// Of what was applied last.
    pub desired: Option<Digest>,
    pub services: BTreeMap<String, Have>,
    /// Open to the internet, with the service.
    pub public: BTreeMap<u16, String>,
    /// What the server's nginx answers for, by service.
    pub sites: BTreeMap<String, Site>,
    /// Of the text of the setup hook that succeeded last.
    pub setup: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub domains: Vec<String>,
    /// Where the service answers.
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Have {
    pub digest: ServiceDigest,
    pub state: State,
    /// Published ones.
    pub ports: BTreeSet<u16>,
    /// Directories of a container that end with it: volumes without a name that no `data` covers.
    pub volumes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Running, starting, or between two starts.
    Up,
    /// Ended with exit status 0, and not to be started again.
    Done,
    /// Somebody stopped it.
    Stopped,
    /// Ended otherwise, gave up, or is unhealthy for good.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The ports are open to the internet no more.
    Close {
        ports: BTreeSet<u16>,
    },
    /// The server's nginx answers for it no more.
    Unserve {
        service: String,
        domains: Vec<String>,
    },
    Setup,
    /// Its ports are needed by another one before its own turn comes.
    Stop {
        service: String,
    },
    /// It is not wanted any more. Directories of `data` stay.
    Remove {
        service: String,
        volumes: Vec<String>,
    },
    /// It ends, and starts as it is wanted now.
    Replace {
        service: String,
        volumes: Vec<String>,
    },
    Start {
        service: String,
    },
    /// Its check, order or publication is another one; it runs on.
    Adjust {
        service: String,
    },
    /// Opens ports to the internet.
    Publish {
        service: String,
        ports: BTreeSet<u16>,
    },
    /// The server's nginx answers for it by these names alone: no more by those of before.
    Serve {
        service: String,
        site: Site,
        ended: Vec<String>,
    },
    /// What is wanted is kept: scripts, variables, bridges, backup.
    Keep,
    /// The hook that runs each time.
    Hook,
}

impl Step {
    pub fn service(&self) -> Option<&str> {
        match self {
            Step::Stop { service }
            | Step::Remove { service, .. }
            | Step::Replace { service, .. }
            | Step::Start { service }
            | Step::Adjust { service }
            | Step::Publish { service, .. }
            | Step::Serve { service, .. }
            | Step::Unserve { service, .. } => Some(service),
            Step::Close { .. } | Step::Setup | Step::Keep | Step::Hook => None,
        }
    }

    /// Whether it is taken only after a question: what the world sees changes, or data is lost.
    pub fn asks(&self) -> bool {
        match self {
            Step::Publish { .. } | Step::Close { .. } => true,
            Step::Serve { .. } | Step::Unserve { .. } => true,
            Step::Remove { volumes, .. } | Step::Replace { volumes, .. } => !volumes.is_empty(),
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Of the state that it was made for.
    pub generation: u64,
    pub digest: Digest,
}

impl Plan {
    /// Whether nothing is to be done but what is done each time.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| *step == Step::Hook)
    }

    pub fn asks(&self) -> bool {
        self.steps.iter().any(Step::asks)
    }
}

/// By which a setup hook is known to have run.
pub fn setup_digest(desired: &Desired) -> Option<Digest> {
    desired.hooks.setup.as_deref().map(|text| Digest::of("hopbox.setup/1", text))
}

pub fn plan(desired: &Desired, present: &Present) -> Plan {
    let mut steps = Vec::new();
    let (wanted, sites) = (public(desired, present), sites(desired));
    let closed = present.public.iter().filter(|&(port, owner)| wanted.get(port) != Some(owner));
    let closed: BTreeSet<u16> = closed.map(|(port, _)| *port).collect();
    if !closed.is_empty() {
        steps.push(Step::Close { ports: closed });
    }
    for (service, site) in present.sites.iter().filter(|(name, _)| !sites.contains_key(*name)) {
        steps.push(Step::Unserve { service: service.clone(), domains: site.domains.clone() });
    }
    removals(desired, present, &mut steps);
    if setup_digest(desired).is_some_and(|setup| present.setup != Some(setup)) {
        steps.push(Step::Setup);
    }
    services(desired, present, &mut steps);
    publish(&wanted, present, &mut steps);
    for (service, site) in sites {
        let before = present.sites.get(&service);
        if before != Some(&site) {
            let before = before.into_iter().flat_map(|site| &site.domains);
            let ended = before.filter(|name| !site.domains.contains(name)).cloned().collect();
            steps.push(Step::Serve { service, site, ended });
        }
    }
    if present.desired != Some(desired.digest()) {
        steps.push(Step::Keep);
    }
    if desired.hooks.start.is_some() {
        steps.push(Step::Hook);
    }
    let digest = digest(&steps, desired, present.generation);
    Plan { steps, generation: present.generation, digest }
}

/// What nginx shall answer for.
fn sites(desired: &Desired) -> BTreeMap<String, Site> {
    let site = |(name, service): (&String, &Service)| {
        let port = service.ports.first().filter(|_| !service.domains.is_empty())?.published;
        Some((name.clone(), Site { domains: service.domains.clone(), port }))
    };
    desired.services.iter().filter_map(site).collect()
}

/// The ports to be open, each with its service. nginx's is that of any service with a site: of the
/// one for which it is open already, where there is a choice.
pub fn public(desired: &Desired, present: &Present) -> BTreeMap<u16, String> {
    let open = desired.services.iter().filter(|(_, service)| service.public);
    let ports = |(name, service): (&String, &Service)| {
        let name = name.clone();
        service.ports.clone().into_iter().map(move |port| (port.published, name.clone()))
    };
    let mut all: BTreeMap<u16, String> = open.flat_map(ports).collect();
    let sites = sites(desired);
    let before = present.public.get(&SITES_PORT).filter(|name| sites.contains_key(*name));
    if let Some(service) = before.or(sites.keys().next()) {
        all.entry(SITES_PORT).or_insert_with(|| service.clone());
    }
    all
}

/// Before anything is started: what is not wanted may hold what is needed.
fn removals(desired: &Desired, present: &Present, steps: &mut Vec<Step>) {
    for (name, have) in present.services.iter().rev() {
        let Some(service) = desired.services.get(name) else {
            let volumes = have.volumes.clone();
            steps.push(Step::Remove { service: name.clone(), volumes });
            continue;
        };
        let replaced = have.digest.run != desired.digest_of(name, service).run;
        if replaced && have.state == State::Up && is_in_the_way(name, have, desired) {
            steps.push(Step::Stop { service: name.clone() });
        }
    }
}

fn is_in_the_way(name: &str, have: &Have, desired: &Desired) -> bool {
    let others = desired.services.iter().filter(|(other, _)| *other != name);
    let mut ports = others.flat_map(|(_, service)| &service.ports);
    ports.any(|port| have.ports.contains(&port.published))
}

fn services(desired: &Desired, present: &Present, steps: &mut Vec<Step>) {
    // What is wanted was read, so that it has no circle.
    let order = order::start(&desired.services).unwrap_or_default();
    for name in order {
        let Some(wanted) = desired.services.get(name) else { continue };
        let wanted = desired.digest_of(name, wanted);
        let service = name.to_owned();
        match present.services.get(name) {
            None => steps.push(Step::Start { service }),
            Some(have) if have.digest.run != wanted.run => {
                let volumes = have.volumes.clone();
                steps.push(Step::Replace { service, volumes });
            }
            Some(have) => {
                if have.digest.all != wanted.all {
                    steps.push(Step::Adjust { service: service.clone() });
                }
                if matches!(have.state, State::Stopped | State::Failed) {
                    steps.push(Step::Start { service });
                }
            }
        }
    }
}

/// Only what is not open yet.
fn publish(wanted: &BTreeMap<u16, String>, present: &Present, steps: &mut Vec<Step>) {
    let mut opened: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for (port, service) in wanted {
        if present.public.get(port) != Some(service) {
            opened.entry(service).or_default().insert(*port);
        }
    }
    for (service, ports) in opened {
        steps.push(Step::Publish { service: service.to_owned(), ports });
    }
}

fn digest(steps: &[Step], desired: &Desired, generation: u64) -> Digest {
    let steps: Vec<_> = steps.iter().map(Step::to_json).collect();
    let whole = json!([steps, desired.digest().to_string(), generation]);
    Digest::of("hopbox.plan/1", &whole.to_string())
}

#[cfg(test)]
mod tests;
