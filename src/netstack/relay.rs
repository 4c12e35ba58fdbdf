//! One connection: between the stack's socket and the local one. Each side's end is carried to the
//! other, and so is a reset; what one side does not take is not read from the other.
//!
//! Bounds: 10 s for the handshake; 2 minutes for the other side to confirm our end; 15 minutes in
//! which it says nothing although something waits for it; 10 minutes in which nothing moves once
//! one side has ended; 2 hours in which nothing moves at all.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::flight::Flight;
use super::packet::Flow;
use super::stack::{self, Stack};
use crate::sys::loopback;
use crate::sys::poll::Interest;

const HANDSHAKE: Duration = Duration::from_secs(10);
const CLOSING: Duration = Duration::from_secs(120);
const SILENT: Duration = Duration::from_secs(15 * 60);
const HALF: Duration = Duration::from_secs(10 * 60);
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// Reads and writes of one connection before others have their turn.
const PIECES: usize = 8;

pub struct Relay {
    pub flow: Flow,
    /// `None`: it is over there, and what is in `rest` has to be written here.
    socket: Option<SocketHandle>,
    rest: Vec<u8>,
    local: Option<TcpStream>,
    /// The local side was told that no more will come.
    told_end: bool,
    /// It has said so.
    has_ended: bool,
    pub moved: Duration,
    mark: Mark,
    flight: Flight,
}

/// What changes when something moves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(State, usize, usize);

impl Relay {
    pub fn new(flow: Flow, socket: SocketHandle, local: TcpStream, now: Duration) -> Relay {
        Relay {
            flow,
            socket: Some(socket),
            rest: Vec::new(),
            local: Some(local),
            told_end: false,
            has_ended: false,
            moved: now,
            mark: Mark(State::SynReceived, 0, 0),
            flight: Flight::default(),
        }
    }

    /// What is wanted of the local side, if anything.
    pub fn local(&self, stack: &mut Stack) -> Option<(&TcpStream, Interest)> {
        let (reads, writes) = match self.socket {
            Some(handle) => {
                let socket = stack.socket(handle);
                (!self.has_ended && self.may_send(socket), socket.recv_queue() > 0)
            }
            None => (false, !self.rest.is_empty()),
        };
        let interest = match (reads, writes) {
            (true, true) => Interest::BOTH,
            (true, false) => Interest::READ,
            (false, true) => Interest::WRITE,
            // It would tell again and again that it hung up.
            (false, false) => return None,
        };
        self.local.as_ref().map(|local| (local, interest))
    }

    /// Whether what is read here could go.
    fn may_send(&self, socket: &Socket) -> bool {
        socket.can_send() && self.flight.room() > 0
    }

    /// Moves what can be moved now.
    pub fn turn(&mut self, stack: &mut Stack, now: Duration) {
        let Some(handle) = self.socket else { return self.write_rest(now) };
        let again = stack.sent_again(self.flow);
        let socket = stack.socket(handle);
        if matches!(socket.state(), State::Closed | State::SynReceived) {
            return;
        }
        self.flight.look(socket.send_queue(), again);
        self.flight.at_most(socket.send_capacity());
        let moved = self.inward(socket).and_then(|()| self.outward(socket));
        if moved.is_err() {
            socket.abort();
            self.local = None;
        }
        stack::ask_for_room(socket, now.saturating_sub(self.moved));
    }

