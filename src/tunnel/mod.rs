//! The shell that moves bytes: a `wg::Device` on a thread of its own, between a TUN and UDP.
//!
//! Reading order: `run` (the loop) → `data` (the way of a packet) → `tun`, `udp` (the outside
//! world) → `offload`, `split`, `merge`, `flow`, `sum` (many packets as one) → `lanes` (more
//! cores) → `habits` (when to look for more) → `link`, `outside`, `outbox`, `burst`, `ring` (what
//! waits in between) → `clock`, `entropy` (what the protocol is given) → `mailbox`, `stats` (the
//! way in for other threads) → `uapi`, `config` (configuration text) → `standalone` (`hop wg`).
//! Nothing here knows hosts, sessions or the helper: the TUN comes as a descriptor.

mod burst;
mod clock;
mod config;
#[cfg(test)]
mod craft;
mod data;
mod entropy;
mod flow;
mod habits;
mod lanes;
mod link;
mod mailbox;
mod merge;
mod offload;
mod outbox;
mod outside;
mod ring;
mod run;
mod split;
mod stamps;
pub mod standalone;
mod stats;
mod sum;
mod tun;
mod uapi;
mod udp;

pub use crate::wg::{Wall, public_key};
pub use config::{Config, PeerConfig};
pub use stats::{PeerState, Status};

pub use crate::sys::ioctl::Offload;
use crate::sys::poll::{self, Interest};
use crate::sys::{code, errno, ioctl, random};
use crate::wg::Device;
use lanes::Lanes;
use mailbox::{Command, Outlet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long to wait for an answer of the data plane.
const PATIENCE: Duration = Duration::from_secs(1);
/// And for its end: the kernel takes its time over the removal of a device.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// A request with a quarter of a million prefixes takes longer.
const SET_PATIENCE: Duration = Duration::from_secs(30);

/// A TUN interface that somebody opened for us. The tunnel owns and closes it.
pub struct TunDevice {
    pub fd: OwnedFd,
    pub name: String,
    pub mtu: u16,
    /// Packets carry a virtio-net header of 10 bytes.
    pub vnet_hdr: bool,
}

/// Why a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// By [`Tunnel::stop`], or because the handle was dropped.
    Asked,
    /// The interface was deleted, or its owner took it back.
    DeviceGone,
    Failed(String),
}

/// A running tunnel; dropping it stops it.
pub struct Tunnel {
    outlet: Outlet,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// Its other end is closed when the thread ends.
    end: OwnedFd,
}

/// What the thread tells outside of the mailbox.
struct Shared {
    port: AtomicU16,
    ended: Mutex<Option<Stopped>>,
}

/// Start the data plane on a thread of its own. The interface need not be up yet: the protocol
/// runs whenever it is. Errors: no socket to be had (the port is taken), or `config` refused.
pub fn start(tun: TunDevice, config: &Config) -> io::Result<Tunnel> {
    start_with(tun, config, false, Lanes::for_this_machine())
}

/// [`start`] without what the kernel could do for many packets at once: the way of old kernels and
/// of other systems, for tests of it.
pub fn start_plain(tun: TunDevice, config: &Config) -> io::Result<Tunnel> {
    start_with(tun, config, true, Lanes::new(0))
}

/// [`start`] with a number of lanes that has nothing to do with this machine, for tests of them.
pub fn start_with_lanes(tun: TunDevice, config: &Config, lanes: usize) -> io::Result<Tunnel> {
    start_with(tun, config, false, Lanes::new(lanes))
}

