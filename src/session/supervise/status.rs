//! What a session says at its control socket while its host is up.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::supervisor::Supervisor;
use crate::base::time_text::utc;
use crate::session::control::Ask;
use crate::session::health_checks::{self, Layer};
use crate::session::limits;
use crate::session::monitor::Moment;
use crate::session::rotate;
use crate::session::state;
use crate::tunnel;

/// An answer of the agent that is younger than this is not asked for again.
const FRESH: Duration = Duration::from_secs(1);
/// Events in a status.
const STATUS_EVENTS: usize = 20;

impl Supervisor<'_> {
    /// Answers the control socket; true = end.
    pub(super) fn serve(&mut self) -> bool {
        let (facts, events) = (&self.running.facts, self.record.events());
        let (paths, host) = (self.paths, self.host);
        let (mut asked, mut renewed) = (false, false);
        let end = self.requests.control.serve(|ask| match ask {
            Ask::Facts => Some(facts.to_json()),
            Ask::Events => Some(json!({"events": state::events_json(events, usize::MAX)})),
            Ask::Rekey => {
                let rekeyed = match &self.running.parts.tunnel {
                    Some(tunnel) => rotate::rekey(paths, host, &self.remotes, tunnel),
                    None => Err("no tunnel".to_owned()),
                };
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
        });
        if renewed {
            self.rival.renewed();
        }
        if asked {
            self.look();
        }
        end
    }

    /// Sees to it that the status can be told soon.
    fn look(&mut self) {
        let now = Moment::now().boot;
        self.status_asked = Some(Instant::now());
        if self.last.at.elapsed() < FRESH {
            self.status_due = Some(now);
            return;
        }
        self.prober.ask(false);
        let wait = if self.monitor.is_connected() {
            limits::STATUS_WAIT
        } else {
            limits::STATUS_WAIT_AWAY
        };
        self.status_due = Some(self.status_due.map_or(now + wait, |due| due.min(now + wait)));
    }

    pub(super) fn answer_status(&mut self, now: Moment) {
        if self.status_due.is_some_and(|due| due <= now.boot) {
            self.status_due = None;
            let status = self.status();
            self.requests.control.tell_status(&status);
        }
    }

    pub(super) fn tunnel_status(&self) -> Option<tunnel::Status> {
        self.running.parts.tunnel.as_ref()?.status().ok()
    }

    fn status(&self) -> Value {
        let facts = &self.running.facts;
        let tunnel = self.tunnel_status();
        let peer = tunnel.as_ref().and_then(|status| status.peers.first());
        let endpoint = peer.and_then(|peer| peer.endpoint).map(|at| at.to_string());
        let endpoint = endpoint.unwrap_or_else(|| facts.endpoint.clone());
        let age = peer.and_then(|peer| peer.last_handshake_age);
        let layers = self.layers(age, &endpoint);
        let broken = health_checks::broken(&layers);
        let rtt = self.last.outcome.as_ref().ok();
        json!({
            "state": if broken.is_some() { "degraded" } else { "up" },
            "host": facts.host,
            "name": facts.name,
            "pid": std::process::id(),
            "up_s": self.since.elapsed().as_secs(),
            "interface": facts.interface,
            "ifindex": facts.ifindex,
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
            "rival": self.rival.is_there(Moment::now().boot),
            "drops": tunnel.as_ref().map(drops),
            "layers": layers.iter().map(Layer::to_json).collect::<Vec<_>>(),
            "broken": broken,
            "events": state::events_json(self.record.events(), STATUS_EVENTS),
        })
    }

    /// Every layer as it is now. Nothing here waits but for the data plane, 1 s at most.
    fn layers(&self, handshake_age: Option<Duration>, endpoint: &str) -> Vec<Layer> {
        let facts = &self.running.facts;
        let late = self.prober.is_asking() && self.last.at.elapsed() > FRESH;
        let answer = match &self.last.outcome {
            Ok(_) if late => Err("no answer yet".to_owned()),
            known => known.clone(),
        };
        let silent = self.silent_since.filter(|_| answer.is_err()).map(|since| since.elapsed());
        vec![
            health_checks::helper(
                self.resuming.is_none().then(|| self.running.parts.helper.version()),
            ),
            health_checks::interface(&facts.interface, facts.local_ip),
            health_checks::route(facts.local_ip, facts.peer_ip),
            match self.rival.is_there(Moment::now().boot) {
                true => health_checks::contested(endpoint),
                false => health_checks::handshake(handshake_age, endpoint, silent),
            },
            health_checks::agent(&self.version, answer),
            health_checks::name(&facts.name, facts.peer_ip),
        ]
    }
}

/// Reason → packets dropped for it, every reason named.
fn drops(status: &tunnel::Status) -> Value {
    status.drops.iter().map(|(reason, count)| (reason.to_string(), json!(count))).collect()
}

/// Milliseconds with three places.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}
