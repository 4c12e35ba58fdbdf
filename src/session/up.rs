//! The sequence that makes a host usable, and its undoing:
//! helper lease → TUN descriptor → WireGuard → address and route → the agent answers → name.
//!
//! Turns a user's wish (a host file and a key) into machinery. A failure or a stop at any step
//! undoes the earlier ones in reverse. Port mirror, bridges and workspace join after the name.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Undo;
use super::asking::{ANSWER_LIMIT, Asking};
use super::journal::log;
use super::network::{Resolver, joined};
use super::report::{Facts, Report};
use crate::base::failure::{Failure, Fault};
use crate::base::key::Secret;
use crate::base::time_text::took;
use crate::fix;
use crate::helper::{Helper, HelperError};
use crate::host::config::HostConfig;
use crate::rpc::client::{CallError, Health};
use crate::text::fix::Fix;
use crate::tunnel::{self, PeerConfig, TunDevice, Tunnel};

/// How long a name may take to resolve.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// How often the handshake is looked for while the agent has not answered.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After this long without an answer, say what is being waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The helper's word for what is in use, and how long that may be by what is just being deleted.
const CONFLICT: &str = "state_conflict";
const GOING_LIMIT: Duration = Duration::from_secs(1);

/// What the steps work on.
pub struct Parts {
    pub helper: Helper,
    pub tunnel: Option<Tunnel>,
}

/// A host that is up.
pub struct Live {
    pub parts: Parts,
    pub facts: Facts,
    /// The helper's name for the device.
    pub lease: String,
    /// The VPS's addresses, as many as its name has.
    pub remotes: Vec<SocketAddr>,
    undo: Undo<Parts>,
}

/// Waits at most this long, or until the descriptor is readable; true = stop and undo.
pub type Pause<'a> = dyn FnMut(Option<BorrowedFd<'_>>, Duration) -> bool + 'a;

/// Brings `host` up. `report` hears every step; `pause` is asked between steps and while waiting.
pub fn bring_up(
    host: &HostConfig,
    key: &Secret,
    helper_socket: &Path,
    timestamp_file: PathBuf,
    report: &mut dyn Report,
    pause: &mut Pause<'_>,
) -> Result<Live, Failure> {
    let start = Instant::now();
    let remotes = resolve(host, pause)?;
    let helper = Helper::connect(helper_socket).map_err(|error| helper_trouble(&error))?;
    report.step(&format!("helper {}", helper.version()), start.elapsed());
    let mut rising = Rising {
        host,
        remotes,
        timestamp_file,
        start,
        report,
        pause,
        parts: Parts { helper, tunnel: None },
        undo: Undo::new(),
    };
    match rising.climb(key) {
        Ok((facts, lease)) => {
            let Rising { parts, remotes, undo, .. } = rising;
            Ok(Live { parts, facts, lease, remotes, undo })
        }
        Err(trouble) => {
            unwind(&mut rising.undo, &mut rising.parts);
            Err(trouble)
        }
    }
}

impl Live {
    /// Takes everything back, newest first. Bounded: the tunnel stops within a second and the
    /// helper answers or is given up.
    pub fn take_down(mut self) {
        unwind(&mut self.undo, &mut self.parts);
    }
}

fn unwind(undo: &mut Undo<Parts>, parts: &mut Parts) {
    undo.unwind(parts, |what, outcome| match outcome {
        Ok(()) => log(&format!("undone: {what}")),
        Err(why) => log(&format!("undone: {what} ({why})")),
    });
}

/// What the helper made: its name for it, and the system's.
struct Device {
    lease: String,
    interface: String,
    ifindex: u32,
}

/// The way up, half done.
struct Rising<'a> {
    host: &'a HostConfig,
    remotes: Vec<SocketAddr>,
    timestamp_file: PathBuf,
    start: Instant,
    report: &'a mut dyn Report,
    pause: &'a mut Pause<'a>,
    parts: Parts,
    undo: Undo<Parts>,
}

