//! The operations that every daemon has. Must not know: the others.

use crate::core::accept::{CONNECTIONS_MAX, CONNECTIONS_PER_UID, SILENT_PER_UID};
use crate::core::conn::Conn;
use crate::core::operation::{Outcome, Perform};
use crate::core::request::malformed;
use crate::core::serve::{DEADLINE, IDLE_MAX, Server};
use crate::core::service::Service;
use crate::core::{limit, lockdown};
use crate::proto::{self, Args, Code, MAX_REQUEST, OpError, required};
use serde_json::{Value, json};

pub struct Handshake {
    version: u64,
}

impl<S: Service> Perform<S> for Handshake {
    fn read(a: &Args) -> Result<Handshake, OpError> {
        required("client_version", a.text("client_version")?)?;
        let version = "client_protocol_version";
        Ok(Handshake { version: required(version, a.int(version, 0, u64::MAX)?)? })
    }

    fn perform(self, server: &mut Server<S>, conn: &mut Conn) -> Outcome {
        if conn.handshaken {
            return Err(malformed("the handshake is already done"));
        }
        if self.version != proto::VERSION {
            let why = proto::mismatch(self.version);
            return Err(OpError::new(Code::ProtocolVersionMismatch, why));
        }
        conn.handshaken = true;
        let own = json!({
            "accepted": true,
            "features": S::operations().iter().map(|row| row.name).collect::<Vec<&str>>(),
            "limits": limits(&server.service),
        });
        Ok(merged(merged(version(), own), server.service.welcome()).into())
    }
}

pub struct Version;

impl<S: Service> Perform<S> for Version {
    fn read(_: &Args) -> Result<Version, OpError> {
        Ok(Version)
    }

    fn perform(self, _: &mut Server<S>, _: &mut Conn) -> Outcome {
        Ok(version().into())
    }
}

pub struct Health;

impl<S: Service> Perform<S> for Health {
    fn read(_: &Args) -> Result<Health, OpError> {
        Ok(Health)
    }

    fn perform(self, server: &mut Server<S>, _: &mut Conn) -> Outcome {
        let lock = lockdown::look(&server.config_path);
        let doubt = lock.as_ref().filter(|lock| lock.doubtful).map(|lock| lock.why.clone());
        let trouble = server.audit.trouble.clone();
        let degraded: Vec<String> =
            server.service.troubles().into_iter().chain(doubt).chain(trouble).collect();
        let own = json!({
            "status": if degraded.is_empty() { "ok" } else { "degraded" },
            "degraded": degraded,
            "uptime_s": server.started.elapsed().as_secs(),
            "lockdown": lock.as_ref().map(|lock| &lock.why),
            "connections": server.conns.len() + 1,
            "audit_ok": server.audit.trouble.is_none(),
            "audit_lost": server.audit.lost,
            "sandbox": server.layers.to_json(),
            "limits": limits(&server.service),
        });
        Ok(merged(own, server.service.health()).into())
    }
}

fn version() -> Value {
    json!({
        "daemon_version": env!("CARGO_PKG_VERSION"),
        "protocol_version": proto::VERSION,
        "platform": std::env::consts::OS,
    })
}

fn limits(service: &impl Service) -> Value {
    let own = json!({
        "connections": CONNECTIONS_MAX, "connections_per_uid": CONNECTIONS_PER_UID,
        "request_bytes": MAX_REQUEST, "deadline_s": DEADLINE.as_secs(),
        "idle_s": IDLE_MAX.as_secs(), "silent_per_uid": SILENT_PER_UID,
        "requests_per_s": limit::REQUESTS_PER_S, "burst": limit::BURST,
    });
    merged(own, service.limits())
}

/// One object with what is in two.
fn merged(mut a: Value, b: Value) -> Value {
    if let (Value::Object(to), Value::Object(from)) = (&mut a, b) {
        to.extend(from);
    }
    a
}
