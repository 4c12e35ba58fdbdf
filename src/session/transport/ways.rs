//! The ways to a host that a session has: tries them as the ladder says, and tells which carries.
//!
//! Bounds: one pipe at a time, and for a moment one that ends; a question to the data plane for
//! each look.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::ladder::{Ended, Ladder};
use super::networks::{Network, Networks};
use super::told::{Rung, Told};
use super::{Event, SshPipe, target};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::{HostConfig, Transport};
use crate::host::paths::Paths;
use crate::session::log::log;
use crate::ssh::target::Target;
use crate::sys::threads;
use crate::tunnel::{PeerState, Tunnel};

/// Moments are compared with those of the data plane, which says how long ago something was.
const ROUNDING: Duration = Duration::from_millis(2);

pub struct Ways {
    host: String,
    choice: Transport,
    second_port: Option<u16>,
    /// UDP goes there.
    uses_second: bool,
    is_quiet: bool,
    ladder: Ladder,
    target: Option<Target>,
    pipe: Option<SshPipe>,
    /// Why the last pipe ended.
    failure: Option<Failure>,
    networks: Networks,
    /// The one that this machine is in, once that is known.
    network: Option<Network>,
}

impl Ways {
    /// None of them is tried before the first [`Ways::look`]. Errors: SSH alone is asked for, and
    /// there is none.
    pub fn new(paths: &Paths, host: &HostConfig, now: Duration) -> Result<Ways, Failure> {
        let choice = host.transport;
        let no_ssh = || {
            let what = format!("{} cannot be reached over SSH", host.name);
            let why = "its setup did not go over SSH, so nobody knows where that is";
            Failure::new(Fault::Config, what, why, fix!("hop setup {}", host.name))
        };
        let found = host.ssh.as_ref().map_or_else(|| Err(no_ssh()), |_| target(paths, host));
        let target = match (found, choice) {
            (Err(failure), Transport::Ssh) => return Err(failure),
            (found, _) => found.ok(),
        };
        Ok(Ways {
            host: host.name.clone(),
            choice,
            second_port: host.second_port.filter(|port| *port != host.endpoint.port),
            uses_second: false,
            is_quiet: false,
            ladder: Ladder::new(choice, target.is_some(), now),
            target,
            pipe: None,
            failure: None,
            networks: Networks::open(paths, &host.name),
            network: None,
        })
    }

    /// Without a word in the log: whoever has them asks.
    pub fn quiet(self) -> Ways {
        Ways { is_quiet: true, ..self }
    }

