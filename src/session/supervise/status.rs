//! What a session says when it is asked for its status, and when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent_health::AgentHealth;
use crate::base::time_text::utc;
use crate::host::config::HostConfig;
use crate::session::health_checks::{self, Layer};
use crate::session::limits;
use crate::session::path_mtu::PathMtu;
use crate::session::report::Facts;
use crate::session::state::{self, Event};
use crate::session::transport::{Rung, Ways};
use crate::tunnel::{self, PeerState};

/// How often a layer that is broken is looked at while somebody waits for it to be mended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Events in a status.
const EVENTS: usize = 20;

/// Those who asked for the status: when they get what is known by then, on the boot clock.
#[derive(Default)]
pub struct Pending {
    due: Option<Duration>,
    /// When somebody last asked.
    asked: Option<Instant>,
    /// Until when somebody waits for a good one.
    mended_until: Option<Duration>,
}

impl Pending {
    /// Somebody asks. Whether the agent is to be asked, too.
    pub fn asked(&mut self, now: Duration, agent: &AgentHealth) -> bool {
        self.asked = Some(Instant::now());
        if agent.is_fresh() {
            self.due = Some(now);
            return false;
        }
        let wait = match agent.is_connected() {
            true => limits::STATUS_WAIT,
            false => limits::STATUS_WAIT_AWAY,
        };
        self.due = Some(self.due.map_or(now + wait, |due| due.min(now + wait)));
        true
    }

    /// A question to the agent that began then has ended. One that began before somebody asked
    /// tells them nothing by its silence.
    pub fn heard(&mut self, healthy: bool, began: Instant, now: Duration) {
        if healthy || self.asked.is_none_or(|asked| asked <= began) {
            self.due = self.due.map(|due| due.min(now));
        }
    }

    /// Somebody asks for a good status, or for what it is when there was time to mend it.
    pub fn asked_mended(&mut self, now: Duration, agent: &AgentHealth) -> bool {
        self.mended_until = self.mended_until.or(Some(now + limits::MENDED));
        self.asked(now, agent)
    }

    /// Whether this status is for those who wait for a good one. If it is not, there will be
    /// another.
    pub fn is_mended(&mut self, status: &Value, now: Duration) -> bool {
        let Some(until) = self.mended_until else { return false };
        let done = status["broken"].is_null() || until <= now;
        match done {
            true => self.mended_until = None,
            false => self.due = Some(now + LOOK_EVERY),
        }
        done
    }

    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    pub fn take_due(&mut self, now: Duration) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }
}

/// What a status is made of.
pub struct View<'a> {
    pub host: &'a HostConfig,
    pub facts: &'a Facts,
    pub up: Duration,
    /// `None` while the helper is away.
    pub helper_version: Option<&'a str>,
    pub tunnel: Option<tunnel::Status>,
    pub ways: &'a Ways,
    /// The VPS's addresses.
    pub remotes: &'a [SocketAddr],
    pub agent: &'a AgentHealth,
    pub events: &'a [Event],
}

impl View<'_> {
    /// `control::status` lists the keys.
    pub fn to_json(&self) -> Value {
        let View { facts, agent, tunnel, .. } = self;
        let peer = tunnel.as_ref().and_then(|status| status.peers.first());
        let endpoint = self.endpoint(peer);
        let told = self.ways.told();
        let age = peer.and_then(|peer| peer.last_handshake_age);
        let server = match told.rung {
            Some(Rung::Ssh) => format!("{} over SSH", self.host.name),
            _ => endpoint.clone(),
        };
        let layers = self.layers(age, &server);
        let broken = health_checks::broken(&layers);
        json!({
            "state": if broken.is_some() { "degraded" } else { "up" },
            "host": facts.host,
            "name": facts.name,
            "pid": std::process::id(),
            "up_s": self.up.as_secs(),
            "interface": facts.interface,
            "ifindex": facts.ifindex,
            "local_ip": facts.local_ip.to_string(),
            "peer_ip": facts.peer_ip.to_string(),
            "listen_port": tunnel.as_ref().map(|status| status.listen_port),
            "endpoint": endpoint,
            "endpoint_name": self.host.endpoint.to_string(),
            "transport": told.to_json(),
            "path_mtu": self.path_mtu(peer).map(PathMtu::to_json),
            "agent_version": agent.version(),
            "tunnel_mode": agent.mode().word(),
            "connected": agent.is_connected(),
            "last_healthy": utc(agent.last_healthy().wall_s),
            "last_healthy_unix": agent.last_healthy().wall_s,
            "rtt_ms": agent.round_trip().map(millis),
            "handshake_age_s": age.map(|age| age.as_secs()),
            "handshake_rtt_ms": peer.and_then(|peer| peer.handshake_rtt).map(millis),
            "rx_bytes": peer.map(|peer| peer.rx_bytes),
            "tx_bytes": peer.map(|peer| peer.tx_bytes),
            "rival": agent.has_rival(),
            "drops": tunnel.as_ref().map(drops),
            "layers": layers.iter().map(Layer::to_json).collect::<Vec<_>>(),
            "broken": broken,
            "events": state::events_json(self.events, EVENTS),
        })
    }

    /// Where the VPS is over UDP: the address in use, else the one that would be.
    fn endpoint(&self, peer: Option<&PeerState>) -> String {
        let used = peer.and_then(|peer| peer.endpoint).filter(|at| !self.ways.is_pipe(*at));
        let other = self.remotes.first().copied();
        used.or(other).map_or_else(|| self.facts.endpoint.clone(), |at| at.to_string())
    }

    /// Over SSH nothing limits how long packets are.
    fn path_mtu(&self, peer: Option<&PeerState>) -> Option<PathMtu> {
        let status = self.tunnel.as_ref()?;
        let over = peer.and_then(|peer| peer.endpoint).filter(|at| !self.ways.is_pipe(*at));
        Some(PathMtu::new(status.path?, status.mtu, over))
    }

    /// Every layer as it is now. Nothing here waits.
    fn layers(&self, handshake_age: Option<Duration>, endpoint: &str) -> Vec<Layer> {
        let View { facts, agent, .. } = self;
        let answer = agent.answer();
        let silent = agent.silent().filter(|_| answer.is_err());
        vec![
            health_checks::helper(self.helper_version),
            health_checks::interface(&facts.interface, facts.local_ip),
            health_checks::route(facts.local_ip, facts.peer_ip),
            match agent.has_rival() {
                true => health_checks::contested(endpoint),
                false => health_checks::handshake(handshake_age, endpoint, silent),
            },
            health_checks::agent(agent.version(), answer),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_good_status_gets_the_first_good_or_the_last() {
        let (good, bad) = (json!({"broken": null}), json!({"broken": "name"}));
        let at = Duration::from_secs;
        let mut pending = Pending::default();
        assert!(!pending.is_mended(&good, at(1)), "nobody waits");
        pending.mended_until = Some(at(4));
        assert!(!pending.is_mended(&bad, at(2)));
        assert_eq!(pending.due(), Some(at(2) + LOOK_EVERY));
        assert!(pending.is_mended(&good, at(3)));
        assert!(!pending.is_mended(&good, at(3)), "told once");
        pending.mended_until = Some(at(4));
        assert!(pending.is_mended(&bad, at(4)), "there was time enough");
    }
}