impl Rising<'_> {
    /// The facts and the lease.
    fn climb(&mut self, key: &Secret) -> Result<(Facts, String), Failure> {
        let Device { lease, interface, ifindex } = self.tunnel(key)?;
        self.go_on()?;
        self.address(&lease, &interface)?;
        self.go_on()?;
        let (health, handshake, answered) = self.agent(ifindex)?;
        self.name(&lease)?;
        let facts = Facts {
            host: self.host.name.clone(),
            name: name_of(self.host),
            interface,
            ifindex: Some(ifindex),
            endpoint: self.endpoint(),
            local_ip: self.host.local_ip,
            peer_ip: self.host.peer_ip,
            agent_version: health.version,
            handshake,
            answered,
            total: self.start.elapsed(),
        };
        Ok((facts, lease))
    }

    /// The address that the VPS answers at, once it did; those that are tried until then.
    fn endpoint(&self) -> String {
        let status = self.parts.tunnel.as_ref().and_then(|tunnel| tunnel.status().ok());
        let peer = status.and_then(|status| status.peers.into_iter().next());
        let known = peer.filter(|peer| peer.last_handshake.is_some());
        match known.and_then(|peer| peer.endpoint) {
            Some(endpoint) => endpoint.to_string(),
            None => joined(&self.remotes),
        }
    }

    /// Lease, descriptor and data plane.
    fn tunnel(&mut self, key: &Secret) -> Result<Device, Failure> {
        let began = Instant::now();
        let lease = self.parts.helper.create_tun(None, self.host.mtu, &self.host.name);
        let lease = lease.map_err(|error| helper_trouble(&error))?;
        let id = lease.id.clone();
        self.undo.done("tunnel device", move |parts| {
            parts.helper.cleanup(&id).map_err(|error| error.to_string())
        });
        self.report.step(&format!("tunnel device {}", lease.name), began.elapsed());

        let began = Instant::now();
        let config = tunnel_config(self.host, key, &self.remotes, self.timestamp_file.clone());
        let made =
            Device { lease: lease.id, interface: lease.name.clone(), ifindex: lease.ifindex };
        let device =
            TunDevice { fd: lease.fd, name: lease.name, mtu: lease.mtu, vnet_hdr: lease.vnet_hdr };
        let started = tunnel::start(device, &config).map_err(|error| {
            let next = fix!("hop up {}", self.host.name);
            Failure::new(Fault::Failed, "cannot start WireGuard", error.to_string(), next)
        })?;
        if self.remotes.len() > 1 {
            started.reconnect(self.host.public_key, &self.remotes);
        }
        let port = started.listen_port();
        self.parts.tunnel = Some(started);
        self.undo.done("WireGuard", |parts| {
            if let Some(mut tunnel) = parts.tunnel.take() {
                tunnel.stop();
            }
            Ok(())
        });
        let text = format!("WireGuard on UDP {port}, peer {}", joined(&self.remotes));
        self.report.step(&text, began.elapsed());
        Ok(made)
    }

    fn address(&mut self, lease: &str, interface: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let HostConfig { local_ip, peer_ip, .. } = self.host;
        // The device of a session that was killed a moment ago may just be going.
        while let Err(error) = self.parts.helper.configure(lease, *local_ip, *peer_ip) {
            let is_taken = matches!(&error, HelperError::Op { code, .. } if code == CONFLICT);
            if !is_taken || began.elapsed() > GOING_LIMIT {
                return Err(taken(&error, fix!("hop setup {}", self.host.name)));
            }
            if (self.pause)(None, LOOK_EVERY) {
                return Err(self.stopped());
            }
        }
        let text = format!("address {local_ip}, route to {peer_ip} over {interface}");
        self.report.step(&text, began.elapsed());
        Ok(())
    }

    /// Waits until the agent answers through the tunnel. Returns its answer, the round trip of
    /// the handshake and the time to the answer.
    fn agent(&mut self, ifindex: u32) -> Result<(Health, Option<Duration>, Duration), Failure> {
        let began = Instant::now();
        let mut asking = Asking::start(self.host, ifindex).map_err(|error| {
            let next = fix!("hop up {}", self.host.name);
            Failure::new(Fault::Failed, "cannot ask the agent", error.to_string(), next)
        })?;
        let mut handshake = None;
        let mut told = false;
        loop {
            let stop = (self.pause)(Some(asking.as_fd()), LOOK_EVERY);
            if handshake.is_none() {
                handshake = self.handshake(began);
            }
            if stop {
                return Err(self.stopped());
            }
            match asking.heard() {
                Some(Ok(health)) => {
                    let answered = began.elapsed();
                    let text = format!("agent {} answered", health.version);
                    self.report.step(&text, answered);
                    return Ok((health, handshake.flatten(), answered));
                }
                Some(Err(error)) => return Err(self.silent(handshake.is_some(), &error)),
                None => {}
            }
            if !told && began.elapsed() > PATIENCE {
                told = true;
                let HostConfig { peer_ip, api_port, .. } = self.host;
                self.report.note(&format!("waiting for the agent at {peer_ip}:{api_port}"));
            }
        }
    }

    /// Looks for the first handshake: the outer value says that it happened.
    fn handshake(&mut self, began: Instant) -> Option<Option<Duration>> {
        let status = self.parts.tunnel.as_ref()?.status().ok()?;
        let peer = status.peers.first()?;
        peer.last_handshake?;
        let time = peer.handshake_rtt.unwrap_or_else(|| began.elapsed());
        self.report.step("handshake", time);
        Some(peer.handshake_rtt)
    }

    fn name(&mut self, lease: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let name = name_of(self.host);
        let added = self.parts.helper.add_host(&name, self.host.peer_ip, lease);
        added.map_err(|error| taken(&error, under_another_name(self.host)))?;
        self.report.step(&format!("{name} → {}", self.host.peer_ip), began.elapsed());
        self.undo.done("name", move |parts| {
            parts.helper.remove_host(&name).map_err(|error| error.to_string())
        });
        Ok(())
    }

    fn go_on(&mut self) -> Result<(), Failure> {
        if (self.pause)(None, Duration::ZERO) { Err(self.stopped()) } else { Ok(()) }
    }

    fn stopped(&self) -> Failure {
        let name = &self.host.name;
        let what = format!("{name} was stopped before it was up");
        let why = "everything done so far has been undone";
        Failure::new(Fault::Interrupted, what, why, fix!("hop up {}", name))
    }

    /// The agent gave no answer in time: tell a closed UDP path from a sick agent.
    fn silent(&self, handshake: bool, last: &CallError) -> Failure {
        let HostConfig { name, peer_ip, api_port, endpoint, user, .. } = self.host;
        let limit_s = ANSWER_LIMIT.as_secs();
        let login = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let login = format!("{login}{}", endpoint.host);
        let next = fix!("ssh {} sudo systemctl restart hop-agent", login);
        if handshake {
            let what = format!("the agent on {name} does not answer");
            let why =
                format!("the tunnel works, but {peer_ip}:{api_port} gave {last} in {limit_s} s");
            return Failure::new(Fault::Unreachable, what, why, next);
        }
        let what = format!("{name} does not answer on UDP {}", endpoint.port);
        let why = format!(
            "no handshake with {} within {limit_s} s: the agent is not running, a firewall drops \
             UDP {}, the keys do not belong together, or it has heard of a later time from this \
             key (this home directory was restored or copied, or its clock was ahead): then hop \
             rotate {name} gives it a new one",
            joined(&self.remotes),
            endpoint.port
        );
        Failure::new(Fault::Unreachable, what, why, next)
    }
}

