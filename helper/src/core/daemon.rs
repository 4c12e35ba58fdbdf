//! The operations that every daemon has. Must not know: the others.

use crate::core::accept::{CONNECTIONS_MAX, CONNECTIONS_PER_UID, SILENT_PER_UID};
use crate::core::operation::Act;
use crate::core::request::malformed;
use crate::core::serve::{DEADLINE, IDLE_MAX};
use crate::core::server::Server;
use crate::core::service::Service;
use crate::core::{limit, lockdown};
use crate::proto::{self, Args, Code, MAX_REQUEST, OpError, required};
use serde_json::{Value, json};

pub fn handshake<S>(a: &Args) -> Result<Act<S>, OpError> {
    required("client_version", a.text("client_version")?)?;
    let version = "client_protocol_version";
    let theirs = required(version, a.int(version, 0, u64::MAX)?)?;
    Ok(Box::new(move |_, conn| {
        if conn.handshaken {
            return Err(malformed("the handshake is already done"));
        }
        if theirs != proto::VERSION {
            let why = proto::mismatch(theirs);
            return Err(OpError::new(Code::ProtocolVersionMismatch, why));
        }
        conn.handshaken = true;
        Ok(merged(about(), json!({"accepted": true})).into())
    }))
}

pub fn version<S>(_: &Args) -> Result<Act<S>, OpError> {
    Ok(Box::new(|server, _| Ok(merged(about(), json!({"program": server.own_file})).into())))
}

pub fn health<S: Service>(_: &Args) -> Result<Act<S>, OpError> {
    Ok(Box::new(|server, _| Ok(merged(condition(server), server.service.health()).into())))
}

fn condition<S: Service>(server: &Server<S>) -> Value {
    let lock = lockdown::look(&server.config_path);
    let doubt = lock.as_ref().filter(|lock| lock.doubtful).map(|lock| lock.why.clone());
    let trouble = server.audit.trouble.clone();
    let degraded: Vec<String> =
        server.service.troubles().into_iter().chain(doubt).chain(trouble).collect();
    json!({
        "status": if degraded.is_empty() { "ok" } else { "degraded" },
        "degraded": degraded,
        "uptime_s": server.started.elapsed().as_secs(),
        "lockdown": lock.as_ref().map(|lock| &lock.why),
        "connections": server.conns.len() + 1,
        "audit_ok": server.audit.trouble.is_none(),
        "audit_lost": server.audit.lost,
        "sandbox": server.layers.to_json(),
        "limits": limits(&server.service),
    })
}

fn about() -> Value {
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
