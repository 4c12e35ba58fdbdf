//! The laptop's end of a tunnel over SSH: a port on loopback that is one more place where the
//! server may be, and an ssh(1) that leads there, with a thread of their own.
//!
//! Never asks anybody anything. Bounds: connected within [`READY_LIMIT`] or it is over; what is
//! heard of it is two events; its end takes two seconds at most, and leaves no process.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::told::TooLong;
use crate::base::failure::Failure;
use crate::datagrams::{Carrier, Counts, Ended, Side, Words};
use crate::ssh::NOISE_BYTES;
use crate::ssh::target::Target;
use crate::sys::child::{Broken, Limits, Talk};
use crate::sys::poll::Wake;
use crate::sys::sock::Udp;
use crate::sys::threads;

/// Until the agent's command has said its hello, with all jump hosts on the way.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// For an ssh(1) whose connection ended to say why, and to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Datagrams are carried; at most once.
    Ready,
    /// It is over; the last one.
    Ended(Failure),
}

/// A connection that is made, or stands. Ends when it is dropped.
pub struct SshPipe {
    shared: Arc<Shared>,
    local: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    socket: Udp,
    /// The port that the tunnel has.
    tunnel: AtomicU16,
    stop: Wake,
    told: Wake,
    counts: Counts,
    events: Mutex<VecDeque<Event>>,
}

impl SshPipe {
    /// Begins to connect, for the tunnel whose socket has that port. Errors: no socket, descriptor
    /// or thread to be had.
    pub fn start(target: Target, tunnel_port: u16) -> io::Result<SshPipe> {
        let shared = Arc::new(Shared {
            socket: Udp::on_loopback()?,
            tunnel: AtomicU16::new(tunnel_port),
            stop: Wake::new()?,
            told: Wake::new()?,
            counts: Counts::default(),
            events: Mutex::default(),
        });
        let local = (Ipv4Addr::LOCALHOST, shared.socket.port()).into();
        let of_thread = shared.clone();
        // ssh(1) ends with the thread that starts it.
        let thread = threads::start("ssh-pipe", move || {
            let failure = of_thread.carry(&target);
            of_thread.tell(Event::Ended(failure));
        })?;
        Ok(SshPipe { shared, local, thread: Some(thread) })
    }

    /// Where the server is, for the tunnel. What is sent there before [`Event::Ready`] is lost.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The tunnel has another port now.
    pub fn follow(&self, tunnel_port: u16) {
        self.shared.tunnel.store(tunnel_port, Ordering::Relaxed);
    }

    /// What waited too long at this end, and was lost or marked.
    pub fn waited_too_long(&self) -> TooLong {
        let (lost, marked) = self.shared.counts.get();
        TooLong { lost, marked }
    }

    /// Readable when there is something to [`SshPipe::take`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.told.as_fd()
    }

    /// What has become of it, if that is new. Does not wait.
    pub fn take(&self) -> Option<Event> {
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        let event = events.pop_front();
        if events.is_empty() {
            self.shared.told.drain();
        }
        event
    }
}

impl Drop for SshPipe {
    fn drop(&mut self) {
        self.shared.stop.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn tell(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        self.told.wake();
    }

    /// Until it is over; why it is.
    fn carry(&self, target: &Target) -> Failure {
        let limits = Limits { time: READY_LIMIT, bytes: 0 };
        let started = target.settled().and_then(|target| {
            let talk = Talk::start(&mut target.datagrams(), false, limits);
            let talk = talk.map_err(|broken| target.broken(&broken))?;
            Ok((target, talk))
        });
        let (target, mut ssh) = match started {
            Ok(started) => started,
            Err(failure) => return failure,
        };
        let lost = |error: io::Error| target.broken(&Broken::Lost(error));
        let Some((stdin, stdout, stderr)) = ssh.take_pipes() else {
            return lost(io::ErrorKind::BrokenPipe.into());
        };
        let pipes = (OwnedFd::from(stdin), OwnedFd::from(stdout), OwnedFd::from(stderr));
        let side = Side {
            input: File::from(pipes.1),
            output: File::from(pipes.0),
            socket: &self.socket,
            peer: &self.tunnel,
            noise: NOISE_BYTES,
            hello_within: READY_LIMIT,
            counts: &self.counts,
        };
        let mut begun = false;
        let mut ready = || {
            begun = true;
            self.tell(Event::Ready);
        };
        let stderr = Words::new(Some(File::from(pipes.2)));
        let (mut carrier, mut words) = match (Carrier::new(side), stderr) {
            (Ok(carrier), Ok(words)) => (carrier, words),
            (Err(error), _) | (_, Err(error)) => return lost(error),
        };
        let ended = carrier.run(Some(self.stop.as_fd()), &mut words, &mut ready);
        drop(carrier);
        match ended {
            Ended::Closed => {
                let status = ssh.status_within(LAST_WORDS);
                words.hear();
                target.why_no_datagrams(status, words.said(), begun)
            }
            Ended::Bad(bad) => target.no_datagrams(&bad.to_string()),
            Ended::Silent => target.not_heard("the connection stands, and nothing comes over it"),
            Ended::Mute => {
                let s = READY_LIMIT.as_secs();
                target.not_heard(&format!("nothing of the agent's came within {s} s"))
            }
            Ended::Stopped => target.broken(&Broken::Stopped),
            Ended::Lost(error) => lost(error),
        }
    }
}
