//! `hosts.list`: the caller's names; all of them for root.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::service::Net;
use crate::net::state::HostEntry;
use crate::proto::{Args, OpError};
use serde_json::{Value, json};

pub struct List;

impl Perform<Net> for List {
    fn read(_: &Args) -> Result<List, OpError> {
        Ok(List)
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let names = server.service.leases.names(conn.into());
        let row = |named: &HostEntry| {
            let (entry, lease) = (&named.entry, &named.lease);
            json!({"name": entry.name, "ip": entry.ip, "lease_id": lease})
        };
        Ok(json!({"entries": names.map(row).collect::<Vec<Value>>()}).into())
    }
}
