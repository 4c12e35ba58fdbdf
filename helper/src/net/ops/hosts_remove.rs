//! `hosts.remove`: a name goes.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::service::Net;
use crate::proto::{Args, OpError, required};
use serde_json::json;

pub struct Remove {
    name: String,
}

impl Perform<Net> for Remove {
    fn read(a: &Args) -> Result<Remove, OpError> {
        Ok(Remove { name: required("name", a.text("name")?)? })
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let removed = server.service.leases.remove_name(conn.into(), &self.name)?;
        Ok(json!({"removed": removed}).into())
    }
}