    fn inward(&mut self, socket: &mut Socket) -> io::Result<()> {
        let Some(local) = &mut self.local else {
            return if socket.can_recv() { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) };
        };
        for _ in 0..PIECES {
            if !socket.can_recv() {
                break;
            }
            let write = |bytes: &mut [u8]| match local.write(bytes) {
                Ok(count) => (count, Ok(count > 0)),
                Err(error) => (0, later(error)),
            };
            if !socket.recv(write).unwrap_or(Ok(false))? {
                break;
            }
        }
        let ended = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if ended && socket.recv_queue() == 0 {
            self.tell_end();
        }
        Ok(())
    }

    fn tell_end(&mut self) {
        if let Some(local) = self.local.as_ref().filter(|_| !self.told_end) {
            // It has gone already, or hears it.
            let _ = local.shutdown(Shutdown::Write);
        }
        self.told_end = true;
        if self.has_ended {
            self.local = None;
        }
    }

    fn outward(&mut self, socket: &mut Socket) -> io::Result<()> {
        for _ in 0..PIECES {
            let Some(local) = self.local.as_mut().filter(|_| !self.has_ended) else { break };
            let most = self.flight.room();
            if most == 0 || !socket.can_send() {
                break;
            }
            let mut end = false;
            let read = |room: &mut [u8]| match local.read(upto(room, most)) {
                Ok(count) => {
                    end = count == 0;
                    self.flight.gave(count);
                    (count, Ok(count > 0))
                }
                Err(error) => (0, later(error)),
            };
            let more = socket.send(read).unwrap_or(Ok(false))?;
            if end {
                self.has_ended = true;
                socket.close();
                if self.told_end {
                    self.local = None;
                }
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// What was received before the end, of a connection that is over but for this.
    fn write_rest(&mut self, now: Duration) {
        let Some(local) = &mut self.local else { return self.rest.clear() };
        while !self.rest.is_empty() {
            match local.write(&self.rest) {
                Ok(count @ 1..) => {
                    self.rest.drain(..count);
                    self.moved = now;
                }
                Err(error) if is_later(&error) => return,
                _ => self.rest.clear(),
            }
        }
        self.tell_end();
    }

    /// After everything that waited was sent: whether the connection is over. One that ends before
    /// both sides have said so was reset, and so is the local one.
    pub fn is_over(&mut self, stack: &mut Stack, now: Duration) -> bool {
        let Some(handle) = self.socket else {
            return self.rest.is_empty() || now.saturating_sub(self.moved) > HALF;
        };
        let heard = stack.heard(self.flow).unwrap_or(self.moved);
        let socket = stack.socket(handle);
        let before = self.mark.0;
        let mark = Mark(socket.state(), socket.send_queue(), socket.recv_queue());
        if mark != self.mark {
            (self.mark, self.moved) = (mark, now);
        }
        match socket.state() {
            State::TimeWait => self.let_go(stack, handle),
            State::Closed if socket.remote_endpoint().is_some() => return false,
            State::Closed if before == State::LastAck => self.let_go(stack, handle),
            State::Closed => {
                self.local.take().into_iter().for_each(loopback::reset);
                stack.remove(self.flow, handle);
                return true;
            }
            state => {
                let waits = socket.send_queue() > 0;
                let still = now.saturating_sub(self.moved);
                let silent = waits && now.saturating_sub(heard) > SILENT;
                if silent || still > self.patience(state) {
                    socket.abort();
                }
                return false;
            }
        }
        self.write_rest(now);
        self.rest.is_empty()
    }

    /// Whether it waits for the other side, or for a moment.
    pub fn waits(&self, stack: &mut Stack) -> bool {
        let Some(handle) = self.socket else { return false };
        let socket = stack.socket(handle);
        socket.send_queue() > 0 || !matches!(socket.state(), State::Established | State::CloseWait)
    }

    fn patience(&self, state: State) -> Duration {
        match state {
            State::SynReceived => HANDSHAKE,
            State::Closing | State::LastAck => CLOSING,
            _ if self.has_ended || self.told_end => HALF,
            _ => IDLE,
        }
    }

    /// Keeps what was received: smoltcp forgets it 10 s after the end.
    fn let_go(&mut self, stack: &mut Stack, handle: SocketHandle) {
        let socket = stack.socket(handle);
        self.rest.resize(socket.recv_queue(), 0);
        let kept = socket.recv_slice(&mut self.rest).unwrap_or(0);
        self.rest.truncate(kept);
        stack.remove(self.flow, handle);
        self.socket = None;
    }

    /// It makes room for another; its last word goes out with this turn.
    pub fn break_off(&mut self, stack: &mut Stack, now: Duration) {
        self.moved = now;
        self.local.take().into_iter().for_each(loopback::reset);
        if let Some(handle) = self.socket {
            stack.socket(handle).abort();
        }
        self.rest.clear();
    }
}

fn upto(room: &mut [u8], most: usize) -> &mut [u8] {
    let most = most.min(room.len());
    room.get_mut(..most).unwrap_or_default()
}

/// Nothing now; or the connection is broken.
fn later(error: io::Error) -> io::Result<bool> {
    if is_later(&error) { Ok(false) } else { Err(error) }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
