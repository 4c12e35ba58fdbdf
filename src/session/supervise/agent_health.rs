//! What is known of the agent: asked every few seconds and whenever somebody wants to know.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::host::config::HostConfig;
use crate::rpc::client::Client;
use crate::rpc::types::TunnelMode;
use crate::session::monitor::{Change, Moment, Monitor, Probed, Prober};
use crate::session::report::Facts;
use crate::session::rival::Rival;
use crate::sys::through::Link;

/// An answer of the agent that is younger than this is not asked for again.
const FRESH: Duration = Duration::from_secs(1);

pub struct AgentHealth {
    monitor: Monitor,
    prober: Prober,
    last: LastProbe,
    silence: Silence,
    rival: Rival,
    version: String,
    mode: TunnelMode,
}

/// The last that was heard of the agent.
struct LastProbe {
    at: Instant,
    outcome: Result<Duration, String>,
}

/// Since when nothing at all comes back.
#[derive(Default)]
struct Silence {
    /// Bytes received when the agent was last heard or missed.
    received: u64,
    since: Option<Instant>,
}

/// The agent became unreachable, or is back: which, and since when it had been away.
pub struct Turn {
    pub change: Change,
    pub down_since: Option<Moment>,
}

impl AgentHealth {
    /// It has just answered.
    pub fn new(host: &HostConfig, facts: &Facts) -> io::Result<AgentHealth> {
        let link = Link { ifindex: facts.ifindex.unwrap_or_default(), local: facts.local_ip };
        let client = Client::through(link, host.peer_ip, host.api_port);
        Ok(AgentHealth {
            monitor: Monitor::new(Moment::now()),
            prober: Prober::new(client)?,
            last: LastProbe { at: Instant::now(), outcome: Ok(facts.answered) },
            silence: Silence::default(),
            rival: Rival::default(),
            version: facts.agent_version.clone(),
            mode: facts.tunnel_mode.clone(),
        })
    }

    /// When it is to be asked next, on the boot clock.
    pub fn due(&self) -> Duration {
        self.monitor.due()
    }

    /// Asks where it is time to. Whether it was.
    pub fn ask_in_turn(&mut self, now: Moment) -> bool {
        let due = self.monitor.take_due(now);
        if due {
            self.prober.ask(true);
        }
        due
    }

    /// Asks out of turn.
    pub fn ask(&mut self) {
        self.prober.ask(false);
    }

    /// The end of a question; to be told to [`AgentHealth::note`].
    pub fn take(&mut self) -> Option<Probed> {
        self.prober.take()
    }

    /// `received`: what has come through the tunnel so far, if that is known.
    pub fn note(&mut self, probed: Probed, received: Option<u64>, now: Moment) -> Option<Turn> {
        let healthy = probed.outcome.is_ok();
        self.silence.note(healthy, received, probed.began);
        // A silence is as old as its question, which may be older than what ended it.
        let at = if healthy { Instant::now() } else { probed.began };
        let outcome = match probed.outcome {
            Ok(health) => {
                (self.version, self.mode) = (health.version, health.tunnel_mode);
                Ok(probed.took)
            }
            Err(error) => Err(error.to_string()),
        };
        self.last = LastProbe { at, outcome };
        let down_since = self.monitor.down_since();
        let change = self.monitor.heard(now, probed.in_turn, healthy)?;
        Some(Turn { change, down_since })
    }

    /// Datagrams of sessions that are not ours, counted when a question ended; true when that tells
    /// of another machine with our key that was not known.
    pub fn note_strange(&mut self, healthy: bool, strange: u64, now: Duration) -> bool {
        if healthy {
            self.rival.answered(now, strange);
        }
        !healthy && self.rival.missed(now, strange)
    }

    /// Our key is a new one.
    pub fn renewed(&mut self) {
        self.rival.renewed();
    }

    pub fn has_rival(&self) -> bool {
        self.rival.is_there()
    }

    /// Whether what is known is as good as a new answer.
    pub fn is_fresh(&self) -> bool {
        self.last.at.elapsed() < FRESH
    }

    /// Whether it is not, and no question is out that would tell.
    pub fn is_stale(&self) -> bool {
        !self.is_fresh() && !self.prober.is_asking()
    }

    pub fn is_connected(&self) -> bool {
        self.monitor.is_connected()
    }

    pub fn last_healthy(&self) -> Moment {
        self.monitor.last_healthy()
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the server's end of the tunnel is.
    pub fn mode(&self) -> &TunnelMode {
        &self.mode
    }

    /// How long the last answer took, if it came.
    pub fn round_trip(&self) -> Option<Duration> {
        self.last.outcome.as_ref().ok().copied()
    }

    /// The same as of now: an answer that is late is none.
    pub fn answer(&self) -> Result<Duration, String> {
        let late = self.prober.is_asking() && !self.is_fresh();
        match &self.last.outcome {
            Ok(_) if late => Err("no answer yet".to_owned()),
            known => known.clone(),
        }
    }

    /// How long nothing at all has come back.
    pub fn silent(&self) -> Option<Duration> {
        self.silence.since.map(|since| since.elapsed())
    }
}

impl AsFd for AgentHealth {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.prober.as_fd()
    }
}

impl Silence {
    fn note(&mut self, healthy: bool, received: Option<u64>, asked: Instant) {
        let received = received.unwrap_or(self.received);
        self.since = match healthy || received != self.received {
            true => None,
            false => self.since.or(Some(asked)),
        };
        self.received = received;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_the_first_question_that_nothing_came_back_for() {
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        let mut silence = Silence::default();
        silence.note(false, Some(100), first);
        assert_eq!(silence.since, None, "something came, if no answer");
        silence.note(false, Some(100), first);
        silence.note(false, None, second);
        assert_eq!(silence.since, Some(first));
        silence.note(true, Some(100), second);
        assert_eq!(silence.since, None);
    }
}
