//! A running tunnel as other threads see it: starting, asking, ending.

use super::config::Config;
use super::crypto_workers::CryptoWorkers;
use super::entropy;
use super::io::{Aside, Beside, Io, Tun, TunDevice, Udp};
use super::link::Link;
use super::mailbox::{self, Command, Outlet};
use super::path::Path;
use super::request::Request;
use super::run::{Loop, Stopped};
use super::stats::Status;
use super::timestamp_file::TimestampFile;
use super::uapi;
use crate::sys::ioctl::Offload;
use crate::sys::poll::{self, Interest};
use crate::sys::{self, code, errno, ioctl};
use crate::wg::Device;
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
pub const STOPS_WITHIN: Duration = Duration::from_secs(3);
/// A request with a million prefixes takes longer.
const APPLY_PATIENCE: Duration = Duration::from_secs(30);

/// A running tunnel; dropping it stops it.
pub struct Tunnel {
    outlet: Outlet,
    thread: Option<JoinHandle<()>>,
    port: Arc<AtomicU16>,
    ended: Arc<Mutex<Option<Stopped>>>,
    /// Its other end is closed when the thread ends.
    end: OwnedFd,
}

/// Start the data plane on a thread of its own. The interface need not be up yet: the protocol
/// runs whenever it is. Errors: no socket to be had (the port is taken), or `config` refused.
pub fn start(tun: TunDevice, config: &Config) -> io::Result<Tunnel> {
    start_with(tun, None, config, false, CryptoWorkers::for_this_machine())
}

/// [`start`] with something that stands beside the TUN.
pub fn start_beside(tun: TunDevice, beside: Beside, config: &Config) -> io::Result<Tunnel> {
    start_with(tun, Some(beside), config, false, CryptoWorkers::for_this_machine())
}

/// [`start`] without what the kernel could do for many packets at once: the way of old kernels and
/// of other systems, for tests of it.
pub fn start_plain(tun: TunDevice, config: &Config) -> io::Result<Tunnel> {
    start_with(tun, None, config, true, CryptoWorkers::new(0))
}

/// [`start`] with a number of workers that has nothing to do with this machine, for tests of them.
pub fn start_with_workers(tun: TunDevice, config: &Config, workers: usize) -> io::Result<Tunnel> {
    start_with(tun, None, config, false, CryptoWorkers::new(workers))
}

fn start_with(
    tun: TunDevice,
    beside: Option<Beside>,
    config: &Config,
    plain: bool,
    workers: CryptoWorkers,
) -> io::Result<Tunnel> {
    let (name, mtu) = (tun.name.clone(), tun.mtu);
    let most = if plain { Offload::Nothing } else { Offload::Tunnels };
    let mut udp = Udp::bind(config.listen_port, plain)?;
    if let Some(port) = config.second_port {
        // Without it there is a tunnel, too: the status has it.
        let _ = udp.sockets.listen_also(port);
    }
    let mut io = Io::new(Tun::new(tun, most)?, udp);
    io.aside = beside.map(|beside| Aside::new(beside, mtu)).transpose()?;
    let link = if io.tun.stands_in() { Link::none(name) } else { Link::new(name) };
    let mut device = Device::new(Box::new(entropy::System::new()?));
    device.set_mtu(mtu);
    let timestamps = config.timestamp_file.as_deref().map(TimestampFile::open);
    if let Some(mark) = timestamps.as_ref().and_then(TimestampFile::mark) {
        device.resume_timestamps(mark);
    }
    let (outlet, inlet) = mailbox::pair()?;
    let port = Arc::new(AtomicU16::new(0));
    let mut plane = Loop::new(link, io, workers, device, timestamps, inlet, port.clone())?;
    // A port of the system's choice is chosen already, and asking for it again would be a change.
    let mut request = config.request();
    request.listen_port = None;
    plane.configure(&request).map_err(io::Error::from_raw_os_error)?;
    drop(request);
    if let Some(shielded) = &config.shield {
        plane.shield(shielded);
    }
    let mut random = [0; 10];
    sys::random::fill(&mut random)?;
    plane.mind_path(Path::new(config.path, random));
    let ended = Arc::new(Mutex::new(None));
    let (end, other_end) = poll::pipe()?;
    let reporter = ended.clone();
    let thread = std::thread::Builder::new().name("data-plane".into()).spawn(move || {
        let why = plane.run();
        // The interface must be gone before anybody learns that the tunnel is.
        drop(plane);
        *reporter.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        drop(other_end);
    })?;
    Ok(Tunnel { outlet, thread: Some(thread), port, ended, end })
}

impl Tunnel {
    /// Carry out a change as a whole; the error is an error number, and then nothing is changed.
    pub fn apply(&self, request: Request) -> Result<(), i32> {
        let request = Box::new(request);
        let done = self.outlet.ask(|reply| Command::Apply(request, reply), APPLY_PATIENCE);
        done.map_err(|e| unanswered(&e))?
    }

    /// [`Tunnel::apply`] the body of a `set=1` request. Nothing is applied if any line is refused.
    pub fn set(&self, body: &str) -> Result<(), i32> {
        self.apply(uapi::parse(body, &ioctl::index)?)
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

    /// One handshake with the peer of this key, if it is at one of `remotes`, beside what goes on
    /// (R102). What answers becomes the endpoint; silence changes nothing.
    pub fn try_at(&self, peer: [u8; 32], remotes: &[SocketAddr]) {
        let _ = self.outlet.post(Command::TryAt(peer, remotes.to_vec()));
    }

    pub fn listen_port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Stop and wait at most [`STOPS_WITHIN`]; why it ended, or None if it did not by then.
    pub fn stop(&mut self) -> Option<Stopped> {
        let _ = self.outlet.post(Command::Stop);
        let until = Instant::now() + STOPS_WITHIN;
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
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

fn unanswered(e: &io::Error) -> i32 {
    match e.kind() {
        io::ErrorKind::TimedOut => code::ETIMEDOUT,
        io::ErrorKind::WouldBlock => code::EBUSY,
        io::ErrorKind::BrokenPipe => code::ENODEV,
        _ => errno(e),
    }
}
