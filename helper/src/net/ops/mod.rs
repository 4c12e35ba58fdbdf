//! What there is to ask hop-helper for: a row each, and a function that reads the arguments and
//! says what is done.

mod hosts;
mod tun;

use crate::core::daemon;
use crate::core::operation::{Act, Effect, Operation, Role, row};
use crate::net::lease::{Caller, Leases};
use crate::proto::OpError;
use Effect::{GivesBack, Makes, Reads};
use Role::{Anybody, Neighbour};
use serde_json::Value;

const SHAKE: &[&str] = &["client_version", "client_protocol_version"];
const CREATE: &[&str] = &["name", "mtu", "label"];
const CONFIGURE: &[&str] = &["lease_id", "name", "local_ip", "peer_ip", "prefix"];
const CLEANUP: &[&str] = &["lease_id", "name"];

/// As told in the handshake.
pub static OPERATIONS: [Operation<Leases>; 12] = [
    row("daemon.handshake", Reads, Anybody, SHAKE, daemon::handshake),
    row("daemon.version", Reads, Anybody, &[], daemon::version),
    row("daemon.health", Reads, Anybody, &[], daemon::health),
    row("tun.suggest", Reads, Neighbour, &["count"], tun::suggest),
    row("tun.create", Makes, Neighbour, CREATE, tun::create),
    row("tun.configure", Makes, Neighbour, CONFIGURE, tun::configure),
    row("tun.attach", Makes, Neighbour, &["lease_id"], tun::attach),
    row("tun.cleanup", GivesBack, Neighbour, CLEANUP, tun::cleanup),
    row("tun.list", Reads, Neighbour, &[], tun::list),
    row("hosts.add", Makes, Neighbour, &["name", "ip", "lease_id"], hosts::add),
    row("hosts.remove", GivesBack, Neighbour, &["name"], hosts::remove),
    row("hosts.list", Reads, Neighbour, &[], hosts::list),
];

type Read = Result<Act<Leases>, OpError>;

/// An operation whose result is all that comes of it.
fn done(act: impl FnOnce(&mut Leases, Caller) -> Result<Value, OpError> + 'static) -> Read {
    Ok(Box::new(move |server, conn| Ok(act(&mut server.service, conn.into())?.into())))
}

#[cfg(test)]
#[path = "ops_tests.rs"]
mod tests;
