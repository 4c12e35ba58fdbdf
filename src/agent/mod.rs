//! The VPS's side: the other end of the tunnel and the HTTP API on its address.
//!
//! Reading order: this file (command line, start and end) → `config` → `http` (connections) →
//! `request` (bytes → request) → `auth` (who may ask) → `rpc` (method table) → `health`.
//! Runs without privileges: its TUN device comes from the VPS's own helper, as on the laptop.

mod auth;
pub mod config;
mod health;
pub mod http;
mod request;
mod rpc;

use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lexopt::{Arg, Parser};

use crate::helper::{DEFAULT_SOCKET, Helper, HelperError, Lease};
use crate::rpc::VERSION;
use crate::sys::poll::{self, Interest};
use crate::sys::proc;
use crate::sys::signal::{Kind as Signal, Signals};
use crate::tunnel::{self, Stopped, TunDevice, Tunnel};
use config::AgentConfig;
use http::{Api, Server};

const CONFIG_FILE: &str = "/etc/hopbox/agent.json";
/// The interface's name where the configuration gives none and nobody else has it.
const INTERFACE: &str = "wg0";
const LABEL: &str = "agent";
/// Another helper socket, for tests and the self test.
const SOCKET_VARIABLE: &str = "HOPBOX_HELPER_SOCKET";
/// How often the helper's connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const HELP: &str = "\
hop-agent is the VPS's end of a hopbox tunnel.

usage: hop-agent <command>

  serve [--config FILE]   run in the foreground (FILE: /etc/hopbox/agent.json)
  version                 show the version
";

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const HELPER: u8 = 5;

/// What failed, why, the command that fixes it, and the exit code.
pub struct Failure {
    what: String,
    why: String,
    next: String,
    code: u8,
}

impl Failure {
    fn new(code: u8, what: &str, why: impl Into<String>, next: &str) -> Failure {
        Failure { what: what.to_owned(), why: why.into(), next: next.to_owned(), code }
    }
}

/// Runs one command line (without the program's name) and returns the exit code.
pub fn main(line: impl IntoIterator<Item = OsString>) -> u8 {
    let outcome = match parse(line) {
        Ok(Asked::Help) => print(HELP),
        Ok(Asked::Version) => print(&format!("hop-agent {VERSION}\n")),
        Ok(Asked::Serve(config)) => serve(&config),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => DONE,
        Err(Failure { what, why, next, code }) => {
            log(&format!("error: {what}\n  {why}\nfix: {next}"));
            code
        }
    }
}

enum Asked {
    Help,
    Version,
    Serve(PathBuf),
}

fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    let bad =
        |why: String| Failure::new(USAGE, "the command line is not valid", why, "hop-agent --help");
    let mut parser = Parser::from_args(line);
    let mut config = None;
    let mut verb = None;
    while let Some(arg) = parser.next().map_err(|error| bad(error.to_string()))? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Asked::Version),
            Arg::Long("config") if verb.as_deref() == Some("serve") => {
                config = Some(parser.value().map_err(|error| bad(error.to_string()))?);
            }
            Arg::Value(word) if verb.is_none() => verb = Some(word.to_string_lossy().into_owned()),
            other => return Err(bad(other.unexpected().to_string())),
        }
    }
    match verb.as_deref() {
        None | Some("help") => Ok(Asked::Help),
        Some("version") => Ok(Asked::Version),
        Some("serve") => Ok(Asked::Serve(config.map_or_else(|| CONFIG_FILE.into(), PathBuf::from))),
        Some(other) => Err(bad(format!("no command {other:?}"))),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    // A reader that closed its end has seen what it wanted.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// One line for whoever keeps the log; systemd adds the time.
fn log(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Start-up order, then serving until a signal or the end of the tunnel, then all of it undone.
fn serve(config_file: &Path) -> Result<(), Failure> {
    proc::set_umask(0o077);
    let config = config::load(config_file)?;
    // A core dump or a debugger of the same user would reveal the private key (R99).
    if let Err(error) = proc::keep_memory_private() {
        log(&format!("memory is not private: {error}"));
    }
    let mut signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
        .map_err(|error| failed("cannot listen for signals", &error))?;
    let mut helper = Helper::connect(&helper_socket()).map_err(|error| refused(&error))?;
    let lease = create_device(&mut helper, &config)?;
    let id = lease.id.clone();
    // From here on the lease is given back whatever happens; even without that, the helper takes
    // it back when this process ends.
    let outcome = with_device(&config, &mut helper, lease, &mut signals);
    if let Err(error) = helper.cleanup(&id) {
        log(&format!("the helper did not confirm the removal of the device: {error}"));
    }
    outcome
}

fn with_device(
    config: &AgentConfig,
    helper: &mut Helper,
    lease: Lease,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let (id, interface) = (lease.id, lease.name.clone());
    let device =
        TunDevice { fd: lease.fd, name: lease.name, mtu: lease.mtu, vnet_hdr: lease.vnet_hdr };
    let mut tunnel = tunnel::start(device, &config.tunnel())
        .map_err(|error| failed("cannot start WireGuard", &error))?;
    // The seam for several laptops: the helper routes one peer's address per lease. The first
    // peer is the one; the others are known to WireGuard and wait for routes of their own.
    let peer = config.first_peer();
    helper.configure(&id, config.address, peer).map_err(|error| refused(&error))?;
    let at = SocketAddr::from((config.address, config.api_port));
    let listener =
        TcpListener::bind(at).map_err(|error| failed(&format!("cannot listen on {at}"), &error))?;
    let server = Server::new(listener, Arc::new(Api::new(config.address, &config.token)))
        .map_err(|error| failed(&format!("cannot listen on {at}"), &error))?;
    let port = tunnel.listen_port();
    log(&format!("hop-agent {VERSION}: {interface} {at}, WireGuard on UDP {port}"));
    let outcome = attend(&server, &tunnel, helper, signals);
    drop(server);
    tunnel.stop();
    outcome
}

/// Accepts connections until a signal (good) or the loss of tunnel or helper (a failure, so that
/// systemd starts the agent again).
fn attend(
    server: &Server,
    tunnel: &Tunnel,
    helper: &Helper,
    signals: &mut Signals,
) -> Result<(), Failure> {
    loop {
        let fds = [
            (signals.as_fd(), Interest::READ),
            (server.as_fd(), Interest::READ),
            (tunnel.end_fd(), Interest::READ),
        ];
        let mut ready = Vec::with_capacity(fds.len());
        poll::wait(&fds, &mut ready, Some(LOOK_EVERY))
            .map_err(|error| failed("cannot wait", &error))?;
        if let Some(signal) = signals.take() {
            log(&format!("ending on a signal ({signal:?})"));
            return Ok(());
        }
        if let Some(stopped) = tunnel.ended() {
            return Err(lost(&stopped));
        }
        if helper.closed() {
            let what = "the helper is gone, and with it the tunnel device";
            let next = "systemctl status hop-helper";
            return Err(Failure::new(HELPER, what, "its connection was closed", next));
        }
        server.accept();
    }
}

/// The configured name; else `wg0`; else, where that is taken, one the helper chooses.
fn create_device(helper: &mut Helper, config: &AgentConfig) -> Result<Lease, Failure> {
    let wanted = config.interface.as_deref().unwrap_or(INTERFACE);
    let created = match helper.create_tun(Some(wanted), config.mtu, LABEL) {
        Err(HelperError::Op { code, .. })
            if code == "state_conflict" && config.interface.is_none() =>
        {
            helper.create_tun(None, config.mtu, LABEL)
        }
        other => other,
    };
    created.map_err(|error| refused(&error))
}

fn lost(stopped: &Stopped) -> Failure {
    let why = match stopped {
        Stopped::Asked => "it was stopped".to_owned(),
        Stopped::DeviceGone => "its interface was removed".to_owned(),
        Stopped::Failed(why) => why.clone(),
    };
    Failure::new(FAILED, "the tunnel ended", why, "systemctl restart hop-agent")
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(FAILED, what, error.to_string(), "systemctl restart hop-agent")
}

fn refused(error: &HelperError) -> Failure {
    let what = "the helper did not give a tunnel device";
    Failure::new(HELPER, what, error.to_string(), &error.remedy())
}

fn helper_socket() -> PathBuf {
    std::env::var_os(SOCKET_VARIABLE).map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}
