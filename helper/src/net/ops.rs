//! What there is to ask hop-helper for: a row each, and a function that reads the arguments and
//! says what is done.

use crate::core::conn::Done;
use crate::core::daemon;
use crate::core::operation::{Act, Effect, Operation, Role, row};
use crate::core::peer_cred::Caller;
use crate::core::request::malformed;
use crate::net::block::Entry;
use crate::net::lease::Leases;
use crate::net::link::{Device, VNET_HDR};
use crate::net::pool::Endpoints;
use crate::net::state::{HostEntry, Lease};
use crate::proto::{Args, OpError, required};
use Effect::{GivesBack, Makes, Reads};
use Role::{Anybody, Neighbour};
use serde_json::{Value, json};

/// MTU of a device in bytes, and the range that a caller may ask for.
const MTU_DEFAULT: u16 = 1420;
const MTU_MIN: u16 = 576;
const MTU_MAX: u16 = 9200;

const SHAKE: &[&str] = &["client_version", "client_protocol_version"];
const CREATE: &[&str] = &["name", "mtu", "label"];
const CONFIGURE: &[&str] = &["lease_id", "local_ip", "peer_ip", "prefix"];

/// By name: what it does, who may ask, with which arguments, and what reads these.
pub static OPERATIONS: [Operation<Leases>; 11] = [
    row("daemon.handshake", Reads, Anybody, SHAKE, daemon::handshake),
    row("daemon.version", Reads, Anybody, &[], daemon::version),
    row("daemon.health", Reads, Anybody, &[], daemon::health),
    row("tun.create", Makes, Neighbour, CREATE, create),
    row("tun.configure", Makes, Neighbour, CONFIGURE, configure),
    row("tun.attach", Makes, Neighbour, &["lease_id"], attach),
    row("tun.cleanup", GivesBack, Neighbour, &["lease_id"], cleanup),
    row("tun.list", Reads, Neighbour, &[], list),
    row("hosts.add", Makes, Neighbour, &["name", "ip", "lease_id"], add_host),
    row("hosts.remove", GivesBack, Neighbour, &["name"], remove_host),
    row("hosts.list", Reads, Neighbour, &[], list_hosts),
];

type Read = Result<Act<Leases>, OpError>;

/// An operation whose result is all that comes of it.
fn done(act: impl FnOnce(&mut Leases, Caller) -> Result<Value, OpError> + 'static) -> Read {
    Ok(Box::new(move |server, conn| Ok(act(&mut server.service, conn.who())?.into())))
}

fn lease_id(a: &Args) -> Result<String, OpError> {
    required("lease_id", a.lease_id()?)
}

/// A device, handed over with the reply as the one descriptor that keeps it.
fn create(a: &Args) -> Read {
    let (name, label) = (a.device("name")?, a.text("label")?);
    let mtu = a.int("mtu", MTU_MIN.into(), MTU_MAX.into())?;
    let mtu = mtu.map_or(MTU_DEFAULT, |mtu| mtu as u16);
    Ok(Box::new(move |server, conn| {
        if !conn.input.is_empty() {
            return Err(malformed("send nothing behind tun.create before its reply"));
        }
        let (lease, fd) = server.service.create(conn.who(), name.as_deref(), mtu, label)?;
        let Device { name, ifindex, mtu } = &lease.device;
        let result = json!({
            "lease_id": lease.id, "name": name, "ifindex": ifindex, "mtu": mtu, "fd": 0,
            "vnet_hdr": VNET_HDR,
        });
        Ok(Done::Now { result, fd: Some(fd) })
    }))
}

/// A device gets its address and the route to its peer, and comes up.
fn configure(a: &Args) -> Read {
    let (id, local, peer) = (lease_id(a)?, a.ip("local_ip")?, a.ip("peer_ip")?);
    let prefix = a.int("prefix", 24, 32)?.unwrap_or(32) as u8;
    done(move |leases, caller| {
        let ends = Endpoints { local, peer, prefix };
        let name = leases.configure(caller, &id, ends)?.device.name;
        // It was read back.
        let routes = [ends.route().to_string()];
        Ok(json!({"name": name, "local": local, "peer": peer, "routes": routes}))
    })
}

/// A lease of a helper before this one goes on with this connection.
fn attach(a: &Args) -> Read {
    let id = lease_id(a)?;
    done(move |leases, caller| leases.attach(caller, &id).map(|lease| lease_row(&lease)))
}

/// A lease ends, its names and its device with it.
fn cleanup(a: &Args) -> Read {
    let id = lease_id(a)?;
    done(move |leases, caller| Ok(json!({"removed": leases.cleanup(caller, &id)?})))
}

/// The caller's leases; all of them for root.
fn list(_: &Args) -> Read {
    done(|leases, caller| {
        Ok(json!({"leases": leases.leases(caller).map(lease_row).collect::<Vec<Value>>()}))
    })
}

/// A lease, and who holds it: no process where its holder has not come back yet.
fn lease_row(lease: &Lease) -> Value {
    json!({
        "lease_id": lease.id, "name": lease.device.name, "ifindex": lease.device.ifindex,
        "mtu": lease.device.mtu, "label": lease.label, "uid": lease.uid,
        "pid": lease.holder.map(|holder| holder.pid),
        "local": lease.ends.map(|ends| ends.local),
        "peer": lease.ends.map(|ends| ends.peer),
    })
}

/// An address gets a name, for as long as the connection or the lease lasts.
fn add_host(a: &Args) -> Read {
    let (name, ip) = (required("name", a.text("name")?)?, a.ip("ip")?);
    let lease = a.lease_id()?;
    done(move |leases, caller| {
        let changed = leases.add_name(caller, Entry { name: name.clone(), ip }, lease)?;
        Ok(json!({"name": name, "ip": ip, "changed": changed}))
    })
}

fn remove_host(a: &Args) -> Read {
    let name = required("name", a.text("name")?)?;
    done(move |leases, caller| Ok(json!({"removed": leases.remove_name(caller, &name)?})))
}

/// The caller's names; all of them for root.
fn list_hosts(_: &Args) -> Read {
    let row = |named: &HostEntry| json!({"name": named.entry.name, "ip": named.entry.ip, "lease_id": named.lease});
    done(move |leases, caller| {
        Ok(json!({"entries": leases.names(caller).map(row).collect::<Vec<Value>>()}))
    })
}

#[cfg(test)]
#[path = "ops_tests.rs"]
mod tests;
