//! What the API answers to whom: paths and methods of HTTP.
//!
//! Must not know: connections, threads, what a method of `/rpc` does.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use serde_json::{Value, json};

use super::backend::{Backend, Caller};
use super::dispatch::{self, Asked};
use super::{auth, health, pump};
use crate::http::request::{Head, Refusal};
use crate::http::service::{Given, Next, Reply, Service};
use crate::http::slots::Source;
use crate::http::{answer, code};
use crate::rpc::frames::PROTOCOL;
use crate::rpc::method::{BYTES, RUN_START};

/// What requests are answered from.
pub struct Api {
    own: SocketAddrV4,
    backend: Arc<dyn Backend>,
}

impl Api {
    /// `own` is the address it is served at.
    pub fn new(own: SocketAddrV4, backend: Arc<dyn Backend>) -> Api {
        Api { own, backend }
    }
}

/// Who asks, and what they would like the connection to be.
pub struct Call {
    caller: Caller,
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    Frames,
    Bytes,
}

impl Way {
    /// Other protocols that a client would like are none of ours (RFC 9110 §7.8).
    fn of(upgrade: Option<&str>) -> Way {
        match upgrade {
            Some(PROTOCOL) => Way::Frames,
            Some(BYTES) => Way::Bytes,
            _ => Way::Http,
        }
    }
}

impl Service for Api {
    type Call = Call;

    fn source(&self, from: Ipv4Addr) -> Option<Source> {
        Source::of(from, *self.own.ip(), self.backend.is_laptop(from))
    }

    fn begin(&self, head: &Head, from: Ipv4Addr) -> Result<Next<Call>, Refusal> {
        auth::not_a_page(head, self.own, &*self.backend)?;
        match (head.path.as_str(), head.method.as_str()) {
            ("/health", "GET") => {
                Ok(Next::Answer(health::health(*self.own.ip(), &self.backend.tunnel_mode())))
            }
            ("/health", _) => Err(Refusal::wrong_method("GET")),
            ("/rpc", "POST") => {
                let caller = auth::caller(head, &*self.backend, from)?;
                let way = Way::of(head.only("upgrade")?);
                Ok(Next::Call(Call { caller, way }, head.body()?))
            }
            ("/rpc", _) => Err(Refusal::wrong_method("POST")),
            _ => Err(Refusal::of(404, code::NOT_FOUND, "there is /health and /rpc")),
        }
    }

    fn call(&self, Call { caller, way }: Call, body: &str, reply: Reply) {
        match dispatch::call(&*self.backend, caller, body) {
            Asked::Once(Ok(result)) => {
                reply.answer(answer::whole(200, &[], &json!({"result": result})));
            }
            Asked::Once(Err(refusal)) => reply.answer(answer::refused(&refusal)),
            Asked::Stream(method, params) if way == Way::Frames && method == RUN_START => {
                self.both_ways(caller, &method, params, reply);
            }
            Asked::Stream(method, params) => {
                if let Some(lines) = reply.stream() {
                    let caller = caller.laptop();
                    self.backend.work().relay(caller.as_ref(), &method, params, &lines);
                }
            }
        }
    }

    fn takes(&self, call: &Call) -> bool {
        call.way == Way::Bytes
    }

    /// `work` answers, and has the connection from then on.
    fn take(&self, Call { caller, .. }: Call, body: &str, given: Given) {
        let handed = dispatch::of_bytes(body).map_err(|refusal| answer::refused(&refusal));
        let handed = handed.and_then(|(method, params)| {
            let caller = caller.laptop();
            let handed = self.backend.work().hand(caller.as_ref(), &method, params, &given);
            handed.map_err(|line| answer::line(&line))
        });
        if let Err(answer) = handed {
            // Nothing has been sent on it: there is room for this.
            let _ = (&given.stream).write(&answer);
        }
    }
}

impl Api {
    /// Once `work` has agreed there is no HTTP any more.
    fn both_ways(&self, caller: Caller, method: &str, params: Value, reply: Reply) {
        let caller = caller.laptop();
        match self.backend.work().frames(caller.as_ref(), method, params) {
            Ok((work, first)) => {
                if let Some(lent) = reply.lend() {
                    pump::both_ways(&lent.stream, &work, &[&answer::switched(PROTOCOL), &first]);
                }
            }
            Err(line) => reply.answer(answer::line(&line)),
        }
    }
}
