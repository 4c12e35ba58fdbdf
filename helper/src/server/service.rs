//! What this daemon offers, seen from the socket. Must not know: how a family of operations works.

use crate::core::conn::Outcome;
use crate::core::operation::Operation;
use crate::core::peer_cred::Admission;
use crate::core::service::Service;
use crate::net::config::Config;
use crate::proto::OpError;
use crate::server::firewall::{RULES_MAX, RULES_PER_UID};
use crate::server::host::Host;
use crate::server::nginx::{SITES_MAX, SITES_PER_UID};
use crate::server::ops::OPERATIONS;
use serde_json::{Value, json};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

impl Service for Host {
    const UNASKED: &'static str = "(reconcile)";

    fn operations() -> &'static [Operation<Host>] {
        &OPERATIONS
    }

    fn admission(&self) -> &Admission {
        &self.config.admission
    }

    fn reload(&mut self, config: &Path) -> Result<(), String> {
        self.config = Config::load(config, &self.config.admission)?;
        Ok(())
    }

    /// At the start that was done before; the report of it.
    fn reconcile(&mut self) -> Value {
        self.firewall.look_again();
        self.sites.look_again();
        json!({"firewall": self.firewall.summary(), "nginx": self.sites.summary()})
    }

    fn is_idle(&self) -> bool {
        self.firewall.is_idle()
            && self.errands.is_idle()
            && self.sites.is_idle()
            && !self.is_detached()
            && !self.is_outdated()
    }

    fn watches(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn look(&mut self, _: Instant) {}

    fn tick(&mut self, _: Instant) {
        self.advance();
    }

    /// A worker has ended, or says nothing any more.
    fn is_detached(&self) -> bool {
        let workers = [&self.firewall.worker, &self.errands.worker, &self.sites.worker];
        workers.iter().any(|worker| worker.is_gone())
    }

    fn is_outdated(&self) -> bool {
        self.config.is_outdated()
    }

    /// Rules stay when the connection ends that has asked for them.
    fn holds(&self, _: u64) -> bool {
        false
    }
    fn end_connection(&mut self, _: u64) {}

    fn awaited(&self) -> Vec<BorrowedFd<'_>> {
        let more = [&self.errands.worker, &self.sites.worker];
        let more = more.into_iter().filter_map(|worker| worker.watched());
        self.firewall.watches().into_iter().chain(more).collect()
    }

    fn advance(&mut self) {
        self.firewall.advance();
        self.errands.advance();
        self.sites.advance();
    }

    fn finished(&mut self) -> Option<(u64, Outcome)> {
        let more = || self.errands.done.pop_front().or_else(|| self.sites.done.pop_front());
        self.firewall.finished().or_else(more)
    }

    /// Rules stay without the daemon: to stop it is to keep everything as it is.
    fn end_all(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn take_changes(&mut self) -> Vec<String> {
        let (errands, sites) = (&mut self.errands.changes, &mut self.sites.changes);
        let more = [std::mem::take(errands), std::mem::take(sites)].concat();
        [self.firewall.take_changes(), more].concat()
    }

    fn health(&self) -> Value {
        json!({"firewall": self.firewall.summary(), "nginx": self.sites.summary()})
    }

    fn limits(&self) -> Value {
        json!({
            "rules": RULES_MAX, "rules_per_uid": RULES_PER_UID,
            "sites": SITES_MAX, "sites_per_uid": SITES_PER_UID,
        })
    }

    fn troubles(&self) -> Vec<String> {
        self.firewall.troubles().chain(self.sites.troubles()).collect()
    }
}
