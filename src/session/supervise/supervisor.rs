//! What a session does while its host is up: it waits for signals, its control socket, the
//! agent's answers, the end of the tunnel and that of the helper, and tells how things are.
//!
//! One thread, one sleep; every moment is on the boot clock, so that time slept counts.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent_health::{AgentHealth, Turn};
use super::recover::VpsPath;
use super::status::{Pending, View};
use crate::base::time_text::hms;
use crate::helper::lease_keeper;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::session::companion::Companions;
use crate::session::control::Ask;
use crate::session::log::{self, log};
use crate::session::monitor::{Change, Moment, Probed};
use crate::session::requests::Requests;
use crate::session::rival::STRANGE;
use crate::session::rotate;
use crate::session::state::{self, Record};
use crate::session::transport::Rung;
use crate::session::up::Running;
use crate::sys::clock::{self, BootTimer};
use crate::sys::poll::{self, Interest};
use crate::tunnel::{self, Stopped};

/// Why a session that was up ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `hop down`, Ctrl-C or a termination signal.
    Asked,
    /// The tunnel or the helper went away; the text says which.
    Lost(String),
}

pub struct Supervisor<'a> {
    paths: &'a Paths,
    host: &'a HostConfig,
    running: &'a mut Running,
    requests: &'a mut Requests,
    record: Record,
    timer: BootTimer,
    since: Instant,
    agent: AgentHealth,
    path: VpsPath,
    pending: Pending,
    companions: Companions,
}

impl<'a> Supervisor<'a> {
    pub fn new(
        paths: &'a Paths,
        host: &'a HostConfig,
        running: &'a mut Running,
        requests: &'a mut Requests,
        record: Record,
    ) -> io::Result<Supervisor<'a>> {
        Ok(Supervisor {
            paths,
            host,
            agent: AgentHealth::new(host, &running.facts)?,
            path: VpsPath::new(host, running.remotes.clone())?,
            running,
            requests,
            record,
            timer: BootTimer::new()?,
            since: Instant::now(),
            pending: Pending::default(),
            companions: Companions::of(paths, &host.name),
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
        self.companions.end();
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
        if let Err(why) = self.keep_lease() {
            return Some(End::Lost(why));
        }
        while let Some(probed) = self.agent.take() {
            self.heard(probed);
        }
        let now = Moment::now();
        self.recover(now);
        self.companions.look(now.boot);
        if self.agent.ask_in_turn(now) {
            self.requests.control.stay();
        }
        if self.pending.take_due(now.boot) {
            self.tell_status(now);
        }
        None
    }

    fn wait(&mut self) -> io::Result<()> {
        let ways = self.running.ways.due(Moment::now().boot);
        let due = [self.pending.due(), self.path.due(), self.companions.due(), ways];
        let due = due.into_iter().flatten().fold(self.agent.due(), Duration::min);
        self.timer.set(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX))?;
        let mut fds = self.requests.fds().to_vec();
        fds.push((self.timer.as_fd(), Interest::READ));
        fds.push((self.agent.as_fd(), Interest::READ));
        fds.extend(self.path.fds());
        fds.extend(self.running.ways.fds().map(|fd| (fd, Interest::READ)));
        fds.extend(self.companions.fds());
        fds.push(self.running.parts.lease.fd());
        fds.extend(self.running.parts.tunnel.iter().map(|t| (t.end_fd(), Interest::READ)));
        poll::wait(&fds, &mut Vec::new(), None)?;
        self.timer.drain();
        Ok(())
    }

    /// Answers the control socket; true = end.
    fn serve(&mut self) -> bool {
        let (facts, events) = (&self.running.facts, self.record.events());
        let (paths, host) = (self.paths, self.host);
        let remotes = self.running.ways.over_udp(self.path.remotes());
        let tunnel = self.running.parts.tunnel.as_ref();
        let (mut asked, mut asked_mended, mut renewed) = (false, false, false);
        let end = self.requests.control.serve(|ask| match ask {
            Ask::Facts => Some(facts.to_json()),
            Ask::Events => Some(json!({"events": state::events_json(events, usize::MAX)})),
            Ask::Rekey => {
                let tunnel = tunnel.ok_or("no tunnel".to_owned());
                let rekeyed = tunnel.and_then(|tunnel| rotate::rekey(paths, host, remotes, tunnel));
                renewed |= rekeyed.is_ok();
                Some(match rekeyed {
                    Ok(()) => json!({"rekeyed": true}),
                    Err(why) => json!({"rekeyed": false, "why": why}),
                })
            }
            Ask::Status => {
                asked = true;
                None
            }
            Ask::Mended => {
                asked_mended = true;
                None
            }
        });
        if renewed {
            self.agent.renewed();
        }
        let now = Moment::now().boot;
        if asked && self.pending.asked(now, &self.agent) {
            self.agent.ask();
        }
        if asked_mended && self.pending.asked_mended(now, &self.agent) {
            self.agent.ask();
        }
        end
    }

