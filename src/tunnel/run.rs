//! The loop of the data plane: the one place that sleeps, and where the operating system and the
//! protocol meet.
//!
//! One thread owns the device, the TUN and the sockets; there is no lock on the way of a packet.
//! Each turn serves what is ready within fixed budgets: commands, links, wire, TUN, handshakes,
//! deadlines, in this order, so that data goes before handshakes (R42) and nobody starves.

mod configure;
mod link_events;

use super::clock::Clock;
use super::crypto_workers::CryptoWorkers;
use super::inbound::InboundPath;
use super::io::{Io, TunError, Which};
use super::link::Link;
use super::mailbox::{COMMANDS, Command, Inlet};
use super::outbound::OutboundPath;
use super::packet_io::PacketIo;
use super::path::{self, Path};
use super::queue::HandshakeQueue;
use super::read_policy::ReadPolicy;
use super::shield::{Shield, Shielded};
use super::stats::{self, Status};
use super::timestamp_file::TimestampFile;
use super::uapi;
use crate::sys::poll::{self, Interest};
use crate::wg::{self, Device, Now};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Handshake messages opened in one turn: each costs up to 0.2 ms, which is 50 data packets.
const HANDSHAKES: usize = 4;
/// How often to look at an interface whose link messages we cannot see.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Nothing happened for so long: time for what later handshakes need.
const LULL: Duration = Duration::from_millis(5);
/// A deadline that is still due after it was served waits at least this long.
const CLAMP: Duration = Duration::from_millis(1);
/// Pause after an error that says nothing about when to try again.
const PAUSE: Duration = Duration::from_millis(10);

/// Why a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// By [`Tunnel::stop`], or because the handle was dropped.
    Asked,
    /// The interface was deleted, or its owner took it back.
    DeviceGone,
    Failed(String),
}

pub(super) struct Loop {
    device: Device,
    timestamps: Option<TimestampFile>,
    io: Io,
    workers: CryptoWorkers,
    clock: Clock,
    inlet: Inlet,
    link: Link,
    outbound: OutboundPath,
    inbound: InboundPath,
    policy: ReadPolicy,
    handshakes: HandshakeQueue,
    shield: Option<Shield>,
    path: Path,
    ready: Ready,
    /// The interface is in trouble that says nothing about its end: pause before the next turn.
    pausing: bool,
    clamped: u64,
    /// Those of the sockets, when last asked.
    overflows: u64,
    /// The port for others to see.
    port: Arc<AtomicU16>,
}

/// What the last poll found.
#[derive(Default)]
struct Ready {
    tun: bool,
    aside: bool,
    /// As in [`Which::ALL`].
    udp: [bool; 4],
    link: bool,
    /// Nothing at all.
    nothing: bool,
}

impl Loop {
    pub fn new(
        link: Link,
        io: Io,
        workers: CryptoWorkers,
        device: Device,
        timestamps: Option<TimestampFile>,
        inlet: Inlet,
        port: Arc<AtomicU16>,
    ) -> io::Result<Loop> {
        let this = Loop {
            device,
            timestamps,
            clock: Clock::new()?,
            inlet,
            link,
            outbound: OutboundPath::new(),
            inbound: InboundPath::new(io.tun.offload()),
            policy: ReadPolicy::default(),
            io,
            workers,
            handshakes: HandshakeQueue::new(),
            shield: None,
            path: Path::default(),
            ready: Ready::default(),
            pausing: false,
            clamped: 0,
            overflows: 0,
            port,
        };
        this.publish_port();
        Ok(this)
    }

    /// Only answers come in from here on.
    pub fn shield(&mut self, shielded: &Shielded) {
        self.shield = Some(Shield::new(shielded, self.clock.now().boot));
    }

    /// Which packets pass whole is sought or heeded from here on.
    pub fn mind_path(&mut self, path: Path) {
        self.path = path;
    }

    /// Until asked to stop, or until the device is gone.
    pub fn run(&mut self) -> Stopped {
        let mut now = self.clock.now();
        self.follow_link(now);
        loop {
            self.arm(now);
            if let Err(e) = self.wait() {
                return Stopped::Failed(format!("poll failed: {e}"));
            }
            now = self.clock.now();
            if let Some(why) = self.turn(now) {
                self.device.stop();
                if let Some(file) = &mut self.timestamps {
                    file.close(self.device.timestamp_mark());
                }
                return why;
            }
        }
    }

