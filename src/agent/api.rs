//! What the API answers to whom: paths and methods of HTTP.
//!
//! Must not know: connections, threads, what a method of `/rpc` does.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use serde_json::json;

use super::hub::Caller;
use super::rpc::{self, Desk};
use super::{auth, health};
use crate::http::request::{Head, Refusal};
use crate::http::server::{Next, Reply, Service};
use crate::http::slots::Source;
use crate::http::{answer, code};

/// What requests are answered from.
pub struct Api {
    own: SocketAddrV4,
    desk: Arc<dyn Desk>,
}

impl Api {
    /// `own` is the address it is served at.
    pub fn new(own: SocketAddrV4, desk: Arc<dyn Desk>) -> Api {
        Api { own, desk }
    }
}

impl Service for Api {
    type Call = Caller;

    fn source(&self, from: Ipv4Addr) -> Option<Source> {
        Source::of(from, *self.own.ip(), self.desk.is_laptop(from))
    }

    fn begin(&self, head: &Head, from: Ipv4Addr) -> Result<Next<Caller>, Refusal> {
        auth::not_a_page(head, self.own, &*self.desk)?;
        match (head.path.as_str(), head.method.as_str()) {
            ("/health", "GET") => Ok(Next::Answer(health::health(*self.own.ip()))),
            ("/health", _) => Err(Refusal::wrong_method("GET")),
            ("/rpc", "POST") => {
                let caller = auth::caller(head, &*self.desk, from)?;
                Ok(Next::Call(caller, head.body()?))
            }
            ("/rpc", _) => Err(Refusal::wrong_method("POST")),
            _ => Err(Refusal::of(404, code::NOT_FOUND, "there is /health and /rpc")),
        }
    }

    fn call(&self, caller: Caller, body: &str, reply: Reply) {
        reply.answer(match rpc::call(&*self.desk, caller, body) {
            Ok(result) => answer::whole(200, &[], &json!({"result": result})),
            Err(refusal) => answer::refused(&refusal),
        });
    }
}
