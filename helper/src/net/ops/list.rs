//! `tun.list`: the caller's leases; all of them for root.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::service::Net;
use crate::net::state::Lease;
use crate::proto::{Args, OpError};
use serde_json::{Value, json};

pub struct List;

impl Perform<Net> for List {
    fn read(_: &Args) -> Result<List, OpError> {
        Ok(List)
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let leases = server.service.leases.leases(conn.into());
        Ok(json!({"leases": leases.map(row).collect::<Vec<Value>>()}).into())
    }
}

/// A lease, and who holds it: no process where its holder has not come back yet.
pub fn row(lease: &Lease) -> Value {
    json!({
        "lease_id": lease.id, "name": lease.name, "ifindex": lease.ifindex,
        "mtu": lease.mtu, "label": lease.label, "uid": lease.uid,
        "pid": lease.holder.map(|holder| holder.pid),
        "local": lease.ends.map(|ends| ends.local),
        "peer": lease.ends.map(|ends| ends.peer),
    })
}
