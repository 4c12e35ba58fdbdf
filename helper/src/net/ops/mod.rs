//! What there is to ask hop-helper for: a row each here, and a file each for what is done.

mod attach;
mod cleanup;
mod configure;
mod create;
mod hosts_add;
mod hosts_list;
mod hosts_remove;
mod list;
mod suggest;

use crate::core::daemon::{Handshake, Health, Version};
use crate::core::operation::{Effect, Operation, Role, row};
use crate::net::service::Net;
use Effect::{GivesBack, Makes, Reads};
use Role::{Anybody, Neighbour};

const SHAKE: &[&str] = &["client_version", "client_protocol_version"];
const CREATE: &[&str] = &["name", "mtu", "label"];
const CONFIGURE: &[&str] = &["lease_id", "name", "local_ip", "peer_ip", "prefix"];

/// As told in the handshake.
pub static OPERATIONS: [Operation<Net>; 12] = [
    row::<Net, Handshake>("daemon.handshake", Reads, Anybody, SHAKE),
    row::<Net, Version>("daemon.version", Reads, Anybody, &[]),
    row::<Net, Health>("daemon.health", Reads, Anybody, &[]),
    row::<Net, suggest::Suggest>("tun.suggest", Reads, Neighbour, &["count"]),
    row::<Net, create::Create>("tun.create", Makes, Neighbour, CREATE),
    row::<Net, configure::Configure>("tun.configure", Makes, Neighbour, CONFIGURE),
    row::<Net, attach::Attach>("tun.attach", Makes, Neighbour, &["lease_id"]),
    row::<Net, cleanup::Cleanup>("tun.cleanup", GivesBack, Neighbour, &["lease_id", "name"]),
    row::<Net, list::List>("tun.list", Reads, Neighbour, &[]),
    row::<Net, hosts_add::Add>("hosts.add", Makes, Neighbour, &["name", "ip", "lease_id"]),
    row::<Net, hosts_remove::Remove>("hosts.remove", GivesBack, Neighbour, &["name"]),
    row::<Net, hosts_list::List>("hosts.list", Reads, Neighbour, &[]),
];

#[cfg(test)]
#[path = "ops_tests.rs"]
mod tests;
