//! The tunnel's inner side on this server: the kernel's, by a device from the server's helper; or,
//! where none may be had, our own in userspace (`netstack`), which needs no rights at all.
//!
//! Which of them is chosen at the start, by why there is no device: there is no helper, it does not
//! admit this user, or it has no device to give here (no /dev/net/tun, or no right to it). Whatever
//! else goes wrong is an error, as is root's word that there be no tunnels. Where there was no
//! helper, one that comes is found, and the choice is made again; else a restart makes it.

use std::io;
use std::net::{IpAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::beside;
use crate::agent::config::{AgentConfig, PREFIX};
use crate::agent::log;
use crate::base::failure::{Failure, Fault};
use crate::helper::lease_keeper::{Change, LeaseKeeper};
use crate::helper::{Code, Helper, HelperError, Lease, socket_path};
use crate::http::entrance::{self, Entrance, Hand};
use crate::netstack::door::{self, Doors};
use crate::netstack::drop::Counters;
use crate::netstack::{self, Flow, Netstack, Own, SERVED_BYTES, Settings};
use crate::rpc::types::TunnelMode;
use crate::sys::poll::Interest;
use crate::sys::{packet_pair, process, random};
use crate::tunnel::{Beside, TunDevice};

/// The interface's name where the configuration gives none and nobody else has it.
const INTERFACE: &str = "wg0";
const LABEL: &str = "agent";
/// What stands where an interface has its name.
const NO_INTERFACE: &str = "userspace";

pub enum Inner {
    Kernel {
        lease: LeaseKeeper,
        /// For what the system leaves unanswered, until it has ended.
        beside: Option<Netstack>,
    },
    Userspace {
        stack: Netstack,
        why: String,
        entrance: Option<Entrance>,
        /// Where a helper may come to be.
        socket: Option<PathBuf>,
    },
}

impl Inner {
    /// The inner side, what the tunnel takes for its device, and what stands beside that.
    pub fn open(config: &AgentConfig) -> Result<(Inner, TunDevice, Option<Beside>), Failure> {
        let socket = socket_path();
        let leased = Helper::connect(&socket).and_then(|mut helper| {
            let lease = create_device(&mut helper, config)?;
            Ok((helper, lease))
        });
        match leased {
            Ok((helper, Lease { id, name, mtu, vnet_hdr, fd, .. })) => {
                let (stack, beside) = stand_beside(config, &name).unzip();
                let lease = LeaseKeeper::new(socket, helper, id);
                let device = TunDevice { fd, name, mtu, vnet_hdr };
                Ok((Inner::Kernel { lease, beside: stack }, device, beside))
            }
            Err(error) if has_no_device(&error) => {
                let why = error.to_string();
                log(&format!("no tunnel device: {why}"));
                log(
                    "the tunnel is served in userspace: TCP to this user's own listeners, and ping",
                );
                log(&format!("fix: {}", error.remedy()));
                let missing = matches!(error, HelperError::Missing { .. });
                let (inner, device) = userspace(config, why, missing.then_some(socket))
                    .map_err(|error| failed("cannot serve in userspace", &error))?;
                Ok((inner, device, None))
            }
            Err(error) => Err(refused(&error)),
        }
    }

    pub fn mode(&self) -> TunnelMode {
        match self {
            Inner::Kernel { .. } => TunnelMode::Kernel,
            Inner::Userspace { why, .. } => TunnelMode::Userspace { why: why.clone() },
        }
    }

    /// Once the tunnel is there: the device gets its address, and one route for all laptops, which
    /// have addresses of one network.
    pub fn configure(&mut self, config: &AgentConfig) -> Result<(), Failure> {
        match self {
            Inner::Kernel { lease, .. } => lease
                .configure_net(config.address, config.some_peer(), PREFIX)
                .map_err(|error| refused(&error)),
            Inner::Userspace { .. } => Ok(()),
        }
    }

    /// Where connections to the API come in.
    pub fn entrance(&mut self, at: SocketAddrV4) -> Result<Entrance, Failure> {
        if let Inner::Userspace { entrance, .. } = self {
            if let Some(entrance) = entrance.take() {
                return Ok(entrance);
            }
        }
        let listener = TcpListener::bind(at)
            .map_err(|error| failed(&format!("cannot listen on {at}"), &error))?;
        if !beside::is_told(at.into()) {
            log("the kernel does not tell who listens (tcp_diag)");
            log("what listens on loopback alone is not answered at this server's .hop name");
        }
        Ok(Entrance::from(listener))
    }

    /// What to wait for.
    pub fn fds(&self) -> Vec<(BorrowedFd<'_>, Interest)> {
        let mut fds = match self {
            Inner::Kernel { lease, .. } => vec![lease.fd()],
            Inner::Userspace { .. } => Vec::new(),
        };
        let end = self.stack().and_then(Netstack::end_fd);
        fds.extend(end.map(|end| (end, Interest::NONE)));
        fds
    }

    fn stack(&self) -> Option<&Netstack> {
        match self {
            Inner::Kernel { beside, .. } => beside.as_ref(),
            Inner::Userspace { stack, .. } => Some(stack),
        }
    }

    /// The kernel's tunnel goes on while there is no helper. An error is the end of the inner side.
    pub fn look(&mut self) -> Result<(), Failure> {
        match self {
            Inner::Kernel { beside, .. } if beside.as_ref().is_some_and(Netstack::has_ended) => {
                log("what listens on loopback alone is no longer answered: its stack ended");
                *beside = None;
                Ok(())
            }
            Inner::Kernel { lease, .. } => match lease.look() {
                Ok(None) => Ok(()),
                Ok(Some(Change::Away)) => {
                    log("the helper went away; waiting for it to come back");
                    Ok(())
                }
                Ok(Some(Change::Back)) => {
                    log("the helper is back, and the tunnel has not stopped");
                    Ok(())
                }
                Err(error) => Err(gone(&error.to_string())),
            },
            Inner::Userspace { stack, .. } if stack.has_ended() => {
                let next = "sudo journalctl -u hop-agent";
                Err(Failure::new(Fault::Failed, "the tunnel ended", "its stack ended", next))
            }
            Inner::Userspace { .. } => Ok(()),
        }
    }

    /// Whether there is a helper now where there was none. Waits as little as a helper does.
    pub fn may_change(&self) -> bool {
        match self {
            Inner::Userspace { socket: Some(socket), .. } => Helper::connect(socket).is_ok(),
            _ => false,
        }
    }

    /// Packets and connections that went no further on this side, by reason.
    pub fn drops(&self) -> Option<Arc<Counters>> {
        self.stack().map(Netstack::drops)
    }

    pub fn give_back(self) {
        if let Inner::Kernel { mut lease, .. } = self {
            if let Err(error) = lease.give_back() {
                log(&format!("the helper did not confirm the removal of the device: {error}"));
            }
        }
    }
}

/// The configured name; else `wg0`; else, where that is taken, one the helper chooses. It also
/// chooses where root does not give the name away (`reserve`).
fn create_device(helper: &mut Helper, config: &AgentConfig) -> Result<Lease, HelperError> {
    let wanted = config.interface.as_deref().unwrap_or(INTERFACE);
    match helper.create_tun(Some(wanted), config.mtu, LABEL) {
        Err(error)
            if (error.is(Code::StateConflict) && config.interface.is_none())
                || error.is(Code::PermissionDenied) =>
        {
            helper.create_tun(None, config.mtu, LABEL)
        }
        other => other,
    }
}

/// Without it the agent is of use, too.
fn stand_beside(config: &AgentConfig, device: &str) -> Option<(Netstack, Beside)> {
    let opened = beside::open(config.address, config.mtu, device);
    opened.inspect_err(|e| log(&format!("no answers for loopback listeners: {e}"))).ok()
}

/// Whether no device may be had here, whatever else is right.
fn has_no_device(error: &HelperError) -> bool {
    match error {
        HelperError::Missing { .. } | HelperError::Refused { .. } => true,
        _ => error.is(Code::NotSupported),
    }
}

fn userspace(
    config: &AgentConfig,
    why: String,
    socket: Option<PathBuf>,
) -> io::Result<(Inner, TunDevice)> {
    let (ours, theirs) = packet_pair()?;
    let (hand, entrance) = entrance::handed()?;
    let mut seed = [0; 8];
    random::fill(&mut seed)?;
    let own = Own { v4: Some(config.address), v6: None };
    let (mtu, seed) = (config.mtu, u64::from_ne_bytes(seed));
    let settings = Settings { own, mtu, seed, buffer_bytes: SERVED_BYTES };
    let ports = Ports { api: config.api_port, hand, user: process::uid() };
    let stack = netstack::start(ours, &settings, Box::new(ports))?;
    let name = NO_INTERFACE.to_owned();
    let device = TunDevice { fd: theirs, name, mtu: config.mtu, vnet_hdr: false };
    Ok((Inner::Userspace { stack, why, entrance: Some(entrance), socket }, device))
}

/// What is behind the ports of the tunnel address: the API, and listeners of the agent's own user,
/// who is the workspace's.
struct Ports {
    api: u16,
    hand: Hand,
    user: u32,
}

impl Doors for Ports {
    fn open(&mut self, flow: Flow) -> Option<TcpStream> {
        match flow.from {
            IpAddr::V4(from) if flow.port == self.api => self.hand.connect(from),
            _ => door::to_listener_of(self.user, flow.port),
        }
    }
}

fn gone(why: &str) -> Failure {
    let what = "the helper is gone, and with it the tunnel device";
    Failure::new(Fault::Helper, what, why, "systemctl status hop-helper")
}

pub fn failed(what: &str, error: &io::Error) -> Failure {
    // systemd starts it again, which does not help while another program has the port.
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => "sudo ss -tulnp",
        _ => "sudo journalctl -u hop-agent",
    };
    Failure::new(Fault::Failed, what, error.to_string(), next)
}

fn refused(error: &HelperError) -> Failure {
    let what = "the helper did not give a tunnel device";
    Failure::new(Fault::Helper, what, error.to_string(), error.remedy())
}
