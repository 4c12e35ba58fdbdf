//! The thread: one poll(2) for the tunnel's packets and the local sides of all connections.
//!
//! Bounds: 64 connections that were begun here, beside those of `places`; 64 packets from the
//! tunnel a turn, and none while as many wait to be sent there; 5 s for a connection to be made
//! here; a deadline that lies in the past is a millisecond away.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connector::{self, Connector, Wish, Wishes};
use super::door::Doors;
use super::drop::{Counters, Drop};
use super::flows::Flows;
use super::places::{self, Held, Place};
use super::relay::Relay;
use super::stack::{ASK_EVERY, Knock, Settings, Stack};
use crate::sys::poll::{self, Interest};

const PER_TURN: usize = 64;
const WAITING: usize = 64;
const MAKING: Duration = Duration::from_secs(5);
const CLAMP: Duration = Duration::from_millis(1);
/// Connections that were begun here.
const BEGUN: usize = 64;
/// No packet of a tunnel is longer.
const PACKET_BYTES: usize = 65_535;

/// Runs until it is dropped, or until the tunnel's end of the pair is closed.
pub struct Netstack {
    /// Its other end is the thread's: each sees the other's end.
    end: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    drops: Arc<Counters>,
    flows: Flows,
    connector: Connector,
}

/// `inner` is an end of a pair of packets, whose other end the tunnel has.
pub fn start(inner: OwnedFd, settings: &Settings, doors: Box<dyn Doors>) -> io::Result<Netstack> {
    let (end, stop) = poll::pipe()?;
    let drops = Arc::new(Counters::default());
    let (connector, wishes) = connector::connector()?;
    let mut turns = Turns {
        began: Instant::now(),
        inner: File::from(inner),
        stop,
        stack: Stack::new(settings, drops.clone()),
        doors,
        wishes,
        relays: Vec::new(),
        making: Vec::new(),
        room: vec![0; PACKET_BYTES],
    };
    let flows = turns.stack.flows();
    let run = move || while turns.turn().is_ok() {};
    let thread = std::thread::Builder::new().name("netstack".to_owned()).spawn(run)?;
    Ok(Netstack { end: Some(end), thread: Some(thread), drops, flows, connector })
}

impl Netstack {
    /// Packets and connections that went no further, by reason.
    pub fn drops(&self) -> Arc<Counters> {
        self.drops.clone()
    }

    /// The connections that it has.
    pub fn flows(&self) -> Flows {
        self.flows.clone()
    }

    /// Begins connections.
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Hangs up when the thread ends by itself.
    pub fn end_fd(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().map(AsFd::as_fd)
    }

    pub fn has_ended(&self) -> bool {
        self.end_fd().is_none_or(|end| poll::look(end, Interest::NONE).broken())
    }
}

impl std::ops::Drop for Netstack {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A connection that is being made here.
struct Making {
    knock: Knock,
    local: TcpStream,
    since: Duration,
}

struct Turns {
    began: Instant,
    inner: File,
    stop: OwnedFd,
    stack: Stack,
    doors: Box<dyn Doors>,
    wishes: Wishes,
    relays: Vec<Relay>,
    making: Vec<Making>,
    room: Vec<u8>,
}

impl Turns {
    /// An error is the end.
    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        let now = self.began.elapsed();
        self.receive(now)?;
        while let Some(wish) = self.wishes.next() {
            self.begin(now, wish);
        }
        self.make(now);
        for relay in &mut self.relays {
            relay.turn(&mut self.stack, now);
        }
        self.send(now)?;
        let Turns { relays, stack, .. } = self;
        relays.retain_mut(|relay| !relay.is_over(stack, now));
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = self.began.elapsed();
        let blocked = self.stack.waiting() > 0;
        let of_inner = match (blocked, self.stack.waiting() < WAITING) {
            (false, _) => Interest::READ,
            (true, true) => Interest::BOTH,
            (true, false) => Interest::WRITE,
        };
        let limit = self.patience(now, blocked);
        let Turns { inner, stop, stack, wishes, relays, making, .. } = self;
        let mut fds = vec![(inner.as_fd(), of_inner), (stop.as_fd(), Interest::NONE)];
        fds.push((wishes.wake().as_fd(), Interest::READ));
        fds.extend(making.iter().map(|one| (one.local.as_fd(), Interest::WRITE)));
        let locals = relays.iter().filter_map(|relay| relay.local(stack));
        fds.extend(locals.map(|(local, interest)| (local.as_fd(), interest)));
        let mut ready = Vec::with_capacity(fds.len());
        poll::wait(&fds, &mut ready, limit)?;
        match ready.get(1) {
            Some(stop) if stop.broken() => Err(ErrorKind::Interrupted.into()),
            _ => Ok(()),
        }
    }

