//! `hosts.*`: names for addresses of tunnels.

use super::{Read, done};
use crate::net::block::Entry;
use crate::net::state::HostEntry;
use crate::proto::{Args, required};
use serde_json::{Value, json};

/// An address gets a name, for as long as the connection or the lease lasts.
pub fn add(a: &Args) -> Read {
    let (name, ip) = (required("name", a.text("name")?)?, a.ip("ip")?);
    let lease = a.lease_id()?;
    done(move |leases, caller| {
        let changed = leases.add_name(caller, Entry { name: name.clone(), ip }, lease)?;
        Ok(json!({"name": name, "ip": ip, "changed": changed}))
    })
}

pub fn remove(a: &Args) -> Read {
    let name = required("name", a.text("name")?)?;
    done(move |leases, caller| Ok(json!({"removed": leases.remove_name(caller, &name)?})))
}

/// The caller's names; all of them for root.
pub fn list(_: &Args) -> Read {
    let row = |named: &HostEntry| json!({"name": named.entry.name, "ip": named.entry.ip, "lease_id": named.lease});
    done(move |leases, caller| {
        Ok(json!({"entries": leases.names(caller).map(row).collect::<Vec<Value>>()}))
    })
}
