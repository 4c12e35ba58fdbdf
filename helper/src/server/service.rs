//! What this daemon offers, seen from the socket. Must not know: how a family of operations works.

use crate::core::conn::Outcome;
use crate::core::operation::Operation;
use crate::core::peer_cred::Admission;
use crate::core::service::Service;
use crate::net::config::Config;
use crate::proto::OpError;
use crate::server::firewall::{RULES_MAX, RULES_PER_UID};
use crate::server::host::Host;
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
        self.firewall.summary()
    }

    fn is_idle(&self) -> bool {
        self.firewall.is_idle()
            && self.errands.is_idle()
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
        self.firewall.is_lost() || self.errands.is_lost()
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
        self.firewall.watches().into_iter().chain(self.errands.watches()).collect()
    }

    fn advance(&mut self) {
        self.firewall.advance();
        self.errands.advance();
    }

    fn finished(&mut self) -> Option<(u64, Outcome)> {
        self.firewall.finished().or_else(|| self.errands.done.pop_front())
    }

    /// Rules stay without the daemon: to stop it is to keep everything as it is.
    fn end_all(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn take_changes(&mut self) -> Vec<String> {
        let more = std::mem::take(&mut self.errands.changes);
        [self.firewall.take_changes(), more].concat()
    }

    fn health(&self) -> Value {
        json!({"firewall": self.firewall.summary()})
    }

    fn limits(&self) -> Value {
        json!({"rules": RULES_MAX, "rules_per_uid": RULES_PER_UID})
    }

    fn troubles(&self) -> Vec<String> {
        self.firewall.troubles().collect()
    }
}
