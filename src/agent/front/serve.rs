//! The agent as a service: start-up order, waiting, and everything undone at the end.

use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api::Api;
use super::backend::Backend;
use super::control::Control;
use super::endpoints::Endpoints;
use super::inner::{Inner, failed};
use super::state::{AgentState, Side};
use crate::agent::config::{self, AgentConfig};
use crate::agent::{log, running};
use crate::base::failure::{Failure, Fault};
use crate::http::server::Server;
use crate::rpc::VERSION;
use crate::sys::poll::{self, Interest};
use crate::sys::process;
use crate::sys::signal::{Kind as Signal, Signals};
use crate::tunnel::{self, Beside, Stopped, TunDevice, Tunnel};

/// How often it is written down where the laptops are, for the agent after this one, and
/// whether there is a helper is looked at where there was none.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// The same after a laptop has connected: an agent that is killed now is to find it again, too.
const KEEP_SOON: Duration = Duration::from_secs(1);

/// Start-up order, then serving until a signal or the end of the tunnel, then all of it undone; and
/// once more, where the tunnel's inner side may be a better one now.
pub fn serve(config_file: &Path) -> Result<(), Failure> {
    process::set_umask(0o077);
    running::begin();
    let mut signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
        .map_err(|error| failed("cannot listen for signals", &error))?;
    loop {
        let config = config::load(config_file)?;
        let (mut inner, device, beside) = Inner::open(&config)?;
        // From here on the device is given back whatever happens; even without that, the helper
        // takes it back when this process ends.
        let outcome = with_device(config_file, config, (device, beside), &mut inner, &mut signals);
        inner.give_back();
        match outcome? {
            End::Asked => return Ok(()),
            End::Helper => log("there is a helper now: starting anew with its device"),
        }
    }
}

/// Why it served no longer, if it could have.
enum End {
    Asked,
    Helper,
}

fn with_device(
    file: &Path,
    config: AgentConfig,
    (device, beside): (TunDevice, Option<Beside>),
    inner: &mut Inner,
    signals: &mut Signals,
) -> Result<End, Failure> {
    let interface = device.name.clone();
    let endpoints = Endpoints::open(&config.state_dir);
    let mut settings = config.tunnel();
    let were_here = endpoints.tell(&mut settings);
    let tunnel = match beside {
        Some(beside) => tunnel::start_beside(device, beside, &settings),
        None => tunnel::start(device, &settings),
    };
    let tunnel = tunnel.map_err(|error| failed("cannot start WireGuard", &error))?;
    let tunnel = Arc::new(tunnel);
    inner.configure(&config)?;
    drop(settings);
    if were_here {
        tunnel.handshake_all();
    }
    let at = SocketAddrV4::new(config.address, config.api_port);
    let entrance = inner.entrance(at)?;
    let (state_dir, second_port) = (config.state_dir.clone(), config.second_port);
    let side = Side { interface: interface.clone(), mode: inner.mode(), drops: inner.drops() };
    let state = AgentState::new(file.to_owned(), config, side, tunnel.clone());
    let state = Arc::new(state.map_err(|error| failed("cannot wake itself", &error))?);
    let server = Server::start(entrance, Arc::new(Api::new(at, state.clone())))
        .map_err(|error| failed(&format!("cannot listen on {at}"), &error))?;
    // Without the directory there is no local socket, and clocks are trusted.
    let control = Control::bind(&state_dir)
        .map_err(|error| {
            log(&format!("no control socket in {}: {}", state_dir.display(), error.why))
        })
        .ok();
    let port = tunnel.listen_port();
    log(&format!("hop-agent {VERSION}: {interface} {at}, WireGuard on UDP {port}"));
    if let Some(second) = second_port {
        let is_there = tunnel.status().is_ok_and(|status| status.second_port == Some(second));
        let how = if is_there { "too" } else { "not: it is taken, or may not be had" };
        log(&format!("WireGuard on UDP {second}, {how}"));
    }
    let mut serving =
        Serving { tunnel: &tunnel, state: &state, control, endpoints, kept: Instant::now() };
    // Who changed the files between their reading and the socket found nobody to tell.
    serving.told("reload", state.reload());
    let outcome = serving.attend(inner, signals);
    serving.keep_endpoints();
    drop(serving);
    drop((server, state));
    // Connections that are being answered hold it, too; the end of the process ends it then.
    if let Ok(mut tunnel) = Arc::try_unwrap(tunnel) {
        tunnel.stop();
    }
    outcome
}

struct Serving<'a> {
    tunnel: &'a Tunnel,
    state: &'a AgentState,
    control: Option<Control>,
    endpoints: Endpoints,
    /// When they were kept last.
    kept: Instant,
}

impl Serving<'_> {
    /// Waits until a signal (good) or the loss of tunnel or lease (a failure, so
    /// that systemd starts the agent again). SIGHUP reads the files again.
    fn attend(&mut self, inner: &mut Inner, signals: &mut Signals) -> Result<End, Failure> {
        loop {
            let mut fds = vec![
                (signals.as_fd(), Interest::READ),
                (self.tunnel.end_fd(), Interest::READ),
                (self.state.as_fd(), Interest::READ),
            ];
            fds.extend(inner.fds());
            fds.extend(self.control.as_ref().map(|control| (control.as_fd(), Interest::READ)));
            let next = self.keeps_in();
            let limit = self.state.patience().map_or(next, |patience| patience.min(next));
            let mut ready = Vec::with_capacity(fds.len());
            poll::wait(&fds, &mut ready, Some(limit))
                .map_err(|error| failed("cannot wait", &error))?;
            while let Some(signal) = signals.take() {
                if signal != Signal::Hangup {
                    log(&format!("ending on a signal ({signal:?})"));
                    return Ok(End::Asked);
                }
                self.told("reload", self.state.reload());
            }
            if let Some(stopped) = self.tunnel.ended() {
                return Err(lost(&stopped));
            }
            inner.look()?;
            self.told("rotation", self.state.watch());
            if self.keeps_in().is_zero() {
                self.keep_endpoints();
                if inner.may_change() {
                    return Ok(End::Helper);
                }
            }
            if let Some(control) = &self.control {
                control.serve(self.state);
            }
        }
    }

    fn keeps_in(&self) -> Duration {
        let every = if self.state.has_come() { KEEP_SOON } else { KEEP_EVERY };
        every.saturating_sub(self.kept.elapsed())
    }

    fn keep_endpoints(&mut self) {
        self.kept = Instant::now();
        self.state.let_come();
        if let Ok(status) = self.tunnel.status() {
            self.endpoints.keep(&status.peers);
        }
    }

    /// A change that failed has changed nothing: the agent goes on as it was.
    fn told(&self, what: &str, outcome: Result<(), Failure>) {
        if let Err(Failure { what: error, why, .. }) = outcome {
            log(&format!("{what}: {error}: {why}"));
        }
    }
}

fn lost(stopped: &Stopped) -> Failure {
    let why = match stopped {
        Stopped::Asked => "it was stopped".to_owned(),
        Stopped::DeviceGone => "its interface was removed".to_owned(),
        Stopped::Failed(why) => why.clone(),
    };
    Failure::new(Fault::Failed, "the tunnel ended", why, "sudo journalctl -u hop-agent")
}
