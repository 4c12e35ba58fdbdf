//! What a session does while its host is up: it waits for signals, its control socket, the
//! agent's answers, the end of the tunnel and that of the helper, and tells how things are.
//!
//! One thread, one sleep; every moment is on the boot clock, so that time slept counts.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control::Ask;
use super::layers::{self, Layer};
use super::monitor::{Change, Moment, Monitor, Probed, Prober, hms};
use super::report::{self, utc};
use super::rotate;
use super::run::{Ears, End, pid};
use super::state::{self, Record};
use super::up::Live;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::sys::clock::{self, BootTimer};
use crate::sys::poll::{self, Interest};
use crate::tunnel::{self, Stopped};

/// An answer of the agent that is younger than this is not asked for again.
const FRESH: Duration = Duration::from_secs(1);
/// How long who asks for the status waits for the agent: its whole limit, but less while it is
/// known to be away.
const STATUS_WAIT: Duration = Duration::from_millis(3200);
const STATUS_WAIT_AWAY: Duration = Duration::from_secs(1);
/// Events in a status.
const STATUS_EVENTS: usize = 20;

/// The last that was heard of the agent.
struct Heard {
    at: Instant,
    outcome: Result<Duration, String>,
}

pub struct Watch<'a> {
    paths: &'a Paths,
    host: &'a HostConfig,
    live: &'a mut Live,
    ears: &'a mut Ears,
    record: Record,
    timer: BootTimer,
    monitor: Monitor,
    prober: Prober,
    heard: Heard,
    version: String,
    since: Instant,
    /// Bytes received when the agent was last heard or missed, and since when there are no more.
    received: u64,
    silent_since: Option<Instant>,
    /// When those who asked for the status get what is known by then.
    status_due: Option<Duration>,
}

impl<'a> Watch<'a> {
    pub fn new(
        paths: &'a Paths,
        host: &'a HostConfig,
        live: &'a mut Live,
        ears: &'a mut Ears,
        record: Record,
    ) -> io::Result<Watch<'a>> {
        let client = Client::new(&host.peer_ip.to_string(), host.api_port, None);
        let heard = Heard { at: Instant::now(), outcome: Ok(live.facts.answered) };
        Ok(Watch {
            paths,
            host,
            version: live.facts.agent_version.clone(),
            live,
            ears,
            record,
            timer: BootTimer::new()?,
            monitor: Monitor::new(Moment::now()),
            prober: Prober::new(client)?,
            heard,
            since: Instant::now(),
            received: 0,
            silent_since: None,
            status_due: None,
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
            End::Lost(why) => self.event(&format!("down: {why}")),
        }
        self.record.note(false, false, None);
        end
    }

    fn turn(&mut self) -> Option<End> {
        if let Err(error) = self.wait() {
            return Some(End::Lost(format!("cannot wait: {error}")));
        }
        if self.ears.stopped() || self.serve() {
            return Some(End::Asked);
        }
        let Some(tunnel) = &self.live.parts.tunnel else {
            return Some(End::Lost("no tunnel".to_owned()));
        };
        if let Some(stopped) = tunnel.ended() {
            return Some(End::Lost(ending(&stopped, &self.live.facts.interface)));
        }
        if self.live.parts.helper.closed() {
            return Some(End::Lost("the helper is gone, and with it the lease".to_owned()));
        }
        self.answers();
        let now = Moment::now();
        if self.monitor.take_due(now) {
            self.prober.ask(true);
        }
        self.answer_status(now);
        None
    }