/// The VPS's addresses, which the protocol never looks up itself (R93).
fn resolve(host: &HostConfig, pause: &mut Pause<'_>) -> Result<Vec<SocketAddr>, Failure> {
    let fail = |why: String| {
        let what = format!("cannot find the address of {}", host.endpoint.host);
        let next = fix!("getent hosts {}", host.endpoint.host);
        Failure::new(Fault::Unreachable, what, why, next)
    };
    let mut resolver = Resolver::new(&host.endpoint).map_err(|error| fail(error.to_string()))?;
    if let Some(address) = resolver.literal() {
        return Ok(vec![address]);
    }
    resolver.ask();
    let end = Instant::now() + RESOLVE_LIMIT;
    loop {
        match resolver.take() {
            Some(Ok(found)) if found.is_empty() => {
                return Err(fail("the name has no address".to_owned()));
            }
            Some(Ok(found)) => return Ok(found),
            Some(Err(error)) => return Err(fail(error.to_string())),
            None => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(fail(format!("no answer from the resolver in {}", took(RESOLVE_LIMIT))));
        }
        if pause(Some(resolver.as_fd()), left) {
            return Err(Failure { fault: Fault::Interrupted, ..fail("stopped".to_owned()) });
        }
    }
}

pub(super) fn tunnel_config(
    host: &HostConfig,
    key: &Secret,
    remotes: &[SocketAddr],
    timestamp_file: PathBuf,
) -> tunnel::Config {
    let peer = PeerConfig {
        public_key: host.public_key,
        preshared_key: host.preshared_key.as_ref().map(|key| **key),
        own_public_key: None,
        inherits: None,
        endpoint: remotes.first().copied(),
        allowed_ips: vec![(host.peer_ip.into(), 32)],
        persistent_keepalive: host.keepalive_s,
    };
    tunnel::Config {
        private_key: **key,
        other_private_keys: Vec::new(),
        listen_port: 0,
        peers: vec![peer],
        timestamp_file: Some(timestamp_file),
    }
}