    fn turn(&mut self, now: Now) -> Option<Stopped> {
        if let Some(why) = self.commands(now) {
            return Some(why);
        }
        if self.ready.link {
            self.link_events(now);
        }
        self.move_data(now);
        self.handshakes(now);
        self.deadlines(now);
        self.questions(now);
        self.io.flush();
        if self.ready.nothing {
            self.device.prepare();
        }
        if let Some(file) = &mut self.timestamps {
            file.cover(self.device.timestamp_mark());
        }
        for why in self.io.lost.drain(..) {
            self.device.note_drop(why);
        }
        self.trouble(now)
    }

    fn move_data(&mut self, now: Now) {
        let Loop { device, io, workers, policy, shield, path, .. } = self;
        let mut around = PacketIo { now, device, io, workers, shield, path };
        policy.turn(now.boot, self.ready.tun);
        for (which, ready) in Which::ALL.into_iter().zip(self.ready.udp) {
            if ready {
                let done = self.inbound.run(&mut around, &mut self.handshakes, policy, which);
                self.pausing |= done.is_err();
            }
        }
        if (self.ready.tun || policy.expects_answer()) && around.device.is_running() {
            self.outbound.run(&mut around, policy);
        }
        if self.ready.aside && around.device.is_running() {
            self.outbound.run_aside(&mut around);
        }
    }