    /// Tells those who wait for it. Where the agent is what is broken it is asked again.
    fn tell_status(&mut self, now: Moment) {
        let status = self.status();
        self.requests.control.tell_status(&status);
        if self.pending.is_mended(&status, now.boot) {
            self.requests.control.tell_mended(&status);
        } else if self.pending.due().is_some() && self.agent.is_stale() {
            self.agent.ask();
        }
    }

    fn status(&self) -> Value {
        let view = View {
            host: self.host,
            facts: &self.running.facts,
            up: self.since.elapsed(),
            helper_version: self.running.parts.lease.version(),
            tunnel: self.tunnel_status(),
            ways: &self.running.ways,
            remotes: self.path.remotes(),
            agent: &self.agent,
            events: self.record.events(),
        };
        view.to_json()
    }

    /// Waits for the data plane, 1 s at most.
    fn tunnel_status(&self) -> Option<tunnel::Status> {
        self.running.parts.tunnel.as_ref()?.status().ok()
    }

    /// What the agent answered, or that it did not.
    fn heard(&mut self, probed: Probed) {
        let now = Moment::now();
        let status = self.tunnel_status();
        let received = status.as_ref().map(received);
        let strange = status.as_ref().map_or(0, strange);
        let (healthy, began) = (probed.outcome.is_ok(), probed.began);
        match healthy {
            true => self.answered(now.boot.saturating_sub(probed.took), now),
            false => {
                self.path.missed(now);
                self.running.ways.missed(now.boot);
            }
        }
        if self.agent.note_strange(healthy, strange, now.boot) {
            self.event("another machine seems to use this machine's key");
        }
        if let Some(turn) = self.agent.note(probed, received, now) {
            self.tell(&turn, now);
        }
        self.note();
        self.pending.heard(healthy, began, now.boot);
    }

    fn answered(&mut self, asked: Duration, now: Moment) {
        self.path.answered(asked);
        let Running { parts, ways, .. } = &mut *self.running;
        let Some(tunnel) = &parts.tunnel else { return };
        if let Some(rung) = ways.answered(asked, now.boot, tunnel, self.path.remotes()) {
            self.turned(rung);
        }
    }

    /// The agent is gone, or back.
    fn tell(&mut self, turn: &Turn, now: Moment) {
        log::line(&turn.change.message(&hms(now.wall_s)));
        let what = match (turn.change, turn.down_since) {
            (Change::Back { down_s }, Some(since)) => {
                let (from, to) = (hms(since.wall_s), hms(now.wall_s));
                format!("agent reconnected: down {from}–{to} ({down_s} s)")
            }
            _ => "agent unreachable".to_owned(),
        };
        self.event(&what);
    }

    /// Looks whether the way to the VPS changed, and tries to find it when it did.
    fn recover(&mut self, now: Moment) {
        let found = self.path.look(now);
        for event in &found.events {
            self.event(event);
        }
        if found.moved {
            self.running.ways.moved(now.boot);
        }
        self.look_at_ways(now);
        if found.reconnect {
            self.reconnect();
        }
        if found.ask_agent {
            self.agent.ask();
        }
    }

    fn reconnect(&self) {
        // The agent's key may have been renewed since the host file was read.
        let peer = self.tunnel_status().and_then(|status| Some(status.peers.first()?.public_key));
        let Running { parts, ways, .. } = &*self.running;
        if let Some(tunnel) = &parts.tunnel {
            ways.reconnect(tunnel, peer.unwrap_or(self.host.public_key), self.path.remotes());
        }
    }

    /// Tries what is due, and hears which way carries.
    fn look_at_ways(&mut self, now: Moment) {
        let Running { parts, ways, .. } = &mut *self.running;
        let Some(tunnel) = &parts.tunnel else { return };
        if let Some(rung) = ways.look(now.boot, tunnel, self.path.remotes()) {
            self.turned(rung);
            self.agent.ask();
        }
    }

    /// Another way carries.
    fn turned(&mut self, now: Rung) {
        let what = match now {
            Rung::Udp => "over UDP again",
            Rung::Ssh => "over SSH: UDP gets no answer",
        };
        log(what);
        self.event(what);
    }

    /// An error is the end of the lease.
    fn keep_lease(&mut self) -> Result<(), String> {
        let lease = &mut self.running.parts.lease;
        match lease.look() {
            Ok(None) => {}
            Ok(Some(lease_keeper::Change::Away)) => {
                log("the helper went away; the tunnel stays while it is looked for");
                self.event("the helper went away");
            }
            Ok(Some(lease_keeper::Change::Back)) => {
                log(&format!("the helper is back, version {}", lease.version().unwrap_or("")));
                self.event("the helper is back");
            }
            Err(error) => {
                return Err(format!("the helper is gone, and with it the lease: {error}"));
            }
        }
        Ok(())
    }

    fn event(&mut self, what: &str) {
        self.record.event(clock::wall().0, what);
    }

    fn note(&mut self) {
        let last_healthy_s = self.agent.last_healthy().wall_s;
        self.record.note(true, self.agent.is_connected(), Some(last_healthy_s));
    }
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
