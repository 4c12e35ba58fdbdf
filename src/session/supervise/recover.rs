//! The way to the VPS: where it is, from where datagrams to it would leave, and when it has to be
//! found anew because the network changed, the machine slept or the agent fell silent. Decides;
//! what is to be done with tunnel and agent is the caller's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::host::config::HostConfig;
use crate::session::monitor::Moment;
use crate::session::recovery::Recovery;
use crate::session::resolver::{Resolver, joined};
use crate::session::sleep::Sleep;
use crate::session::source_addrs::source_addrs;
use crate::sys::poll::Interest;
use crate::sys::{clock, netlink};

/// How soon the agent answers when a change of the network was not ours.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

pub struct VpsPath {
    /// Tells of addresses and routes; `None` where the system does not let us know.
    changes: Option<netlink::Monitor>,
    recovery: Recovery,
    resolver: Resolver,
    sleep: Sleep,
    /// The VPS's addresses, and from where datagrams to each would leave.
    remotes: Vec<SocketAddr>,
    source_addrs: Vec<Option<IpAddr>>,
    /// Something changed that may not concern us: the agent answers by then, or it does.
    suspect_until: Option<Duration>,
}

/// What a look found, and what it asks for.
#[derive(Debug, Default)]
pub struct Found {
    /// To be remembered, in words.
    pub events: Vec<String>,
    /// Connections of before are none any more: another network, or the machine slept.
    pub moved: bool,
    /// Bind anew, and shake hands with every address that is known.
    pub reconnect: bool,
    pub ask_agent: bool,
}

impl VpsPath {
    pub fn new(host: &HostConfig, remotes: Vec<SocketAddr>) -> io::Result<VpsPath> {
        Ok(VpsPath {
            changes: netlink::Monitor::open().ok(),
            recovery: Recovery::default(),
            resolver: Resolver::new(&host.endpoint, host.second_port)?,
            sleep: Sleep::new(Moment::now().boot, awake()),
            source_addrs: source_addrs(&remotes),
            remotes,
            suspect_until: None,
        })
    }

    pub fn remotes(&self) -> &[SocketAddr] {
        &self.remotes
    }

    /// When it is to be looked at next, on the boot clock.
    pub fn due(&self) -> Option<Duration> {
        self.recovery.due().into_iter().chain(self.suspect_until).min()
    }

    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        let changes = self.changes.iter().map(|changes| (changes.as_fd(), Interest::READ));
        changes.chain([(self.resolver.as_fd(), Interest::READ)])
    }

    /// The agent answered a question that was put at `asked`.
    pub fn answered(&mut self, asked: Duration) {
        self.suspect_until = None;
        self.recovery.answered(asked);
    }

    pub fn missed(&mut self, now: Moment) {
        self.recovery.missed(now.boot);
    }

    /// Looks whether it changed, and whether it is time to try.
    pub fn look(&mut self, now: Moment) -> Found {
        let mut found = Found::default();
        if let Some(slept) = self.sleep.look(now.boot, awake()) {
            found.events.push(format!("woke up after {} s", slept.as_secs()));
            found.moved = true;
            self.disturbed(now);
        }
        self.changed(now, &mut found);
        found.events.extend(self.resolved(now));
        if self.suspect_until.is_some_and(|due| due <= now.boot) {
            self.disturbed(now);
        }
        if self.recovery.take_due(now.boot) {
            self.resolver.ask();
            self.source_addrs = source_addrs(&self.remotes);
            (found.reconnect, found.ask_agent) = (true, true);
        }
        found
    }

    /// What the system says of addresses and routes. A change elsewhere, such as a container that
    /// starts, only makes us ask the agent.
    fn changed(&mut self, now: Moment, found: &mut Found) {
        let mut events = Vec::new();
        if let Some(changes) = &mut self.changes {
            changes.read(&mut events);
        }
        if events.is_empty() {
            return;
        }
        let source_addrs = source_addrs(&self.remotes);
        if source_addrs != self.source_addrs {
            self.source_addrs = source_addrs;
            found.events.push("the network changed".to_owned());
            found.moved = true;
            self.disturbed(now);
        } else if self.suspect_until.is_none() && !self.recovery.is_trying() {
            self.suspect_until = Some(now.boot + ANSWERS_WITHIN);
            found.ask_agent = true;
        }
    }

    /// What the resolver found. Without an answer the addresses stay as they were.
    fn resolved(&mut self, now: Moment) -> Option<String> {
        let found = self.resolver.take()?.ok()?;
        if found.is_empty() || found == self.remotes {
            return None;
        }
        let same = |one: &[SocketAddr], other: &[SocketAddr]| one.iter().all(|a| other.contains(a));
        let moved = !(same(&found, &self.remotes) && same(&self.remotes, &found));
        self.remotes = found;
        self.source_addrs = source_addrs(&self.remotes);
        moved.then(|| {
            self.recovery.disturbed(now.boot);
            format!("{} is now {}", self.resolver.name(), joined(&self.remotes))
        })
    }

    fn disturbed(&mut self, now: Moment) {
        self.suspect_until = None;
        self.recovery.disturbed(now.boot);
    }
}

fn awake() -> Duration {
    Duration::from_nanos(clock::awake_nanos())
}