    fn wait(&mut self) -> io::Result<()> {
        let due = self.status_due.into_iter().fold(self.monitor.due(), Duration::min);
        self.timer.set(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX))?;
        let mut fds = self.ears.fds();
        fds.extend([
            (self.timer.as_fd(), Interest::READ),
            (self.prober.as_fd(), Interest::READ),
            // It says nothing unasked: only its end is of interest.
            (self.live.parts.helper.as_fd(), Interest::NONE),
        ]);
        fds.extend(self.live.parts.tunnel.iter().map(|t| (t.end_fd(), Interest::READ)));
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
        let received = self.tunnel_status().map_or(self.received, |status| received(&status));
        let healthy = probed.outcome.is_ok();
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
        self.heard = Heard { at: Instant::now(), outcome };
        let down_since = self.monitor.down_since();
        if let Some(change) = self.monitor.heard(now, probed.in_turn, healthy) {
            self.changed(change, now, down_since);
        }
        self.note();
        if self.ears.control.is_asked() {
            self.status_due = Some(now.boot);
        }
    }

    fn changed(&mut self, change: Change, now: Moment, down_since: Option<Moment>) {
        let local = |at: Moment| clock::local_hms(at.wall_s);
        report::line(&change.message(local(now)));
        let what = match (change, down_since) {
            (Change::Back { down_s }, Some(since)) => {
                let (from, to) = (hms(local(since)), hms(local(now)));
                format!("agent reconnected: down {from}–{to} ({down_s} s)")
            }
            _ => "agent unreachable".to_owned(),
        };
        self.event(&what);
    }

    fn event(&mut self, what: &str) {
        self.record.event(clock::wall().0, what);
    }

    fn note(&mut self) {
        let last_healthy_s = self.monitor.last_healthy().wall_s;
        self.record.note(true, self.monitor.is_connected(), Some(last_healthy_s));
    }

    /// Answers the control socket; true = end.
    fn serve(&mut self) -> bool {
        let (facts, events) = (&self.live.facts, self.record.events());
        let (paths, host) = (self.paths, self.host);
        let mut asked = false;
        let end = self.ears.control.serve(|ask| match ask {
            Ask::Facts => Some(facts.to_json()),
            Ask::Events => Some(json!({"events": state::events_json(events, usize::MAX)})),
            Ask::Rekey => {
                let rekeyed = match &self.live.parts.tunnel {
                    Some(tunnel) => rotate::rekey(paths, host, &facts.endpoint, tunnel),
                    None => Err("no tunnel".to_owned()),
                };
                Some(match rekeyed {
                    Ok(()) => json!({"rekeyed": true}),
                    Err(why) => json!({"rekeyed": false, "why": why}),
                })
            }
            Ask::Status => {
                asked = true;
                None
            }
        });
        if asked {
            self.look();
        }
        end
    }

    /// Sees to it that the status can be told soon.
    fn look(&mut self) {
        let now = Moment::now().boot;
        if self.heard.at.elapsed() < FRESH {
            self.status_due = Some(now);
            return;
        }
        self.prober.ask(false);
        let wait = if self.monitor.is_connected() { STATUS_WAIT } else { STATUS_WAIT_AWAY };
        self.status_due = Some(self.status_due.map_or(now + wait, |due| due.min(now + wait)));
    }

    fn answer_status(&mut self, now: Moment) {
        if self.status_due.is_some_and(|due| due <= now.boot) {
            self.status_due = None;
            let status = self.status();
            self.ears.control.tell_status(&status);
        }
    }

    fn tunnel_status(&self) -> Option<tunnel::Status> {
        self.live.parts.tunnel.as_ref()?.status().ok()
    }

    fn status(&self) -> Value {
        let facts = &self.live.facts;
        let tunnel = self.tunnel_status();
        let peer = tunnel.as_ref().and_then(|status| status.peers.first());
        let endpoint = peer.and_then(|peer| peer.endpoint).map(|at| at.to_string());
        let endpoint = endpoint.unwrap_or_else(|| facts.endpoint.clone());
        let age = peer.and_then(|peer| peer.last_handshake_age);
        let layers = self.layers(age, &endpoint);
        let broken = layers::broken(&layers);
        let rtt = self.heard.outcome.as_ref().ok();
        json!({
            "state": if broken.is_some() { "degraded" } else { "up" },
            "host": facts.host,
            "name": facts.name,
            "pid": pid(),
            "up_s": self.since.elapsed().as_secs(),
            "interface": facts.interface,
            "local_ip": facts.local_ip.to_string(),
            "peer_ip": facts.peer_ip.to_string(),
            "listen_port": tunnel.as_ref().map(|status| status.listen_port),
            "endpoint": endpoint,
            "endpoint_name": self.host.endpoint.to_string(),
            "agent_version": self.version,
            "connected": self.monitor.is_connected(),
            "last_healthy": utc(self.monitor.last_healthy().wall_s),
            "last_healthy_unix": self.monitor.last_healthy().wall_s,
            "rtt_ms": rtt.map(|rtt| millis(*rtt)),
            "handshake_age_s": age.map(|age| age.as_secs()),
            "handshake_rtt_ms": peer.and_then(|peer| peer.handshake_rtt).map(millis),
            "rx_bytes": peer.map(|peer| peer.rx_bytes),
            "tx_bytes": peer.map(|peer| peer.tx_bytes),
            "drops": tunnel.as_ref().map(drops),
            "layers": layers.iter().map(Layer::to_json).collect::<Vec<_>>(),
            "broken": broken,
            "events": state::events_json(self.record.events(), STATUS_EVENTS),
        })
    }

    /// Every layer as it is now. Nothing here waits but for the data plane, 1 s at most.
    fn layers(&self, handshake_age: Option<Duration>, endpoint: &str) -> Vec<Layer> {
        let facts = &self.live.facts;
        let late = self.prober.is_asking() && self.heard.at.elapsed() > FRESH;
        let answer = match &self.heard.outcome {
            Ok(_) if late => Err("no answer yet".to_owned()),
            known => known.clone(),
        };
        let silent = self.silent_since.filter(|_| answer.is_err()).map(|since| since.elapsed());
        vec![
            layers::helper(Some(self.live.parts.helper.version())),
            layers::interface(&facts.interface, facts.local_ip),
            layers::route(facts.local_ip, facts.peer_ip),
            layers::handshake(handshake_age, endpoint, silent),
            layers::agent(&self.version, answer),
            layers::name(&facts.name, facts.peer_ip),
        ]
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

/// Reason → packets dropped for it, every reason named.
fn drops(status: &tunnel::Status) -> Value {
    status.drops.iter().map(|(reason, count)| (reason.to_string(), json!(count))).collect()
}

/// Milliseconds with three places.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}
