//! Ports of this login's containers: an engine listens for them, as root where it is root's. Which
//! they are is what the services' files say; no engine is asked.

use std::net::{IpAddr, Ipv4Addr};

use crate::agent::work::container::Now;
use crate::agent::work::{spec, state};
use crate::rpc::types::services::ServiceName;
use crate::sys::listeners::Listener;
use crate::sys::process;

const ROOT: u32 = 0;

/// One port of a container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    port: u16,
    pub name: String,
    pub service: ServiceName,
    /// The container's first process.
    pub pid: u32,
}

/// Where an engine listens for them, as it would be.
pub fn may_be(one: &Listener, address: Option<Ipv4Addr>) -> bool {
    let user = process::uid();
    address.is_some_and(|address| one.ip == IpAddr::from(address))
        && (one.uid == ROOT || one.uid == user)
}

impl Published {
    pub fn is_at(&self, one: &Listener) -> bool {
        self.port == one.port
    }
}

/// Of all containers that run.
pub fn all() -> Vec<Published> {
    let workspaces = state::Room::own().map(|room| room.workspaces()).unwrap_or_default();
    let mut all = Vec::new();
    for workspace in workspaces {
        let desired = &workspace.desired;
        for (name, service) in &desired.services {
            if !spec::is_container(service) || service.ports.is_empty() {
                continue;
            }
            let now = Now::load(workspace.service(name).path());
            let Some(pid) = now.and_then(|now| now.running().map(|process| process.pid)) else {
                continue;
            };
            let of = ServiceName { workspace: desired.workspace.clone(), service: name.clone() };
            all.extend(service.ports.iter().map(|port| Published {
                port: port.published,
                name: desired.unit_name(name),
                service: of.clone(),
                pid,
            }));
        }
    }
    all
}
