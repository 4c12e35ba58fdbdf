//! What a session does while its host is up: it waits for signals, its control socket, the
//! agent's answers, the end of the tunnel and that of the helper, and tells how things are.
//!
//! One thread, one sleep; every moment is on the boot clock, so that time slept counts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::recover::Search;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::session::log;
use crate::session::monitor::{Change, Moment, Monitor, Probed, Prober, hms};
use crate::session::recovery::Recovery;
use crate::session::requests::Requests;
use crate::session::resolver::Resolver;
use crate::session::rival::{Rival, STRANGE};
use crate::session::sleep::Sleep;
use crate::session::source_addrs::source_addrs;
use crate::session::state::Record;
use crate::session::up::Running;
use crate::sys::clock::{self, BootTimer};
use crate::sys::netlink;
use crate::sys::poll::{self, Interest};
use crate::sys::through::Link;
use crate::tunnel::{self, Stopped};

/// Why a session that was up ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `hop down`, Ctrl-C or a termination signal.
    Asked,
    /// The tunnel or the helper went away; the text says which.
    Lost(String),
}

/// The last that was heard of the agent.
pub(super) struct LastProbe {
    pub(super) at: Instant,
    pub(super) outcome: Result<Duration, String>,
}

pub struct Supervisor<'a> {
    pub(super) paths: &'a Paths,
    pub(super) host: &'a HostConfig,
    pub(super) running: &'a mut Running,
    pub(super) requests: &'a mut Requests,
    pub(super) record: Record,
    pub(super) timer: BootTimer,
    pub(super) monitor: Monitor,
    pub(super) prober: Prober,
    pub(super) last: LastProbe,
    pub(super) version: String,
    pub(super) since: Instant,
    /// Bytes received when the agent was last heard or missed, and since when there are no more.
    pub(super) received: u64,
    pub(super) rival: Rival,
    pub(super) silent_since: Option<Instant>,
    /// When those who asked for the status get what is known by then.
    pub(super) status_due: Option<Duration>,
    /// When somebody last asked for the status.
    pub(super) status_asked: Option<Instant>,
    /// Tells of addresses and routes; `None` where the system does not let us know.
    pub(super) changes: Option<netlink::Monitor>,
    pub(super) recovery: Recovery,
    pub(super) resolver: Resolver,
    pub(super) sleep: Sleep,
    /// The VPS's addresses, and from where datagrams to each would leave.
    pub(super) remotes: Vec<SocketAddr>,
    pub(super) source_addrs: Vec<Option<IpAddr>>,
    /// Something changed that may not concern us: answer by then, or it is taken to do.
    pub(super) suspect_until: Option<Duration>,
    /// While the helper is away: who looks for it.
    pub(super) resuming: Option<Search>,
}

