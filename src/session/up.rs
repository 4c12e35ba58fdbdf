//! The sequence that makes a host usable, and its undoing:
//! helper lease → TUN descriptor → WireGuard → address and route → the agent answers → name.
//!
//! Turns a user's wish (a host file and a key) into machinery. A failure or a stop at any step
//! undoes the earlier ones in reverse. Port mirror, bridges and workspace join after the name.

mod failures;
mod first_answer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::log::log;
use super::report::{Facts, Report};
use super::requests::WhileStarting;
use super::resolver::{self, joined};
use super::transport::Ways;
use super::tunnel_config::tunnel_config;
use super::undo::Undo;
use crate::base::failure::{Failure, Fault};
use crate::base::key::Secret;
use crate::fix;
use crate::helper::lease_keeper::LeaseKeeper;
use crate::helper::{Code, Helper, HelperError, Lease, socket_path};
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::sys::{clock, tcp};
use crate::tunnel::{self, Shielded, TunDevice, Tunnel};

/// How long an address may be in use by what is just being deleted, and how often it is tried.
const GOING_LIMIT: Duration = Duration::from_secs(1);
const GOING_PAUSE: Duration = Duration::from_millis(100);

/// What the steps work on.
pub struct Parts {
    pub lease: LeaseKeeper,
    pub tunnel: Option<Tunnel>,
}

/// A host that is up.
pub struct Running {
    pub parts: Parts,
    pub facts: Facts,
    /// The VPS's addresses, as many as its name has.
    pub remotes: Vec<SocketAddr>,
    pub ways: Ways,
    undo: Undo<Parts>,
}

/// Brings `host` up. `report` hears every step; `requests` are heard between steps and in waits.
pub fn bring_up(
    paths: &Paths,
    host: &HostConfig,
    key: &Secret,
    report: &mut dyn Report,
    requests: &mut WhileStarting<'_>,
) -> Result<Running, Failure> {
    let start = Instant::now();
    let ways = Ways::new(paths, host, boot())?;
    let remotes = resolver::first(host, requests)?;
    let socket = socket_path();
    let mut helper = Helper::connect(&socket).map_err(|error| failures::helper(&error))?;
    report.step(&format!("helper {}", helper.version()), start.elapsed());
    let began = Instant::now();
    let Lease { id, name, ifindex, mtu, vnet_hdr, fd } =
        helper.create_tun(None, host.mtu, &host.name).map_err(|error| failures::helper(&error))?;
    report.step(&format!("tunnel device {name}"), began.elapsed());
    let mut undo = Undo::new();
    undo.done("tunnel device", |parts: &mut Parts| told(parts.lease.give_back()));
    let parts = Parts { lease: LeaseKeeper::new(socket, helper, id), tunnel: None };
    let interface = name.clone();
    let mut startup =
        Startup { host, remotes, ways, interface, ifindex, start, report, requests, parts, undo };
    let device = TunDevice { fd, name, mtu, vnet_hdr };
    match startup.run(key, device, paths.stamp_file(&host.name)) {
        Ok(facts) => {
            let Startup { parts, remotes, ways, undo, .. } = startup;
            Ok(Running { parts, facts, remotes, ways, undo })
        }
        Err(trouble) => {
            unwind(&mut startup.undo, &mut startup.parts);
            Err(trouble)
        }
    }
}

impl Running {
    /// Takes everything back, newest first. Bounded: the tunnel stops within a second and the
    /// helper answers or is given up.
    pub fn take_down(mut self) {
        unwind(&mut self.undo, &mut self.parts);
    }
}

fn boot() -> Duration {
    Duration::from_nanos(clock::boot_nanos())
}

fn unwind(undo: &mut Undo<Parts>, parts: &mut Parts) {
    undo.unwind(parts, |what, outcome| match outcome {
        Ok(()) => log(&format!("undone: {what}")),
        Err(why) => log(&format!("undone: {what} ({why})")),
    });
}

fn told(outcome: Result<(), HelperError>) -> Result<(), String> {
    outcome.map_err(|error| error.to_string())
}

/// The way up, half done.
struct Startup<'a, 'r> {
    host: &'a HostConfig,
    remotes: Vec<SocketAddr>,
    ways: Ways,
    interface: String,
    ifindex: u32,
    start: Instant,
    report: &'a mut dyn Report,
    requests: &'a mut WhileStarting<'r>,
    parts: Parts,
    undo: Undo<Parts>,
}

