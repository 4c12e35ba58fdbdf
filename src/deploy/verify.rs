//! The proof: this laptop's own `hop up` reaches the agent through the tunnel, and its token is
//! taken. The only file of this room that knows sessions; where the proof fails,
//! `server_diagnosis` says why.

use std::process::Command as Process;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::failure::{Failure, Fault};
use crate::base::json::Fields;
use crate::fix;
use crate::host::config::{HostConfig, Transport};
use crate::host::paths::Paths;
use crate::rpc::client::{CallError, Client, Health};
use crate::rpc::code::Code;
use crate::rpc::method::{AgentRunning, AgentVersion, SnapHealth};
use crate::rpc::types::running::{Program, Running};
use crate::rpc::types::{Nothing, TunnelMode, snap};
pub use crate::session::transport::target;
use crate::session::{control, daemon, diagnose, through};
use crate::sys::child::{self, Limits};
use crate::sys::interrupt;
use crate::text::fix::Fix;

/// How long a new agent may take to answer through the tunnel.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const ASK_LIMIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);
/// Longer than `hop up` waits for its session.
const UP_LIMITS: Limits = Limits { time: Duration::from_secs(120), bytes: 1024 * 1024 };
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Tells a `hop up` that a setup has begun it.
pub const BY_SETUP: &str = "HOPBOX_UP_BY_SETUP";

/// What a verified tunnel said of itself.
pub struct Verified {
    pub agent_version: String,
    pub tunnel_mode: TunnelMode,
    pub handshake_us: Option<u64>,
    /// `None` from an agent that does not say.
    pub snapshots: Option<snap::Health>,
    pub running: Option<Running>,
}

/// Whether the host is up. A session that goes another way is ended: it proves nothing, and what
/// it sends would be taken for this laptop's try.
pub fn clear(paths: &Paths, host: &HostConfig) -> Result<bool, Failure> {
    let was_up = control::facts(paths, &host.name).is_some();
    if was_up && !goes_to(paths, host) {
        daemon::down(paths, &host.name).map_err(|error| {
            let what = format!("the session of {} did not end", host.name);
            let next = fix!("hop down {}", host.name);
            Failure::new(Fault::Busy, what, error.to_string(), next)
        })?;
    }
    Ok(was_up)
}

/// Brings the host up, has the agent answer, and takes it down again if it was not up before. What
/// is begun for that goes over UDP alone, so that this is what is proven, also where SSH would
/// stand in for it.
pub fn attempt(paths: &Paths, host: &HostConfig, was_up: bool) -> Result<Verified, Failure> {
    let is_up = was_up && control::facts(paths, &host.name).is_some();
    if is_up {
        // It may have keys that the agent knows no more, and the agent no session of it.
        let _ = control::rekey(paths, &host.name);
    }
    let udp = (!is_up && host.transport == Transport::Auto).then_some(Transport::Udp);
    let came_up = up(host, udp);
    if interrupt::is_due() && !was_up {
        let _ = daemon::down(paths, &host.name);
    }
    let handshake_us = came_up?;
    let health = answers(paths, host);
    let client = through::with_token(paths, host).filter(|_| health.is_ok());
    let ask = |client: &Client| client.call(SnapHealth, &Nothing, ANSWER_LIMIT).ok();
    let snapshots = client.as_ref().and_then(ask);
    let running = client.as_ref().and_then(running_by);
    if !was_up || udp.is_some() {
        let _ = daemon::down(paths, &host.name);
    }
    if was_up && udp.is_some() && health.is_ok() {
        // By whichever way there is, from now on.
        up(host, None)?;
    }
    let Health { version: agent_version, tunnel_mode, .. } = health?;
    Ok(Verified { agent_version, tunnel_mode, handshake_us, snapshots, running })
}

/// The programs that run there, of a host that is up and whose agent answers. One of an earlier
/// version says no more than that.
pub fn running(paths: &Paths, host: &HostConfig) -> Option<Running> {
    running_by(&through::with_token(paths, host)?)
}

fn running_by(client: &Client) -> Option<Running> {
    match client.call(AgentRunning, &Nothing, ANSWER_LIMIT) {
        Ok(running) => Some(running),
        Err(CallError::Remote { code: Code::UnknownMethod, .. }) => {
            let Health { version, .. } = client.health(ASK_LIMIT).ok()?;
            let name = "hop-agent".to_owned();
            let program = Program { name, version, digest: None, is_on_disk: None };
            Some(Running { machine: String::new(), programs: vec![program] })
        }
        Err(_) => None,
    }
}

/// Names of those that lie there in vain until they are started anew.
pub fn replaced(paths: &Paths, host: &HostConfig) -> Vec<String> {
    let programs = running(paths, host).map(|running| running.programs).unwrap_or_default();
    let replaced = programs.into_iter().filter(|program| program.is_on_disk == Some(false));
    replaced.map(|program| program.name).collect()
}

/// After an attempt over UDP that got no answer: whether the agent answers over SSH, by which the
/// host stays up if it was.
pub fn stands_in(paths: &Paths, host: &HostConfig, was_up: bool, fault: Fault) -> bool {
    if !host.ssh_may_stand_in() || fault != Fault::NoHandshake || interrupt::is_due() {
        return false;
    }
    let works = up(host, None).is_ok() && answers(paths, host).is_ok();
    if !was_up || !works {
        let _ = daemon::down(paths, &host.name);
    }
    works
}

