//! How a session that is up stays so: the network changes, the machine sleeps, the helper is
//! restarted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::supervisor::{Supervisor, awake};
use crate::base::task::Tasks;
use crate::helper::{Helper, HelperError, RESUME_WITHIN, socket_path};
use crate::session::log::log;
use crate::session::monitor::Moment;
use crate::session::resolver::joined;
use crate::session::source_addrs::source_addrs;

/// How soon the agent answers when a change of the network was not ours.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

impl Supervisor<'_> {
    /// Looks whether the way to the VPS changed, and tries to find it when it did.
    pub(super) fn recover(&mut self, now: Moment) {
        if let Some(slept) = self.sleep.look(now.boot, awake()) {
            self.event(&format!("woke up after {} s", slept.as_secs()));
            self.disturbed(now);
        }
        self.changes(now);
        self.resolved(now);
        if self.suspect_until.is_some_and(|due| due <= now.boot) {
            self.disturbed(now);
        }
        if self.recovery.take_due(now.boot) {
            self.attempt();
        }
    }

    /// What the system says of addresses and routes. A change elsewhere, such as a container that
    /// starts, only makes us ask the agent.
    fn changes(&mut self, now: Moment) {
        let mut events = Vec::new();
        if let Some(changes) = &mut self.changes {
            changes.read(&mut events);
        }
        if events.is_empty() {
            return;
        }
        let ways = source_addrs(&self.remotes);
        if ways != self.source_addrs {
            self.source_addrs = ways;
            self.event("the network changed");
            self.disturbed(now);
        } else if self.suspect_until.is_none() && !self.recovery.is_trying() {
            self.suspect_until = Some(now.boot + ANSWERS_WITHIN);
            self.prober.ask(false);
        }
    }

    fn disturbed(&mut self, now: Moment) {
        self.suspect_until = None;
        self.recovery.disturbed(now.boot);
    }

    /// Binds anew, handshakes with every address that is known, and asks for newer ones.
    fn attempt(&mut self) {
        self.resolver.ask();
        self.source_addrs = source_addrs(&self.remotes);
        self.reconnect();
        self.prober.ask(false);
    }

    fn reconnect(&mut self) {
        // The agent's key may have been renewed since the host file was read.
        let peer = self.tunnel_status().and_then(|status| Some(status.peers.first()?.public_key));
        if let Some(tunnel) = &self.running.parts.tunnel {
            tunnel.reconnect(peer.unwrap_or(self.host.public_key), &self.remotes);
        }
    }

    /// What the resolver found. Without an answer the addresses stay as they were.
    fn resolved(&mut self, now: Moment) {
        let Some(Ok(found)) = self.resolver.take() else { return };
        if found.is_empty() || found == self.remotes {
            return;
        }
        let same = |one: &[SocketAddr], other: &[SocketAddr]| one.iter().all(|a| other.contains(a));
        let moved = !(same(&found, &self.remotes) && same(&self.remotes, &found));
        self.remotes = found;
        self.source_addrs = source_addrs(&self.remotes);
        if moved {
            let (host, list) = (&self.host.endpoint.host, joined(&self.remotes));
            self.event(&format!("{host} is now {list}"));
            self.recovery.disturbed(now.boot);
        }
    }

    /// Looks after the connection to the helper; an error is the end of the lease.
    pub(super) fn hold_lease(&mut self) -> Result<(), String> {
        let Some(search) = &mut self.resuming else {
            if self.running.parts.helper.closed() {
                self.event("the helper went away");
                log("the helper went away; the tunnel stays while it is looked for");
                let search = search(self.running.lease.clone());
                self.resuming = Some(search.map_err(|error| format!("no helper: {error}"))?);
            }
            return Ok(());
        };
        match search.take() {
            None => {}
            Some(Ok(helper)) => {
                log(&format!("the helper is back, version {}", helper.version()));
                self.running.parts.helper = helper;
                self.resuming = None;
                self.event("the helper is back");
            }
            Some(Err(error)) => {
                self.resuming = None;
                return Err(format!("the helper is gone, and with it the lease: {error}"));
            }
        }
        Ok(())
    }
}

/// Looks for a helper that is being started anew, which may take 30 s: packets go on meanwhile.
pub type Search = Tasks<Result<Helper, HelperError>>;

fn search(lease: String) -> io::Result<Search> {
    Tasks::one("helper", move || Helper::resume(&socket_path(), &lease, RESUME_WITHIN))
}
