//! `tun.cleanup`: a lease ends, its names and its device with it.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::service::Net;
use crate::proto::{Args, OpError, Target};
use serde_json::json;

pub struct Cleanup {
    target: Target,
}

impl Perform<Net> for Cleanup {
    fn read(a: &Args) -> Result<Cleanup, OpError> {
        Ok(Cleanup { target: a.target()? })
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let removed = server.service.leases.cleanup(conn.into(), &self.target)?;
        Ok(json!({"removed": removed}).into())
    }
}
