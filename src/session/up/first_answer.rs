//! The wait for the agent's first answer through the tunnel, and for the handshake before it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Startup, boot, failures};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::HostConfig;
use crate::rpc::types::TunnelMode;
use crate::session::readiness::Readiness;
use crate::session::resolver::joined;
use crate::tunnel::PeerState;

/// How often the handshake is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After this long without an answer, say what is being waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the agent said, the round trip of the handshake before, and the time to the answer.
pub struct FirstAnswer {
    pub version: String,
    pub tunnel_mode: TunnelMode,
    pub handshake: Option<Duration>,
    pub took: Duration,
}

impl Startup<'_, '_> {
    pub fn first_answer(&mut self) -> Result<FirstAnswer, Failure> {
        let (began, host) = (Instant::now(), self.host);
        let mut readiness = Readiness::start(host, self.ifindex).map_err(|error| {
            let next = fix!("hop up {}", host.name);
            Failure::new(Fault::Failed, "cannot ask the agent", error.to_string(), next)
        })?;
        let mut handshake = None;
        let mut told = false;
        let mut told_ssh = false;
        loop {
            let stop = self.requests.pause(Some(readiness.as_fd()), LOOK_EVERY);
            self.look_at_ways();
            handshake = handshake.or_else(|| self.handshake(began));
            if stop {
                return Err(failures::stopped(host));
            }
            match readiness.answer() {
                Some(Ok(health)) => {
                    let took = began.elapsed();
                    self.report.step(&format!("agent {} answered", health.version), took);
                    let handshake = handshake.and_then(|peer| peer.handshake_rtt);
                    let (version, tunnel_mode) = (health.version, health.tunnel_mode);
                    return Ok(FirstAnswer { version, tunnel_mode, handshake, took });
                }
                Some(Err(error)) => {
                    let tried = joined(&self.remotes);
                    let failure = failures::silent(host, handshake.is_some(), &tried, &error);
                    return Err(failures::over_ssh(failure, host, self.ways.failure()));
                }
                None => {}
            }
            if !told_ssh && self.ways.has_ssh() {
                told_ssh = true;
                self.report.waits("trying over SSH, too");
            } else if !told && began.elapsed() > PATIENCE {
                told = true;
                let HostConfig { peer_ip, api_port, .. } = host;
                self.report.waits(&format!("waiting for the agent at {peer_ip}:{api_port}"));
            }
        }
    }

    /// Goes on to the next way where one is silent.
    fn look_at_ways(&mut self) {
        if let Some(tunnel) = &self.parts.tunnel {
            self.ways.look(boot(), tunnel, &self.remotes);
        }
    }

    /// Looks for the first handshake, and tells of it.
    fn handshake(&mut self, began: Instant) -> Option<PeerState> {
        let peer = self.parts.tunnel.as_ref()?.status().ok()?.peers.into_iter().next()?;
        peer.last_handshake?;
        self.report.step("handshake", peer.handshake_rtt.unwrap_or_else(|| began.elapsed()));
        Some(peer)
    }
}
