//! Leases and names as what a daemon offers.

use super::leases::{HOSTS_MAX, HOSTS_PER_UID, LEASES_MAX, LEASES_PER_UID, Leases, tell};
use crate::core::operation::Operation;
use crate::core::peer_cred::Admission;
use crate::core::service::Service;
use crate::net::config::Config;
use crate::net::ops::OPERATIONS;
use crate::proto::OpError;
use serde_json::{Value, json};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

impl Service for Leases {
    fn operations() -> &'static [Operation<Leases>] {
        &OPERATIONS
    }

    fn admission(&self) -> &Admission {
        &self.config.admission
    }

    fn reload(&mut self, config: &Path) -> Result<(), String> {
        self.config = Config::load(config, &self.config.admission)?;
        Ok(())
    }

    fn reconcile(&mut self) -> Value {
        self.report = self.compare();
        json!(self.report)
    }

    fn is_idle(&self) -> bool {
        let holds = !self.state.leases.is_empty() || !self.state.named.is_empty();
        !holds && !self.is_detached() && !self.is_outdated()
    }

    fn watches(&self) -> Vec<BorrowedFd<'_>> {
        self.links.watches().collect()
    }

    fn look(&mut self, now: Instant) {
        self.look_around(now);
    }

    fn tick(&mut self, now: Instant) {
        if self.attach_until.is_some_and(|until| until <= now) {
            self.attach_until = None;
            let ended = self.end(|lease| lease.holder.is_none(), |_| false);
            tell("end of holders that did not come back", ended);
        }
    }

    fn is_detached(&self) -> bool {
        self.hosts.detached || self.resolvers.detached
    }

    fn is_outdated(&self) -> bool {
        self.config.is_outdated()
    }

    fn holds(&self, conn: u64) -> bool {
        self.state.leases.iter().any(|lease| lease.is_held_by(conn))
            || self.state.named.iter().any(|named| named.conn == Some(conn))
    }

    /// What cannot be undone is told on stderr and forgotten: its owner is gone.
    fn end_connection(&mut self, conn: u64) {
        if self.holds(conn) {
            let ended = self.end(|lease| lease.is_held_by(conn), |named| named.conn == Some(conn));
            tell("end of a connection", ended);
        }
    }

    /// Also the guard and the block of names that an earlier run left behind.
    fn end_all(&mut self) -> Result<(), OpError> {
        let result = self.end(|_| true, |_| true);
        self.guard_addresses();
        self.write_names(true).and(result)
    }

    const UNASKED: &'static str = "(lease lost)";

    fn take_changes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.changes)
    }

    fn health(&self) -> Value {
        json!({
            "leases": self.state.leases.len(),
            "hosts": self.state.named.len(),
            "pools": self.config.pools.list(),
            "last_reconcile": self.report,
            "layers": self.links.layers().to_json(),
        })
    }

    fn limits(&self) -> Value {
        json!({
            "leases": LEASES_MAX, "leases_per_uid": LEASES_PER_UID,
            "hosts": HOSTS_MAX, "hosts_per_uid": HOSTS_PER_UID,
        })
    }

    fn troubles(&self) -> Vec<String> {
        let known = [&self.file.trouble, &self.trouble, &self.resolvers.trouble];
        known.into_iter().flatten().cloned().chain(self.left_alone()).collect()
    }
}