/// The name a host answers to while it is up.
pub fn name_of(host: &HostConfig) -> String {
    format!("{}.hop", host.name)
}

/// What the helper refuses because it is another user's, this one has in another form: `next`.
fn taken(error: &HelperError, next: Fix) -> Failure {
    match error {
        HelperError::Op { of_another: true, .. } => {
            let what = "another user of this machine has the address or the name";
            Failure::new(Fault::Busy, what, error.to_string(), next)
        }
        error => helper_trouble(error),
    }
}

/// The host set up again, under a name that is free.
fn under_another_name(host: &HostConfig) -> Fix {
    let address = host.ssh.as_ref().map_or(&host.endpoint.host, |ssh| &ssh.address);
    let (old, new) = (&host.name, format!("{}-2", host.name));
    let line = fix!("hop host rm {} && hop setup {} -a {}", old, new, address);
    let more = [
        host.user.as_ref().map(|user| fix!(" -u {}", user)),
        host.ssh.as_ref().and_then(|ssh| ssh.port).map(|port| fix!(" -p {}", port)),
        host.identity.as_ref().map(|file| fix!(" -k {}", file)),
    ];
    more.iter().flatten().fold(line, |line, more| fix!("{}{}", line, more))
}

fn helper_trouble(error: &HelperError) -> Failure {
    let (kind, what) = match error {
        HelperError::Missing { .. } => {
            (Fault::Helper, "the helper is not running, and only it may make a tunnel device")
        }
        HelperError::Stranger { .. } => (Fault::Helper, "what listens there is not the helper"),
        HelperError::Refused { .. } => (Fault::Helper, "the helper does not serve this user"),
        HelperError::Incompatible { .. } => (Fault::Helper, "helper and hop do not fit together"),
        HelperError::Op { code, .. } if code == CONFLICT => {
            (Fault::Busy, "address, name or device is in use")
        }
        HelperError::Op { .. } | HelperError::Protocol(_) | HelperError::Io(_) => {
            (Fault::Helper, "the helper did not do its part")
        }
    };
    Failure::new(kind, what, error.to_string(), error.remedy())
}
