//! `tun.attach`: a lease of a helper before this one goes on with this connection.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::ops::list;
use crate::net::service::Net;
use crate::proto::{Args, OpError, required};

pub struct Attach {
    lease: String,
}

impl Perform<Net> for Attach {
    fn read(a: &Args) -> Result<Attach, OpError> {
        Ok(Attach { lease: required("lease_id", a.lease_id()?)? })
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let lease = server.service.leases.attach(conn.into(), &self.lease)?;
        Ok(list::row(&lease).into())
    }
}
