//! `tun.configure`: a device gets its address and the route to its peer, and comes up.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::pool::Endpoints;
use crate::net::service::Net;
use crate::proto::{Args, OpError, Target};
use serde_json::json;

pub struct Configure {
    target: Target,
    ends: Endpoints,
}

impl Perform<Net> for Configure {
    fn read(a: &Args) -> Result<Configure, OpError> {
        let target = a.target()?;
        let (local, peer) = (a.ip("local_ip")?, a.ip("peer_ip")?);
        let prefix = a.int("prefix", 24, 32)?.unwrap_or(32) as u8;
        Ok(Configure { target, ends: Endpoints { local, peer, prefix } })
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let Net { leases, config } = &mut server.service;
        let Configure { target, ends } = self;
        let (lease, routes) = leases.configure(conn.into(), &target, ends, config)?;
        let (local, peer) = (ends.local, ends.peer);
        let name = lease.name;
        Ok(json!({"name": name, "local": local, "peer": peer, "routes": routes}).into())
    }
}