    /// Sleep until something is ready; fill `ready`.
    fn wait(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.pausing) {
            std::thread::sleep(PAUSE);
        }
        let running = self.device.is_running();
        // A stopped device waits to be able to write: that is how a TUN says that it is up.
        let tun = if running { Interest::READ } else { Interest::WRITE };
        let timeout = match (self.handshakes.is_empty(), self.link.here) {
            (false, _) => Some(Duration::ZERO),
            _ if self.device.can_prepare() => Some(LULL),
            (true, false) => Some(LOOK_INTERVAL),
            (true, true) => None,
        };
        let inlet = self.inlet.as_fd();
        // What is not there is looked at in vain.
        let read = |fd: Option<_>| fd.map_or((inlet, Interest::NONE), |fd| (fd, Interest::READ));
        // One that hung up is read, too, and let go.
        let aside = self.io.aside.as_ref().filter(|_| running).map(|aside| aside.tun.as_fd());
        let [v4, v6, second_v4, second_v6] =
            Which::ALL.map(|which| read(self.io.udp.sockets.fd(which)));
        let states = poll::wait_each(
            [
                (inlet, Interest::READ),
                (self.clock.as_fd(), Interest::READ),
                (self.io.tun.as_fd(), tun),
                read(aside),
                v4,
                v6,
                second_v4,
                second_v6,
                read(self.link.monitor.as_ref().map(AsFd::as_fd)),
            ],
            timeout,
        )?;
        let found = states.map(Interest::any);
        let [mail, timer, tun, aside, udp @ .., link] = found;
        let nothing = self.handshakes.is_empty() && !found.contains(&true);
        self.ready = Ready { tun, aside, udp, link, nothing };
        if mail {
            self.inlet.drain();
        }
        if timer {
            self.clock.fired();
        }
        Ok(())
    }

    fn commands(&mut self, now: Now) -> Option<Stopped> {
        for _ in 0..COMMANDS {
            match self.inlet.take()? {
                Command::Stop => return Some(Stopped::Asked),
                Command::Apply(request, reply) => {
                    // Who asked may have given up waiting; that changes nothing here.
                    let _ = reply.try_send(self.apply(now, &request));
                }
                Command::Get(reply) => {
                    let (port, mark) = (self.io.udp.sockets.port(), self.io.udp.sockets.mark());
                    let _ = reply.try_send(uapi::describe(&self.device, port, mark));
                }
                Command::Status(reply) => {
                    let _ = reply.try_send(self.status(now));
                }
                Command::NetworkChanged => self.network_changed(now),
                Command::HandshakeAll => self.device.handshake_all(now, &mut self.io),
                Command::Reconnect(peer, remotes) => {
                    self.device.set_candidates(&peer, &remotes);
                    self.network_changed(now);
                }
                Command::TryAt(peer, remotes) => {
                    self.device.try_at(now, &peer, &remotes, &mut self.io);
                }
            }
        }
        None
    }

    fn network_changed(&mut self, now: Now) {
        // Without sockets nothing works, but the next change may bring them back.
        let _ = self.io.udp.renew();
        self.publish_port();
        self.path.network_changed();
        self.device.network_changed(now, &mut self.io);
    }

    fn handshakes(&mut self, now: Now) {
        for _ in 0..HANDSHAKES {
            let waiting = self.handshakes.len();
            let Some((mut datagram, from)) = self.handshakes.pop() else { return };
            self.device.set_queued(now, waiting);
            self.device.from_wire(now, datagram.bytes(), &from, &mut self.io);
        }
    }

    fn deadlines(&mut self, now: Now) {
        if self.device.next_deadline().is_some_and(|(at, _)| at <= now.boot) {
            self.device.on_time(now, &mut self.io);
        }
    }

    /// Which packets pass whole (R103).
    fn questions(&mut self, now: Now) {
        let Loop { path, device, io, .. } = self;
        let reached = |peer: Ipv4Addr| device.reached(peer.into()).filter(|_| device.is_running());
        for question in path.questions(now.boot, device.mtu(), reached) {
            path::send_whole(now, &question, device, io);
        }
    }

    /// Set the timer for the next deadline, which must lie ahead: a due one would make the loop
    /// spin.
    fn arm(&mut self, now: Now) {
        let question = self.path.next_deadline().map(|at| at.max(now.boot.after(CLAMP)));
        let Some((at, why)) = self.device.next_deadline() else {
            if question.is_some() {
                self.clock.arm(question);
            }
            return;
        };
        if at > now.boot {
            return self.clock.arm(question.into_iter().chain([at]).min());
        }
        // Something may have set it after deadlines were served: once more, and then it is a bug.
        self.device.on_time(now, &mut self.io);
        self.io.flush();
        let next = self.device.next_deadline().map(|(at, _)| at);
        if next.is_some_and(|at| at <= now.boot) {
            debug_assert!(false, "deadline '{why}' is due again after it was served");
            self.clamped = self.clamped.saturating_add(1);
        }
        let next = next.map(|at| at.max(now.boot.after(CLAMP)));
        self.clock.arm(next.into_iter().chain(question).min());
    }

    /// What the turn met at the TUN.
    fn trouble(&mut self, now: Now) -> Option<Stopped> {
        let idle = !self.device.is_running() && self.ready.tun;
        let met = self.io.tun_error.take();
        if met.is_none() && !idle && self.link.here {
            return None;
        }
        if met == Some(TunError::Gone) || self.io.tun.is_gone() {
            return Some(Stopped::DeviceGone);
        }
        let was_running = self.device.is_running();
        self.follow_link(now);
        let changed = was_running != self.device.is_running();
        self.pausing = !changed && (met == Some(TunError::Later) || idle);
        None
    }

    fn publish_port(&self) {
        self.port.store(self.io.udp.sockets.port(), Ordering::Relaxed);
    }

    /// Take down what the kernel lost in front of us since it was last asked.
    fn note_overflows(&mut self) {
        self.device.note_drops(wg::Drop::TunOverflow, self.link.new_overflows());
        let sockets = self.io.udp.sockets.overflows();
        let more = sockets.saturating_sub(std::mem::replace(&mut self.overflows, sockets));
        self.device.note_drops(wg::Drop::SocketOverflow, more);
    }

    fn status(&mut self, now: Now) -> Status {
        self.note_overflows();
        Status {
            interface: self.link.name.clone(),
            running: self.device.is_running(),
            listen_port: self.io.udp.sockets.port(),
            second_port: self.io.udp.sockets.second_port(),
            mtu: self.device.mtu(),
            path: self.path.state(),
            peers: stats::peers(&self.device, now),
            drops: self.device.drops().collect(),
            clamped_deadlines: self.clamped,
            tun_offload: self.io.tun.offload(),
            refused_batches: self.io.udp.refused_batches(),
        }
    }
}
