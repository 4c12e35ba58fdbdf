//! What `GET /health` says. It needs no token, so it says nothing that a port scan does not.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::rpc::VERSION;
use crate::rpc::types::TunnelMode;

pub fn health(local_ip: Ipv4Addr, mode: &TunnelMode) -> Value {
    json!({
        "status": "ok",
        "tunnel": true,
        "tunnel_mode": mode.word(),
        "local_ip": local_ip.to_string(),
        "version": VERSION,
    })
}