impl<'a> Supervisor<'a> {
    pub fn new(
        paths: &'a Paths,
        host: &'a HostConfig,
        running: &'a mut Running,
        requests: &'a mut Requests,
        record: Record,
    ) -> io::Result<Supervisor<'a>> {
        let link = Link {
            ifindex: running.facts.ifindex.unwrap_or_default(),
            local: running.facts.local_ip,
        };
        let client = Client::through(link, host.peer_ip, host.api_port);
        let remotes = running.remotes.clone();
        let last = LastProbe { at: Instant::now(), outcome: Ok(running.facts.answered) };
        Ok(Supervisor {
            paths,
            host,
            version: running.facts.agent_version.clone(),
            running,
            requests,
            record,
            timer: BootTimer::new()?,
            monitor: Monitor::new(Moment::now()),
            prober: Prober::new(client)?,
            last,
            since: Instant::now(),
            received: 0,
            rival: Rival::default(),
            silent_since: None,
            status_due: None,
            status_asked: None,
            changes: netlink::Monitor::open().ok(),
            recovery: Recovery::default(),
            resolver: Resolver::new(&host.endpoint)?,
            sleep: Sleep::new(Moment::now().boot, awake()),
            source_addrs: source_addrs(&remotes),
            remotes,
            suspect_until: None,
            resuming: None,
        })
    }

    /// Stays until somebody asks for the end or something the tunnel needs is gone.
    pub fn run(&mut self) -> End {
        self.event("up");
        self.note();
        let end = loop {
            if let Some(end) = self.turn() {
                break end;
            }
        };
        match &end {
            End::Asked => self.event("down, as asked"),
            End::Lost(why) => {
                self.record.lost(why);
                self.event(&format!("down: {why}"));
            }
        }
        self.record.note(false, false, None);
        end
    }

    fn turn(&mut self) -> Option<End> {
        if let Err(error) = self.wait() {
            return Some(End::Lost(format!("cannot wait: {error}")));
        }
        if self.requests.stopped() || self.serve() {
            return Some(End::Asked);
        }
        let Some(tunnel) = &self.running.parts.tunnel else {
            return Some(End::Lost("no tunnel".to_owned()));
        };
        if let Some(stopped) = tunnel.ended() {
            return Some(End::Lost(ending(&stopped, &self.running.facts.interface)));
        }
        if let Err(why) = self.hold_lease() {
            return Some(End::Lost(why));
        }
        self.answers();
        let now = Moment::now();
        self.recover(now);
        if self.monitor.take_due(now) {
            self.requests.control.stay();
            self.prober.ask(true);
        }
        self.answer_status(now);
        None
    }

    fn wait(&mut self) -> io::Result<()> {
        let due = [self.status_due, self.recovery.due(), self.suspect_until];
        let due = due.into_iter().flatten().fold(self.monitor.due(), Duration::min);
        self.timer.set(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX))?;
        let mut fds = self.requests.fds().to_vec();
        fds.extend([
            (self.timer.as_fd(), Interest::READ),
            (self.prober.as_fd(), Interest::READ),
            (self.resolver.as_fd(), Interest::READ),
        ]);
        fds.extend(self.changes.iter().map(|changes| (changes.as_fd(), Interest::READ)));
        fds.push(match &self.resuming {
            Some(search) => (search.as_fd(), Interest::READ),
            // It says nothing unasked: only its end is of interest.
            None => (self.running.parts.helper.as_fd(), Interest::NONE),
        });
        fds.extend(self.running.parts.tunnel.iter().map(|t| (t.end_fd(), Interest::READ)));
        poll::wait(&fds, &mut Vec::new(), None)?;
        self.timer.drain();
        Ok(())
    }

    /// What the agent answered, or that it did not.
    fn answers(&mut self) {
        while let Some(probed) = self.prober.take() {
            self.answer(probed);
        }
    }

    fn answer(&mut self, probed: Probed) {
        let now = Moment::now();
        let status = self.tunnel_status();
        let received = status.as_ref().map_or(self.received, received);
        let strange = status.as_ref().map_or(0, strange);
        let healthy = probed.outcome.is_ok();
        match healthy {
            true => {
                self.suspect_until = None;
                self.recovery.answered(now.boot.saturating_sub(probed.took));
                self.rival.answered(strange);
            }
            false => {
                self.recovery.missed(now.boot);
                if self.rival.missed(now.boot, strange) {
                    self.event("another machine seems to use this machine's key");
                }
            }
        }
        self.silent_since = match healthy || received != self.received {
            true => None,
            false => self.silent_since.or(Some(probed.began)),
        };
        self.received = received;
        let outcome = match probed.outcome {
            Ok(health) => {
                self.version = health.version;
                Ok(probed.took)
            }
            Err(error) => Err(error.to_string()),
        };
        // A silence is as old as its question, which may be older than what ended it.
        let at = if healthy { Instant::now() } else { probed.began };
        self.last = LastProbe { at, outcome };
        let down_since = self.monitor.down_since();
        if let Some(change) = self.monitor.heard(now, probed.in_turn, healthy) {
            self.changed(change, now, down_since);
        }
        self.note();
        let tells = healthy || self.status_asked.is_none_or(|asked| asked <= probed.began);
        if tells && self.requests.control.is_asked() {
            self.status_due = Some(now.boot);
        }
    }

    fn changed(&mut self, change: Change, now: Moment, down_since: Option<Moment>) {
        let local = |at: Moment| clock::local_hms(at.wall_s);
        log::line(&change.message(local(now)));
        let what = match (change, down_since) {
            (Change::Back { down_s }, Some(since)) => {
                let (from, to) = (hms(local(since)), hms(local(now)));
                format!("agent reconnected: down {from}–{to} ({down_s} s)")
            }
            _ => "agent unreachable".to_owned(),
        };
        self.event(&what);
    }

    pub(super) fn event(&mut self, what: &str) {
        self.record.event(clock::wall().0, what);
    }

    fn note(&mut self) {
        let last_healthy_s = self.monitor.last_healthy().wall_s;
        self.record.note(true, self.monitor.is_connected(), Some(last_healthy_s));
    }
}

pub(super) fn awake() -> Duration {
    Duration::from_nanos(clock::awake_nanos())
}

fn ending(stopped: &Stopped, interface: &str) -> String {
    match stopped {
        Stopped::Asked => "the tunnel was stopped".to_owned(),
        Stopped::DeviceGone => format!("the interface {interface} is gone"),
        Stopped::Failed(why) => format!("the tunnel failed: {why}"),
    }
}

fn received(status: &tunnel::Status) -> u64 {
    status.peers.iter().map(|peer| peer.rx_bytes).sum()
}

/// Datagrams of sessions that are not ours.
fn strange(status: &tunnel::Status) -> u64 {
    status.drops.iter().filter(|(reason, _)| *reason == STRANGE).map(|(_, count)| count).sum()
}
