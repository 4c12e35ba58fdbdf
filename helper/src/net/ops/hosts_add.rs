//! `hosts.add`: an address gets a name, for as long as the connection or the lease lasts.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::block::Entry;
use crate::net::service::Net;
use crate::proto::{Args, OpError, required};
use serde_json::json;

pub struct Add {
    entry: Entry,
    lease: Option<String>,
}

impl Perform<Net> for Add {
    fn read(a: &Args) -> Result<Add, OpError> {
        let name = required("name", a.text("name")?)?;
        Ok(Add { entry: Entry { name, ip: a.ip("ip")? }, lease: a.lease_id()? })
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let Net { leases, config } = &mut server.service;
        let Add { entry, lease } = self;
        let changed = leases.add_name(conn.into(), entry.clone(), lease, config)?;
        Ok(json!({"name": entry.name, "ip": entry.ip, "changed": changed}).into())
    }
}