    fn patience(&mut self, now: Duration, blocked: bool) -> Option<Duration> {
        let Turns { stack, relays, making, .. } = self;
        let made = (!making.is_empty()).then_some(now + ASK_EVERY);
        let look = relays.iter().map(|relay| relay.due(stack, now)).chain(made).min();
        // What waits to be sent is what there is to do, and there is no room for it.
        let due = if blocked { None } else { stack.deadline(now) };
        let first = due.into_iter().chain(look).min();
        first.map(|at| at.saturating_sub(now).max(CLAMP))
    }

    fn receive(&mut self, now: Duration) -> io::Result<()> {
        for _ in 0..PER_TURN {
            if self.stack.waiting() >= WAITING {
                return Ok(());
            }
            let count = match self.inner.read(&mut self.room) {
                // No packet is empty: the other end was closed.
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let packet = self.room.get(..count).unwrap_or_default();
            if let Some(knock) = self.stack.arrive(now, packet) {
                self.knock(now, knock);
            }
        }
        Ok(())
    }

    fn knock(&mut self, now: Duration, knock: Knock) {
        if self.making.iter().any(|one| one.knock.flow == knock.flow) {
            return self.stack.count(Drop::Again);
        }
        if !self.has_place(now, &knock) {
            return self.stack.refuse(now, knock, Drop::NoPlace);
        }
        match self.doors.open(knock.flow) {
            Some(local) => {
                self.stack.expect(&knock);
                self.making.push(Making { knock, local, since: now });
            }
            None => self.stack.refuse(now, knock, Drop::Refused),
        }
    }

    fn begin(&mut self, now: Duration, wish: Wish) {
        if self.relays.iter().filter(|relay| relay.is_begun_here()).count() >= BEGUN {
            return wish.deny(ErrorKind::ResourceBusy);
        }
        match self.stack.connect(now, wish.to) {
            Ok((flow, socket)) => self.relays.push(Relay::begun(flow, socket, wish, now)),
            Err(error) => wish.deny(error),
        }
    }

    fn has_place(&mut self, now: Duration, knock: &Knock) -> bool {
        let held = |from, moved| Held { from, moved };
        // Those that others began; a place in the list is one in this.
        let all = self.relays.iter().enumerate().filter(|(_, relay)| !relay.is_begun_here());
        let theirs: Vec<usize> = all.map(|(n, _)| n).collect();
        let relays = theirs.iter().filter_map(|n| self.relays.get(*n));
        let relays = relays.map(|relay| held(relay.flow.from, relay.moved));
        let making = self.making.iter().map(|one| held(one.knock.flow.from, one.since));
        match places::place(&relays.chain(making).collect::<Vec<_>>(), knock.flow.from, now) {
            Place::Free => true,
            Place::None => false,
            Place::InPlaceOf(n) => {
                match theirs.get(n).and_then(|n| self.relays.get_mut(*n)) {
                    Some(relay) => relay.break_off(&mut self.stack, now),
                    None => {
                        let made = self.making.swap_remove(n - theirs.len());
                        self.stack.refuse(now, made.knock, Drop::NoPlace);
                    }
                }
                true
            }
        }
    }

    /// Those that are made become connections there, too.
    fn make(&mut self, now: Duration) {
        let mut n = 0;
        while let Some(one) = self.making.get(n) {
            let decided = poll::look(one.local.as_fd(), Interest::WRITE).any();
            if !decided && now.saturating_sub(one.since) < MAKING {
                n += 1;
                continue;
            }
            let Making { knock, local, .. } = self.making.swap_remove(n);
            if !decided || !matches!(local.take_error(), Ok(None)) {
                self.stack.refuse(now, knock, Drop::Refused);
                continue;
            }
            let flow = knock.flow;
            if let Some(socket) = self.stack.admit(now, knock) {
                self.relays.push(Relay::new(flow, socket, local, now));
            }
        }
    }

    /// As much as the tunnel takes. What it does not take now keeps everything else back.
    fn send(&mut self, now: Duration) -> io::Result<()> {
        loop {
            while let Some(packet) = self.stack.next() {
                match self.inner.write(&packet) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.stack.put_back(packet);
                        return Ok(());
                    }
                    // It is lost, as on any way.
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.stack.leave(now);
            if self.stack.waiting() == 0 {
                return Ok(());
            }
        }
    }
}
