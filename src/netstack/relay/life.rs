//! How long a connection stays, and what becomes of it at its end.
//!
//! Bounds: 10 s for the handshake, and for one that was begun here its caller's limit; 2 minutes
//! for the other side to confirm our end; 15 minutes in which it says nothing although something
//! waits for it; 10 minutes in which nothing moves once one side has ended; 2 hours in which
//! nothing moves at all.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::io::ErrorKind;
use std::time::Duration;

use super::{Begun, Mark, Relay};
use crate::netstack::stack::{ASK_EVERY, Stack};
use crate::sys::loopback;

const HANDSHAKE: Duration = Duration::from_secs(10);
const CLOSING: Duration = Duration::from_secs(120);
const SILENT: Duration = Duration::from_secs(15 * 60);
const HALF: Duration = Duration::from_secs(10 * 60);
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);

impl Relay {
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
                self.deny(ErrorKind::ConnectionRefused);
                self.local.take().into_iter().for_each(loopback::reset);
                stack.remove(self.flow, handle);
                return true;
            }
            state => {
                let waits = socket.send_queue() > 0;
                let still = now.saturating_sub(self.moved);
                let silent = waits && now.saturating_sub(heard) > SILENT;
                let late = matches!(self.begun, Begun::Wished(_, until) if now >= until);
                if late || silent || still > self.patience(state) {
                    socket.abort();
                    self.deny(ErrorKind::TimedOut);
                }
                return false;
            }
        }
        self.write_rest(now);
        self.rest.is_empty()
    }

    /// When it is to be looked at although nothing comes.
    pub fn due(&self, stack: &mut Stack, now: Duration) -> Duration {
        let Some(handle) = self.socket else { return self.moved + HALF };
        let socket = stack.socket(handle);
        let state = socket.state();
        let is_still = matches!(state, State::Established | State::CloseWait | State::FinWait2);
        match &self.begun {
            Begun::Wished(_, until) => *until,
            _ if is_still && socket.send_queue() == 0 => self.moved + self.patience(state),
            // It waits for the other side.
            _ => now + ASK_EVERY,
        }
    }

    fn patience(&self, state: State) -> Duration {
        match state {
            State::SynReceived => HANDSHAKE,
            // Its caller's.
            State::SynSent => Duration::MAX,
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

    /// It will not be made.
    fn deny(&mut self, why: ErrorKind) {
        match std::mem::replace(&mut self.begun, Begun::Here) {
            Begun::Wished(wish, _) => wish.deny(why),
            same => self.begun = same,
        }
    }
}