    /// Of the host's addresses those that may be tried over UDP.
    pub fn over_udp<'a>(&self, remotes: &'a [SocketAddr]) -> &'a [SocketAddr] {
        if self.choice == Transport::Ssh { &[] } else { remotes }
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipe.iter().map(SshPipe::fd)
    }

    /// When to look next, on the boot clock.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        self.ladder.due(now)
    }

    pub fn told(&self) -> Told {
        let rung = self.ladder.rung().filter(|_| !self.ladder.is_silent());
        let second_port = self.second_port.filter(|_| rung == Some(Rung::Udp) && self.uses_second);
        let too_long = self.pipe.as_ref().map(SshPipe::waited_too_long);
        Told { second_port, too_long, ..Told::new(self.choice, rung, self.failure.as_ref()) }
    }

    /// SSH is being tried, or carries.
    pub fn has_ssh(&self) -> bool {
        self.pipe.is_some()
    }

    /// Why SSH could not stand in, if it was tried.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The address in use is the pipe's.
    pub fn is_pipe(&self, endpoint: SocketAddr) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.local() == endpoint)
    }

    /// Another network, or the machine woke up: a connection of before is none any more.
    pub fn moved(&mut self, now: Duration) {
        self.network = None;
        self.ladder.moved(now);
    }

    /// The agent did not answer.
    pub fn missed(&mut self, now: Duration) {
        self.ladder.missed(now);
    }

    /// The agent answered a question that was put at `asked`. The way that carries, if it is
    /// another than before.
    pub fn answered(
        &mut self,
        asked: Duration,
        now: Duration,
        tunnel: &Tunnel,
        remotes: &[SocketAddr],
    ) -> Option<Rung> {
        let endpoint = tunnel.status().ok()?.peers.first()?.endpoint?;
        self.heard(endpoint, asked, now, remotes)
    }

    /// Everything that is due: hears of the pipe and of handshakes, tries, ends and begins. The way
    /// that carries, if it is another than before. Where UDP does, nobody is asked anything.
    pub fn look(&mut self, now: Duration, tunnel: &Tunnel, remotes: &[SocketAddr]) -> Option<Rung> {
        if self.pipe.is_none() && self.due(now).is_none() {
            return None;
        }
        self.hear_pipe(now);
        let peer = tunnel.status().ok()?.peers.into_iter().next()?;
        let turn = self.handshake(&peer, now, remotes);
        self.remember(now, remotes);
        let steps = self.ladder.look(now);
        if steps.end_pipe {
            self.end_pipe();
        }
        if steps.start_pipe {
            self.start_pipe(tunnel, now);
        }
        if let Some(pipe) = self.pipe.as_ref().filter(|_| steps.try_pipe) {
            pipe.follow(tunnel.listen_port());
            tunnel.try_at(peer.public_key, &[pipe.local()]);
        }
        if steps.try_udp {
            tunnel.try_at(peer.public_key, remotes);
        }
        turn
    }

    /// Tries every address over UDP, and binds anew for it. With a pipe it is `look` that tries
    /// both: this would take the tunnel from the pipe.
    pub fn reconnect(&self, tunnel: &Tunnel, peer: [u8; 32], remotes: &[SocketAddr]) {
        if self.choice != Transport::Ssh && !self.ladder.has_open_pipe() {
            tunnel.reconnect(peer, remotes);
        }
    }

    fn hear_pipe(&mut self, now: Duration) {
        while let Some(event) = self.pipe.as_ref().and_then(SshPipe::take) {
            match event {
                Event::Ready => self.ladder.pipe_opened(now),
                Event::Ended(failure) => {
                    self.pipe = None;
                    self.broke(failure, now);
                }
            }
        }
    }

    fn broke(&mut self, failure: Failure, now: Duration) {
        if !self.is_quiet {
            log(&format!("over SSH: {}: {}", failure.what, failure.why));
        }
        let how = match failure.fault {
            Fault::Denied | Fault::KeyLocked => Ended::Refused,
            // Another host key is a stranger's, as long as this network has one in the way.
            _ => Ended::Broke,
        };
        self.failure = Some(failure);
        self.ladder.pipe_ended(how, now);
    }

    /// The last handshake tells which way it went.
    fn handshake(
        &mut self,
        peer: &PeerState,
        now: Duration,
        remotes: &[SocketAddr],
    ) -> Option<Rung> {
        let at = now.saturating_sub(peer.last_handshake_age?) + ROUNDING;
        self.heard(peer.endpoint?, at, now, remotes)
    }

    fn heard(
        &mut self,
        endpoint: SocketAddr,
        asked: Duration,
        now: Duration,
        remotes: &[SocketAddr],
    ) -> Option<Rung> {
        let rung = if self.is_pipe(endpoint) { Rung::Ssh } else { Rung::Udp };
        self.uses_second = self.second_port == Some(endpoint.port());
        let was_silent = self.ladder.is_silent();
        let before = self.ladder.answered(rung, asked, now);
        if self.ladder.is_silent() {
            return None;
        }
        if was_silent || before.is_some() {
            self.failure = None;
            self.note(rung, remotes);
        }
        before.map(|_| rung)
    }

    fn note(&mut self, rung: Rung, remotes: &[SocketAddr]) {
        if self.choice == Transport::Auto {
            self.network = self.network.take().or_else(|| self.networks.here(remotes));
            if let Some(network) = &self.network {
                self.networks.note(network, rung == Rung::Ssh);
            }
        }
    }

    /// Which network this is shows when its router has spoken, which the first datagram asks for.
    fn remember(&mut self, now: Duration, remotes: &[SocketAddr]) {
        if self.network.is_some() || !self.ladder.is_silent() || self.choice != Transport::Auto {
            return;
        }
        self.network = self.networks.here(remotes);
        if self.network.as_ref().is_some_and(|network| self.networks.is_silent(network)) {
            self.ladder.remembered(now);
        }
    }

    fn start_pipe(&mut self, tunnel: &Tunnel, now: Duration) {
        let Some(target) = self.target.clone() else { return };
        match SshPipe::start(target, tunnel.listen_port()) {
            Ok(pipe) => self.pipe = Some(pipe),
            Err(error) => {
                let what = "cannot begin a connection over SSH";
                let next = fix!("hop up {}", self.host);
                let failure = Failure::new(Fault::Failed, what, error.to_string(), next);
                self.broke(failure, now);
            }
        }
    }

    /// Its end may take a second or two, in which the session does other things.
    fn end_pipe(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            // Where there is no thread it ends here.
            let _ = threads::start("end-pipe", move || drop(pipe));
        }
    }
}