/// Lets a server that counts what it sees see something of a host that is down.
pub fn knock(paths: &Paths, host: &HostConfig) {
    diagnose::knock(paths, host);
}

/// Whether an upgrade can be proven through the session that is up, if one is.
pub fn can_show(paths: &Paths, host: &HostConfig) -> Result<(), Failure> {
    let name = &host.name;
    if control::facts(paths, name).is_none() || through::link(paths, host).is_some() {
        return Ok(());
    }
    let what = format!("the session of {name} cannot show that the upgrade works");
    let why = "it began with an older hop, or with another host file";
    Err(Failure::new(Fault::Busy, what, why, fix!("hop down {} && hop up {}", name, name)))
}

/// That an agent of this version answers through the tunnel, brought up for that if it is down.
pub fn serves(paths: &Paths, host: &HostConfig, version: &str) -> Result<(), String> {
    match answering(paths, host)? {
        theirs if theirs == version => Ok(()),
        theirs => Err(format!("the agent that answers has version {theirs}, not {version}")),
    }
}

/// The version of the agent that answers, waited for.
pub fn answering(paths: &Paths, host: &HostConfig) -> Result<String, String> {
    let name = &host.name;
    if control::facts(paths, name).is_none() {
        return brought_up(paths, host);
    }
    // The new agent knows no session of ours: shake hands at once instead of after a silence.
    let _ = control::rekey(paths, name);
    let end = Instant::now() + ANSWER_WITHIN;
    loop {
        match asked(paths, host) {
            Ok(version) => return Ok(version),
            Err(error) if Instant::now() >= end || interrupt::is_due() => return Err(error),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// The same of one that was not started anew.
pub fn version(paths: &Paths, host: &HostConfig) -> Result<String, String> {
    match control::facts(paths, &host.name) {
        Some(_) => asked(paths, host),
        None => brought_up(paths, host),
    }
}

fn asked(paths: &Paths, host: &HostConfig) -> Result<String, String> {
    let client = through::without_token(paths, host);
    let client = client.ok_or_else(|| format!("{} is not up", host.name))?;
    client.health(ASK_LIMIT).map(|health| health.version).map_err(|error| error.to_string())
}

fn brought_up(paths: &Paths, host: &HostConfig) -> Result<String, String> {
    let up = attempt(paths, host, false);
    up.map(|verified| verified.agent_version).map_err(|failure| failure.why)
}

/// Whether the session that is up began with what the host file says now, and can be asked. Its
/// keys it can take over as it runs.
fn goes_to(paths: &Paths, host: &HostConfig) -> bool {
    let Ok(Some(live)) = control::live(paths, &host.name) else { return false };
    live.endpoint_name == host.endpoint.to_string() && through::link(paths, host).is_some()
}

/// The agent's health, and that it takes the token of the host file.
fn answers(paths: &Paths, host: &HostConfig) -> Result<Health, Failure> {
    let name = &host.name;
    let client = through::with_token(paths, host).ok_or_else(|| {
        let what = format!("the session of {name} is not what it was");
        let why = "it went down again, or another one took its place";
        Failure::new(Fault::Failed, what, why, fix!("hop doctor {}", name))
    })?;
    let silent = |error: CallError| {
        let what = format!("the agent on {name} does not answer through the tunnel");
        Failure::new(Fault::Unreachable, what, error.to_string(), fix!("hop doctor {}", name))
    };
    let health = client.health(ANSWER_LIMIT).map_err(silent)?;
    match client.call(AgentVersion, &Nothing, ANSWER_LIMIT) {
        Ok(_) => Ok(health),
        Err(CallError::Remote { message, .. }) => {
            let what = format!("the agent on {name} does not know this laptop");
            Err(Failure::new(Fault::Remote, what, message, fix!("hop setup {}", name)))
        }
        Err(error) => Err(silent(error)),
    }
}

/// The time that the handshake took, as `hop --json up` tells it.
fn up(host: &HostConfig, transport: Option<Transport>) -> Result<Option<u64>, Failure> {
    let failed = |why: String| {
        let next = fix!("hop up {}", host.name);
        Failure::new(Fault::Failed, "the tunnel could not be tried", why, next)
    };
    let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut process = Process::new(own);
    process.args(["--json", "--no-input", "up", &host.name]).env(BY_SETUP, "1");
    if let Some(transport) = transport {
        process.args(["--transport", transport.word()]);
    }
    let out = child::run(&mut process, UP_LIMITS).map_err(|broken| failed(broken.to_string()))?;
    let answer = Fields::parse(&out.text()).and_then(|mut envelope| {
        if let Some(mut data) = envelope.opt_object("data")? {
            return Ok(Ok(data.take("handshake_us").and_then(|time| time.as_u64())));
        }
        let mut error = envelope.opt_object("error")?.ok_or_else(|| envelope.error("error", ""))?;
        let fault = Fault::told(&mut error);
        let mut text = |key: &str| error.string(key).unwrap_or_default();
        let next = Fix::carried(&text("fix")).unwrap_or_else(|| fix!("hop doctor {}", host.name));
        Ok(Err(Failure::new(fault, "the tunnel does not work yet", text("message"), next)))
    });
    answer.unwrap_or_else(|_| {
        let said = String::from_utf8_lossy(&out.stderr);
        Err(failed(said.lines().last().unwrap_or("it said nothing").to_owned()))
    })
}
