//! One request line and its answer: who may ask what now, and that every change is announced in
//! the audit log before it is made, and confirmed. Must not know: what is offered.

use crate::core::audit;
use crate::core::conn::{Conn, Outcome};
use crate::core::limit;
use crate::core::lockdown;
use crate::core::operation::{self, Act, Effect, Operation, Role};
use crate::core::server::Server;
use crate::core::service::Service;
use crate::proto::{self, Code, MAX_REQUEST, OpError, Rejection, Request};
use serde_json::json;
use std::time::Instant;

/// What a line asks for: the request, its row, and what is to be done.
pub type Asked<S> = (Request, &'static Operation<S>, Act<S>);

/// Reads one request line (without its newline).
pub fn read_line<S: Service>(line: &[u8]) -> Result<Asked<S>, Rejection> {
    let request = proto::parse_request(line)?;
    let row = operation::find(S::operations(), &request.op);
    match row.and_then(|row| Ok((row, row.read(&request.args)?))) {
        Ok((row, act)) => Ok((request, row, act)),
        Err(error) => Err(Rejection { id: request.id, error, close: false }),
    }
}

impl<S: Service> Server<S> {
    pub(super) fn serve_line(&mut self, conn: &mut Conn, line: &[u8]) {
        let now = Instant::now();
        let fair = self.rates.take(conn.peer.uid, now);
        let allowed = self.allowed(conn, line);
        if !fair {
            conn.rests_until = Some(now + limit::INTERVAL);
            let why = format!("more than {} requests per second", limit::REQUESTS_PER_S);
            let id = allowed.map_or_else(|rejection| rejection.id, |(request, ..)| request.id);
            let error = OpError { retry: true, ..OpError::new(Code::LimitExceeded, why) };
            return conn.reply(&id, Err(error));
        }
        let answered = allowed.and_then(|(request, row, act)| match row.effect {
            Effect::Reads => match act(self, conn) {
                Ok(done) => Ok((request.id, Ok(done))),
                Err(error) => Err(Rejection {
                    close: error.code == Code::ProtocolVersionMismatch,
                    id: request.id,
                    error,
                }),
            },
            _ => {
                let outcome = self.change(conn, &request, row, act);
                Ok((request.id, outcome))
            }
        });
        match answered {
            Ok((id, outcome)) => conn.reply(&id, outcome),
            Err(Rejection { id, error, close }) => {
                let rest = [
                    ("id", json!(id)),
                    ("code", json!(error.code.as_str())),
                    ("bytes", json!(line.len())),
                    ("fnv1a", json!(format!("{:016x}", audit::fnv1a(line)))),
                ];
                self.audit.line("deny", conn.who(), "(request)", &rest, false);
                conn.closing |= close;
                conn.reply(&id, Err(error));
            }
        }
    }

    /// The request of a line, if this connection may make it now.
    fn allowed(&self, conn: &Conn, line: &[u8]) -> Result<Asked<S>, Rejection> {
        if line.len() >= MAX_REQUEST {
            let error = malformed("a request has at most 4096 bytes");
            return Err(Rejection { id: String::new(), error, close: true });
        }
        // Before the handshake nothing that cannot be read is given a second chance: it is
        // most likely not our protocol.
        let early = !conn.handshaken;
        let asked = read_line(line);
        let (request, row, act) = asked.map_err(|r| Rejection { close: r.close || early, ..r })?;
        let stop = |error, close| Err(Rejection { id: request.id.clone(), error, close });
        if row.role == Role::Neighbour {
            if early {
                return stop(malformed("handshake first"), true);
            }
            if !conn.peer.same_network(self.netns, self.service.admission()) {
                let why = "the caller is in another network namespace";
                return stop(OpError::new(Code::PermissionDenied, why), false);
            }
        }
        if row.effect == Effect::Makes {
            if let Some(lock) = lockdown::look(&self.config_path) {
                return stop(OpError::new(Code::LockdownActive, lock.why), false);
            }
        }
        Ok((request, row, act))
    }

    /// A change is announced in the audit log before it is made, or else not made.
    fn change(
        &mut self,
        conn: &mut Conn,
        request: &Request,
        row: &Operation<S>,
        act: Act<S>,
    ) -> Outcome {
        let (who, begun) = (conn.who(), Instant::now());
        let rest = [("id", json!(request.id)), ("args", json!(request.args))];
        let announced = self.audit.line("begin", who, row.name, &rest, false);
        if !announced && row.effect != Effect::GivesBack {
            return Err(OpError::new(Code::InternalError, "the audit log cannot be written"));
        }
        let outcome = act(self, conn);
        let mut rest = vec![
            ("id", json!(request.id)),
            ("outcome", json!(if outcome.is_ok() { "ok" } else { "error" })),
        ];
        match &outcome {
            Err(e) => rest.push(("code", json!(e.code.as_str()))),
            Ok(done) => rest.extend(done.result.get("lease_id").map(|id| ("lease", id.clone()))),
        }
        rest.push(("duration_us", json!(begun.elapsed().as_micros() as u64)));
        rest.push(("changes", json!(self.service.take_changes())));
        self.audit.line("done", who, row.name, &rest, true);
        outcome
    }
}

pub fn malformed(message: &str) -> OpError {
    OpError::new(Code::MalformedRequest, message)
}