fn start_with(tun: TunDevice, config: &Config, plain: bool, lanes: Lanes) -> io::Result<Tunnel> {
    let link = (tun.name.clone(), tun.mtu);
    let most = if plain { Offload::Nothing } else { Offload::Tunnels };
    let tun = tun::Tun::new(tun, most)?;
    let udp = udp::Udp::bind(config.listen_port, plain)?;
    let mut device = Device::new(Box::new(entropy::System::new()?));
    let stamps = config.stamps.as_deref().map(stamps::Stamps::open);
    if let Some(mark) = stamps.as_ref().and_then(stamps::Stamps::mark) {
        device.resume_timestamps(mark);
    }
    let (outlet, inlet) = mailbox::pair()?;
    let shared = Arc::new(Shared { port: AtomicU16::new(0), ended: Mutex::new(None) });
    let mut plane = run::Loop::new(link, (tun, udp, lanes), device, stamps, inlet, shared.clone())?;
    // A port of the system's choice is chosen already, and asking for it again would be a change.
    let port = shared.port.load(Ordering::Relaxed);
    let mut request = understand(&config.to_uapi()).map_err(io::Error::from_raw_os_error)?;
    request.listen_port = Some(port);
    plane.configure(&request).map_err(io::Error::from_raw_os_error)?;
    drop(request);
    let (end, other_end) = poll::pipe()?;
    let reporter = shared.clone();
    let thread = std::thread::Builder::new().name("data-plane".into()).spawn(move || {
        let why = plane.run();
        // The interface must be gone before anybody learns that the tunnel is.
        drop(plane);
        *reporter.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        drop(other_end);
    })?;
    Ok(Tunnel { outlet, thread: Some(thread), shared, end })
}

impl Tunnel {
    /// Apply the body of a `set=1` request; the error is an error number. Nothing is applied if
    /// any line is refused.
    pub fn set(&self, body: &str) -> Result<(), i32> {
        let request = Box::new(understand(body)?);
        let done = self.outlet.ask(|reply| Command::Set(request, reply), SET_PATIENCE);
        done.map_err(|e| unanswered(&e))?
    }

    /// The answer to a `get=1` request, without its errno line. Contains every key.
    pub fn get(&self) -> io::Result<Zeroizing<String>> {
        self.outlet.ask(Command::Get, PATIENCE)
    }

    pub fn status(&self) -> io::Result<Status> {
        self.outlet.ask(Command::Status, PATIENCE)
    }

    /// An address or the network changed, or the machine woke up: bind anew and handshake.
    pub fn network_changed(&self) {
        // A full queue or an ended thread: there is nothing to tell then.
        let _ = self.outlet.post(Command::NetworkChanged);
    }

    /// A handshake, at once, with every peer whose endpoint is known and that has no session.
    pub fn handshake_all(&self) {
        let _ = self.outlet.post(Command::HandshakeAll);
    }

    /// [`Tunnel::network_changed`], and the peer of this key is at one of `remotes`: a handshake is
    /// tried with all of them at once, and the first to answer is the endpoint.
    pub fn reconnect(&self, peer: [u8; 32], remotes: &[SocketAddr]) {
        let _ = self.outlet.post(Command::Reconnect(peer, remotes.to_vec()));
    }

    pub fn listen_port(&self) -> u16 {
        self.shared.port.load(Ordering::Relaxed)
    }

    /// Stop and wait at most 3 s; why it ended, or None if it did not end in that time.
    pub fn stop(&mut self) -> Option<Stopped> {
        let _ = self.outlet.post(Command::Stop);
        let until = Instant::now() + END_PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // A signal may end this wait early.
            match poll::wait_one(self.end.as_fd(), Interest::READ, Some(left)) {
                Ok(true) => break,
                Ok(false) if !left.is_zero() => {}
                _ => return self.ended(),
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.ended()
    }

    /// Why the thread ended, if it did.
    pub fn ended(&self) -> Option<Stopped> {
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Becomes readable (hangs up) when the thread ends.
    pub fn end_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A new private key, clamped.
pub fn generate_key() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0u8; 32]);
    random::fill(&mut key[..])?;
    key[0] &= 248;
    key[31] = (key[31] & 127) | 64;
    Ok(key)
}

fn understand(body: &str) -> Result<uapi::Request, i32> {
    uapi::Request::parse(body, &ioctl::index)
}

fn unanswered(e: &io::Error) -> i32 {
    match e.kind() {
        io::ErrorKind::TimedOut => code::ETIMEDOUT,
        io::ErrorKind::WouldBlock => code::EBUSY,
        io::ErrorKind::BrokenPipe => code::ENODEV,
        _ => errno(e),
    }
}
