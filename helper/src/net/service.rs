//! What hop-helper offers: leases and names, within what root allows. Must not know: how lines
//! come and go.

use crate::core::conn::Conn;
use crate::core::operation::Operation;
use crate::core::peer_cred::Admission;
use crate::core::service::Service;
use crate::net::config::Config;
use crate::net::lease::{self, Caller, Leases};
use crate::net::link::{Layer, Layers};
use crate::net::ops::OPERATIONS;
use crate::proto::OpError;
use serde_json::{Value, json};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

pub struct Net {
    pub leases: Leases,
    pub config: Config,
}

impl From<&mut Conn> for Caller {
    fn from(conn: &mut Conn) -> Caller {
        Caller { conn: conn.id, uid: conn.peer.uid, pid: conn.peer.pid }
    }
}

impl Service for Net {
    fn operations() -> &'static [Operation<Net>] {
        &OPERATIONS
    }

    fn admission(&self) -> &Admission {
        &self.config.admission
    }

    fn reload(&mut self, config: &Path) -> Result<(), String> {
        self.config = Config::load(config, self.config.admission.group)?;
        Ok(())
    }

    fn reconcile(&mut self) -> Value {
        self.leases.reconcile(&self.config);
        self.leases.report.to_json()
    }

    fn is_idle(&self) -> bool {
        self.leases.counts() == (0, 0) && !self.is_detached()
    }

    fn watches(&self) -> Vec<BorrowedFd<'_>> {
        self.leases.watches().collect()
    }

    fn look(&mut self, now: Instant) {
        self.leases.look(now);
    }

    fn tick(&mut self, now: Instant) {
        self.leases.tick(now);
    }

    fn is_detached(&self) -> bool {
        self.leases.detached()
    }

    fn holds(&self, conn: u64) -> bool {
        self.leases.holds(conn)
    }

    fn end_connection(&mut self, conn: u64) {
        self.leases.end_connection(conn);
    }

    fn end_all(&mut self) -> Result<(), OpError> {
        self.leases.end_all()
    }

    fn take_changes(&mut self) -> Vec<String> {
        self.leases.take_changes()
    }

    fn welcome(&self) -> Value {
        json!({"role": "client", "pools": self.config.pools.list(), "suffix": ".hop"})
    }

    fn health(&self) -> Value {
        let (leases, hosts) = self.leases.counts();
        json!({
            "leases": leases,
            "hosts": hosts,
            "rules": 0,
            "last_reconcile": self.leases.report.to_json(),
            "layers": layers(self.leases.layers()),
            "state_ok": self.leases.state_is_written(),
            "hosts_mode": "in-place",
        })
    }

    fn limits(&self) -> Value {
        json!({
            "leases": lease::LEASES_MAX, "leases_per_uid": lease::LEASES_PER_UID,
            "hosts": lease::HOSTS_MAX, "hosts_per_uid": lease::HOSTS_PER_UID,
        })
    }

    fn troubles(&self) -> Vec<String> {
        self.leases.troubles()
    }
}

/// Word and reason for each layer.
fn layers(layers: Layers) -> Value {
    let state = |layer| match layer {
        Layer::Idle => json!({"state": "idle"}),
        Layer::On => json!({"state": "on"}),
        Layer::Missing(why) => json!({"state": "missing", "reason": why.what()}),
    };
    json!({
        "ingress_filter": state(layers.ingress_filter), "ipv6_off": state(layers.ipv6_off),
        "rp_filter": state(layers.rp_filter), "lan_guard": state(layers.lan_guard),
    })
}
