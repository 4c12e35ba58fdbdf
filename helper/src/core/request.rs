//! One request line and its answer: who may ask what now, and that every change is announced in
//! the audit log before it is made, and confirmed. Must not know: what is offered.

use crate::core::audit;
use crate::core::conn::{Conn, Done, Outcome};
use crate::core::limit;
use crate::core::lockdown;
use crate::core::operation::{self, Act, Effect, Operation, Role};
use crate::core::server::{Begun, Server};
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
                Ok(done) => {
                    self.note(&done, self.begun(conn, &request, row, false));
                    Ok((request.id, Ok(done)))
                }
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
        let begun = self.begun(conn, request, row, true);
        let rest = [("id", json!(request.id)), ("args", json!(request.args))];
        let announced = self.audit.line("begin", begun.who, row.name, &rest, false);
        if !announced && row.effect != Effect::GivesBack {
            return Err(OpError::new(Code::InternalError, "the audit log cannot be written"));
        }
        let outcome = act(self, conn);
        match &outcome {
            Ok(done @ Done::Later) => self.note(done, begun),
            outcome => self.confirm(&begun, outcome),
        }
        outcome
    }

    fn begun(&self, conn: &Conn, request: &Request, row: &Operation<S>, changes: bool) -> Begun {
        let (id, op) = (request.id.clone(), row.name);
        Begun { who: conn.who(), id, op, at: Instant::now(), changes }
    }

    /// Keeps in mind what will be answered later.
    fn note(&mut self, done: &Done, begun: Begun) {
        if matches!(done, Done::Later) {
            self.begun.push(begun);
        }
    }

    /// How a change ended, for the audit log.
    fn confirm(&mut self, begun: &Begun, outcome: &Outcome) {
        let mut rest = vec![
            ("id", json!(begun.id)),
            ("outcome", json!(if outcome.is_ok() { "ok" } else { "error" })),
        ];
        match outcome {
            Err(e) => rest.push(("code", json!(e.code.as_str()))),
            Ok(Done::Now { result, .. }) => {
                let named = [("lease_id", "lease"), ("rule_id", "rule")];
                let named = named.iter().filter_map(|(key, as_)| Some((*as_, result.get(key)?)));
                rest.extend(named.map(|(key, id)| (key, id.clone())));
            }
            Ok(Done::Later) => {}
        }
        rest.push(("duration_us", json!(begun.at.elapsed().as_micros() as u64)));
        rest.push(("changes", json!(self.service.take_changes())));
        self.audit.line("done", begun.who, begun.op, &rest, true);
    }

    /// Answers what was begun, as far as it is done. Whoever hung up meanwhile is not told, and the
    /// audit log is all the same.
    pub(super) fn answer_begun(&mut self) {
        while let Some((conn, outcome)) = self.service.finished() {
            let Some(at) = self.begun.iter().position(|begun| begun.who.conn == conn) else {
                continue;
            };
            let begun = self.begun.remove(at);
            if begun.changes {
                self.confirm(&begun, &outcome);
            }
            if let Some(conn) = self.conns.iter_mut().find(|held| held.id == conn) {
                conn.active = Instant::now();
                conn.reply(&begun.id, outcome);
            }
        }
    }
}

pub fn malformed(message: &str) -> OpError {
    OpError::new(Code::MalformedRequest, message)
}