impl Startup<'_, '_> {
    fn run(
        &mut self,
        key: &Secret,
        device: TunDevice,
        timestamp_file: PathBuf,
    ) -> Result<Facts, Failure> {
        self.tunnel(key, device, timestamp_file)?;
        self.check_stop()?;
        self.address()?;
        self.check_stop()?;
        let answer = self.first_answer()?;
        self.name()?;
        Ok(Facts {
            host: self.host.name.clone(),
            name: self.host.hop_name(),
            interface: self.interface.clone(),
            ifindex: Some(self.ifindex),
            endpoint: self.endpoint(),
            local_ip: self.host.local_ip,
            peer_ip: self.host.peer_ip,
            agent_version: answer.version,
            tunnel_mode: answer.tunnel_mode,
            transport: Some(self.ways.told()),
            handshake: answer.handshake,
            answered: answer.took,
            total: self.start.elapsed(),
        })
    }

    /// The address that the VPS answers at over UDP, once it did; those that are tried until then.
    fn endpoint(&self) -> String {
        let status = self.parts.tunnel.as_ref().and_then(|tunnel| tunnel.status().ok());
        let peer = status.and_then(|status| status.peers.into_iter().next());
        let known = peer.filter(|peer| peer.last_handshake.is_some());
        match known.and_then(|peer| peer.endpoint).filter(|at| !self.ways.is_pipe(*at)) {
            Some(endpoint) => endpoint.to_string(),
            None => joined(&self.remotes),
        }
    }

    /// The data plane.
    fn tunnel(
        &mut self,
        key: &Secret,
        device: TunDevice,
        timestamp_file: PathBuf,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let over_udp = self.ways.over_udp(&self.remotes);
        let mut config = tunnel_config(self.host, key, over_udp, timestamp_file);
        let address = self.host.local_ip;
        let connections = tcp::made_from(address);
        config.shield = Some(Shielded { address, connections });
        let started = tunnel::start(device, &config).map_err(|error| {
            let next = fix!("hop up {}", self.host.name);
            Failure::new(Fault::Failed, "cannot start WireGuard", error.to_string(), next)
        })?;
        if over_udp.len() > 1 {
            started.reconnect(self.host.public_key, over_udp);
        }
        let port = started.listen_port();
        self.parts.tunnel = Some(started);
        self.undo.done("WireGuard", |parts| {
            if let Some(mut tunnel) = parts.tunnel.take() {
                tunnel.stop();
            }
            Ok(())
        });
        let peer = match over_udp {
            [] => "over SSH".to_owned(),
            remotes => format!("peer {}", joined(remotes)),
        };
        let text = format!("WireGuard on UDP {port}, {peer}");
        self.report.step(&text, began.elapsed());
        Ok(())
    }

    fn address(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let HostConfig { local_ip, peer_ip, .. } = self.host;
        // The device of a session that was killed a moment ago may just be going.
        while let Err(error) = self.parts.lease.configure(*local_ip, *peer_ip) {
            let is_taken = error.is(Code::StateConflict);
            if !is_taken || began.elapsed() > GOING_LIMIT {
                return Err(failures::taken(&error, fix!("hop setup {}", self.host.name)));
            }
            if self.requests.pause(None, GOING_PAUSE) {
                return Err(failures::stopped(self.host));
            }
        }
        let text = format!("address {local_ip}, route to {peer_ip} over {}", self.interface);
        self.report.step(&text, began.elapsed());
        Ok(())
    }

    fn name(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let name = self.host.hop_name();
        let added = self.parts.lease.add_host(&name, self.host.peer_ip);
        added.map_err(|error| failures::taken(&error, failures::under_another_name(self.host)))?;
        self.report.step(&format!("{name} → {}", self.host.peer_ip), began.elapsed());
        self.undo.done("name", move |parts| told(parts.lease.remove_host(&name)));
        Ok(())
    }

    fn check_stop(&mut self) -> Result<(), Failure> {
        if self.requests.pause(None, Duration::ZERO) {
            Err(failures::stopped(self.host))
        } else {
            Ok(())
        }
    }
}
