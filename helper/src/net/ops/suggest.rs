//! `tun.suggest`: pairs of addresses that the caller could have now.

use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::serve::Server;
use crate::net::pool::Endpoints;
use crate::net::service::Net;
use crate::proto::{Args, OpError};
use serde_json::{Value, json};

pub struct Suggest {
    count: usize,
}

impl Perform<Net> for Suggest {
    fn read(a: &Args) -> Result<Suggest, OpError> {
        Ok(Suggest { count: a.int("count", 1, 256)?.unwrap_or(1) as usize })
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        let Net { leases, config } = &mut server.service;
        let pairs = leases.suggest(conn.into(), self.count, config)?;
        let pair = |ends: &Endpoints| json!({"local": ends.local, "peer": ends.peer});
        Ok(json!({"pairs": pairs.iter().map(pair).collect::<Vec<Value>>()}).into())
    }
}
