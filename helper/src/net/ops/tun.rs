//! `tun.*`: devices and who holds them.

use super::{Read, done};
use crate::core::conn::Done;
use crate::core::request::malformed;
use crate::net::pool::Endpoints;
use crate::net::state::Lease;
use crate::proto::{Args, required};
use serde_json::{Value, json};

/// MTU of a device in bytes, and the range that a caller may ask for.
const MTU_DEFAULT: u16 = 1420;
const MTU_MIN: u16 = 576;
const MTU_MAX: u16 = 9200;

/// Pairs of addresses that the caller could have now.
pub fn suggest(a: &Args) -> Read {
    let count = a.int("count", 1, 256)?.unwrap_or(1) as usize;
    done(move |leases, caller| {
        let pairs = leases.suggest(caller, count)?;
        let pair = |ends: &Endpoints| json!({"local": ends.local, "peer": ends.peer});
        Ok(json!({"pairs": pairs.iter().map(pair).collect::<Vec<Value>>()}))
    })
}

/// A device, handed over with the reply as the one descriptor that keeps it.
pub fn create(a: &Args) -> Read {
    let (name, label) = (a.device("name")?, a.text("label")?);
    let mtu = a.int("mtu", MTU_MIN.into(), MTU_MAX.into())?;
    let mtu = mtu.map_or(MTU_DEFAULT, |mtu| mtu as u16);
    Ok(Box::new(move |server, conn| {
        if !conn.input.is_empty() {
            return Err(malformed("send nothing behind tun.create before its reply"));
        }
        let (id, device) = server.service.create(conn.into(), name.as_deref(), mtu, label)?;
        let result = json!({
            "lease_id": id, "name": device.name, "ifindex": device.ifindex,
            "mtu": device.mtu, "fd": 0, "vnet_hdr": device.vnet_hdr,
        });
        Ok(Done { result, fd: Some(device.fd) })
    }))
}

/// A device gets its address and the route to its peer, and comes up.
pub fn configure(a: &Args) -> Read {
    let (target, local, peer) = (a.target()?, a.ip("local_ip")?, a.ip("peer_ip")?);
    let prefix = a.int("prefix", 24, 32)?.unwrap_or(32) as u8;
    done(move |leases, caller| {
        let ends = Endpoints { local, peer, prefix };
        let (lease, routes) = leases.configure(caller, &target, ends)?;
        Ok(json!({"name": lease.name, "local": local, "peer": peer, "routes": routes}))
    })
}

/// A lease of a helper before this one goes on with this connection.
pub fn attach(a: &Args) -> Read {
    let id = required("lease_id", a.lease_id()?)?;
    done(move |leases, caller| leases.attach(caller, &id).map(|lease| row(&lease)))
}

/// A lease ends, its names and its device with it.
pub fn cleanup(a: &Args) -> Read {
    let target = a.target()?;
    done(move |leases, caller| Ok(json!({"removed": leases.cleanup(caller, &target)?})))
}

/// The caller's leases; all of them for root.
pub fn list(_: &Args) -> Read {
    done(|leases, caller| {
        Ok(json!({"leases": leases.leases(caller).map(row).collect::<Vec<Value>>()}))
    })
}

/// A lease, and who holds it: no process where its holder has not come back yet.
fn row(lease: &Lease) -> Value {
    json!({
        "lease_id": lease.id, "name": lease.name, "ifindex": lease.ifindex,
        "mtu": lease.mtu, "label": lease.label, "uid": lease.uid,
        "pid": lease.holder.map(|holder| holder.pid),
        "local": lease.ends.map(|ends| ends.local),
        "peer": lease.ends.map(|ends| ends.peer),
    })
}
