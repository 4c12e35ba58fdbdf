//! One connection: between the stack's socket and the local one. Each side's end is carried to the
//! other, and so is a reset; what one side does not take is not read from the other.
//!
//! Bounds: times in `life`.

mod life;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::connector::Wish;
use super::flight::Flight;
use super::packet::Flow;
use super::stack::{self, Stack};
use crate::sys::poll::Interest;

/// Reads and writes of one connection before others have their turn.
const PIECES: usize = 8;

pub struct Relay {
    pub flow: Flow,
    /// `None`: it is over there, and what is in `rest` has to be written here.
    socket: Option<SocketHandle>,
    rest: Vec<u8>,
    local: Option<TcpStream>,
    begun: Begun,
    /// The local side was told that no more will come.
    told_end: bool,
    /// It has said so.
    has_ended: bool,
    pub moved: Duration,
    mark: Mark,
    flight: Flight,
}

/// By whom.
enum Begun {
    There,
    /// Here, and its caller waits until then at most.
    Wished(Wish, Duration),
    Here,
}

/// What changes when something moves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(State, usize, usize);

impl Relay {
    /// Begun by the other side; `local` is connected.
    pub fn new(flow: Flow, socket: SocketHandle, local: TcpStream, now: Duration) -> Relay {
        Relay::with(flow, socket, Some(local), Begun::There, now)
    }

    /// Begun here. Its caller hears of it when that is decided.
    pub fn begun(flow: Flow, socket: SocketHandle, wish: Wish, now: Duration) -> Relay {
        let until = now.saturating_add(wish.limit);
        Relay::with(flow, socket, None, Begun::Wished(wish, until), now)
    }

    fn with(
        flow: Flow,
        socket: SocketHandle,
        local: Option<TcpStream>,
        begun: Begun,
        now: Duration,
    ) -> Relay {
        Relay {
            flow,
            socket: Some(socket),
            rest: Vec::new(),
            local,
            begun,
            told_end: false,
            has_ended: false,
            moved: now,
            mark: Mark(State::SynReceived, 0, 0),
            flight: Flight::default(),
        }
    }

    pub fn is_begun_here(&self) -> bool {
        !matches!(self.begun, Begun::There)
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
        if matches!(socket.state(), State::Closed | State::SynReceived | State::SynSent) {
            return;
        }
        if !self.grant() {
            return socket.abort();
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

    /// The connection is made: whoever waits for it has it, if they still do.
    fn grant(&mut self) -> bool {
        match std::mem::replace(&mut self.begun, Begun::Here) {
            Begun::Wished(wish, _) => {
                self.local = wish.grant();
                self.local.is_some()
            }
            same => {
                self.begun = same;
                true
            }
        }
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
