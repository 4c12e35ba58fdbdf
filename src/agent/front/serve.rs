//! The agent as a service: start-up order, waiting, and everything undone at the end.

use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api::Api;
use super::backend::Backend;
use super::control::Control;
use super::endpoints::Endpoints;
use super::state::AgentState;
use crate::agent::config::{self, AgentConfig, PREFIX};
use crate::agent::log;
use crate::base::failure::{Failure, Fault};
use crate::helper::lease_keeper::{Change, LeaseKeeper};
use crate::helper::{Code, Helper, HelperError, Lease, socket_path};
use crate::http::server::Server;
use crate::rpc::VERSION;
use crate::sys::poll::{self, Interest};
use crate::sys::process;
use crate::sys::signal::{Kind as Signal, Signals};
use crate::tunnel::{self, Stopped, TunDevice, Tunnel};

/// The interface's name where the configuration gives none and nobody else has it.
const INTERFACE: &str = "wg0";
const LABEL: &str = "agent";
/// How often it is written down where the laptops are, for the agent after this one.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// Start-up order, then serving until a signal or the end of the tunnel, then all of it undone.
pub fn serve(config_file: &Path) -> Result<(), Failure> {
    process::set_umask(0o077);
    let config = config::load(config_file)?;
    let mut signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
        .map_err(|error| failed("cannot listen for signals", &error))?;
    let socket = socket_path();
    let mut helper = Helper::connect(&socket).map_err(|error| refused(&error))?;
    let Lease { id, name, mtu, vnet_hdr, fd, .. } = create_device(&mut helper, &config)?;
    let device = TunDevice { fd, name, mtu, vnet_hdr };
    let mut lease = LeaseKeeper::new(socket, helper, id);
    // From here on the lease is given back whatever happens; even without that, the helper takes
    // it back when this process ends.
    let outcome = with_device(config_file, config, device, &mut lease, &mut signals);
    if let Err(error) = lease.give_back() {
        log(&format!("the helper did not confirm the removal of the device: {error}"));
    }
    outcome
}

/// The tunnel goes on while there is no helper. An error is the end of the lease.
fn keep(lease: &mut LeaseKeeper) -> Result<(), Failure> {
    match lease.look() {
        Ok(None) => {}
        Ok(Some(Change::Away)) => log("the helper went away; waiting for it to come back"),
        Ok(Some(Change::Back)) => log("the helper is back, and the tunnel has not stopped"),
        Err(error) => return Err(gone(&error.to_string())),
    }
    Ok(())
}

fn gone(why: &str) -> Failure {
    let what = "the helper is gone, and with it the tunnel device";
    Failure::new(Fault::Helper, what, why, "systemctl status hop-helper")
}

fn with_device(
    file: &Path,
    config: AgentConfig,
    device: TunDevice,
    lease: &mut LeaseKeeper,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let interface = device.name.clone();
    let endpoints = Endpoints::open(&config.state_dir);
    let mut settings = config.tunnel();
    let were_here = endpoints.tell(&mut settings);
    let tunnel = tunnel::start(device, &settings)
        .map_err(|error| failed("cannot start WireGuard", &error))?;
    let tunnel = Arc::new(tunnel);
    // One route for all laptops: they have addresses of one network.
    let (own, peer) = (config.address, config.some_peer());
    lease.configure_net(own, peer, PREFIX).map_err(|error| refused(&error))?;
    drop(settings);
    if were_here {
        tunnel.handshake_all();
    }
    let at = SocketAddrV4::new(config.address, config.api_port);
    let listener =
        TcpListener::bind(at).map_err(|error| failed(&format!("cannot listen on {at}"), &error))?;
    let state_dir = config.state_dir.clone();
    let state = AgentState::new(file.to_owned(), config, interface.clone(), tunnel.clone());
    let state = Arc::new(state.map_err(|error| failed("cannot wake itself", &error))?);
    let server = Server::start(listener, Arc::new(Api::new(at, state.clone())))
        .map_err(|error| failed(&format!("cannot listen on {at}"), &error))?;
    // Without the directory there is no local socket, and clocks are trusted.
    let control = Control::bind(&state_dir)
        .map_err(|error| {
            log(&format!("no control socket in {}: {}", state_dir.display(), error.why))
        })
        .ok();
    let port = tunnel.listen_port();
    log(&format!("hop-agent {VERSION}: {interface} {at}, WireGuard on UDP {port}"));
    let mut serving =
        Serving { tunnel: &tunnel, state: &state, control, endpoints, kept: Instant::now() };
    // Who changed the files between their reading and the socket found nobody to tell.
    serving.told("reload", state.reload());
    let outcome = serving.attend(lease, signals);
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
    fn attend(&mut self, lease: &mut LeaseKeeper, signals: &mut Signals) -> Result<(), Failure> {
        loop {
            let mut fds = vec![
                (signals.as_fd(), Interest::READ),
                (self.tunnel.end_fd(), Interest::READ),
                (self.state.as_fd(), Interest::READ),
                lease.fd(),
            ];
            fds.extend(self.control.as_ref().map(|control| (control.as_fd(), Interest::READ)));
            let next = KEEP_EVERY.saturating_sub(self.kept.elapsed());
            let limit = self.state.patience().map_or(next, |patience| patience.min(next));
            let mut ready = Vec::with_capacity(fds.len());
            poll::wait(&fds, &mut ready, Some(limit))
                .map_err(|error| failed("cannot wait", &error))?;
            while let Some(signal) = signals.take() {
                if signal != Signal::Hangup {
                    log(&format!("ending on a signal ({signal:?})"));
                    return Ok(());
                }
                self.told("reload", self.state.reload());
            }
            if let Some(stopped) = self.tunnel.ended() {
                return Err(lost(&stopped));
            }
            keep(lease)?;
            self.told("rotation", self.state.watch());
            if self.kept.elapsed() >= KEEP_EVERY {
                self.keep_endpoints();
            }
            if let Some(control) = &self.control {
                control.serve(self.state);
            }
        }
    }

    fn keep_endpoints(&mut self) {
        self.kept = Instant::now();
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

/// The configured name; else `wg0`; else, where that is taken, one the helper chooses. It also
/// chooses where root does not give the name away (`reserve`).
fn create_device(helper: &mut Helper, config: &AgentConfig) -> Result<Lease, Failure> {
    let wanted = config.interface.as_deref().unwrap_or(INTERFACE);
    let created = match helper.create_tun(Some(wanted), config.mtu, LABEL) {
        Err(error)
            if (error.is(Code::StateConflict) && config.interface.is_none())
                || error.is(Code::PermissionDenied) =>
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
    Failure::new(Fault::Failed, "the tunnel ended", why, "sudo systemctl restart hop-agent")
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Fault::Failed, what, error.to_string(), "sudo systemctl restart hop-agent")
}

fn refused(error: &HelperError) -> Failure {
    let what = "the helper did not give a tunnel device";
    Failure::new(Fault::Helper, what, error.to_string(), error.remedy())
}
