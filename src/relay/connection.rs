//! One connection that is carried: its two sockets, and its two ways.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::order::{Carried, Done, Ended, Heard, Opening, Order, Tally};
use crate::sys::poll::Interest;
use crate::sys::{loopback, set_nonblocking};

/// What is read at a time: a quarter of it takes a tenth more time in bulk.
pub const PIECE: usize = 256 * 1024;
/// Pieces of one way before others have their turn.
const PIECES: usize = 1;
/// Pieces of what was said before an end.
const LAST_PIECES: usize = 16;
/// Most of an answer while a connection opens.
const ANSWER_BYTES: usize = 64 * 1024;

pub struct Connection {
    near: Side,
    far: Side,
    up: Way,
    down: Way,
    opening: Option<BeingOpened>,
    tally: Arc<Tally>,
    done: Done,
}

struct Side {
    /// Of a unix socket, too: it is read, written and shut down alike.
    socket: TcpStream,
    /// It has hung up, and says so for ever.
    is_quiet: bool,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Read, and from `at` on not yet taken.
    rest: Vec<u8>,
    at: usize,
    has_ended: bool,
    has_told: bool,
    count: u64,
}

struct BeingOpened {
    opening: Box<dyn Opening>,
    said: usize,
    heard: Vec<u8>,
    until: Instant,
}

/// A connection is over before its ways have ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Who sent is gone.
    From,
    /// Who was to receive is gone.
    To,
}

impl Connection {
    pub fn new(order: Order, now: Instant) -> Connection {
        let Order { near, far, first, opening, tally, done } = order;
        tally.open.fetch_add(1, Ordering::Relaxed);
        let begin = |(opening, limit)| BeingOpened {
            opening,
            said: 0,
            heard: Vec::new(),
            until: now + limit,
        };
        Connection {
            near: Side::new(near),
            far: Side::new(far),
            up: Way { rest: first, ..Way::default() },
            down: Way::default(),
            opening: opening.map(begin),
            tally,
            done,
        }
    }

    /// By when it has to be open.
    pub fn due(&self) -> Option<Instant> {
        self.opening.as_ref().map(|opening| opening.until)
    }

    /// What is waited for at either end.
    pub fn fds(&self) -> [Option<(BorrowedFd<'_>, Interest)>; 2] {
        let [near, far] = self.wants();
        [self.near.fd(near), self.far.fd(far)]
    }

    fn wants(&self) -> [Interest; 2] {
        match &self.opening {
            Some(opening) if opening.is_said() => [Interest::NONE, Interest::READ],
            Some(_) => [Interest::NONE, Interest::WRITE],
            None => [interest(&self.up, &self.down), interest(&self.down, &self.up)],
        }
    }

    /// Sees to what happened at either end. How it ended, if it did.
    pub fn turn(&mut self, seen: [Interest; 2], piece: &mut [u8], now: Instant) -> Option<Ended> {
        if self.due().is_some_and(|due| due <= now) {
            return Some(Ended::Late);
        }
        let wants = self.wants();
        if self.near.is_broken(wants[0], seen[0]) || self.far.is_broken(wants[1], seen[1]) {
            return Some(Ended::Reset);
        }
        if !seen[0].any() && !seen[1].any() {
            return None;
        }
        if self.opening.is_some() {
            return self.open(seen[1]);
        }
        let Connection { near, far, up, down, tally, .. } = self;
        let (near, far) = (&near.socket, &far.socket);
        if let Err(broken) = up.turn_if_due(seen, [near, far], piece, &tally.up) {
            if broken == Broken::To {
                down.last_words(far, near, piece, &tally.down);
            }
            return Some(Ended::Reset);
        }
        let turned = [seen[1], seen[0]];
        if let Err(broken) = down.turn_if_due(turned, [far, near], piece, &tally.down) {
            if broken == Broken::To {
                up.last_words(near, far, piece, &tally.up);
            }
            return Some(Ended::Reset);
        }
        (up.has_told && down.has_told).then_some(Ended::Closed)
    }

    fn open(&mut self, seen: Interest) -> Option<Ended> {
        let opening = self.opening.as_mut().filter(|_| seen.any())?;
        match opening.turn(&self.far.socket) {
            Ok(Heard::More) => None,
            Ok(Heard::Open(used)) => {
                let mut heard = mem::take(&mut opening.heard);
                heard.drain(..used.min(heard.len()));
                self.down.count(heard.len(), &self.tally.down);
                (self.down.rest, self.opening) = (heard, None);
                None
            }
            Ok(Heard::Refused) | Err(_) => Some(Ended::Refused),
        }
    }

    /// Closes both ends, with a reset unless both have ended.
    pub fn end(self, ended: Ended) {
        if ended != Ended::Closed {
            loopback::reset(self.near.socket);
            loopback::reset(self.far.socket);
        } else {
            drop((self.near, self.far));
        }
        self.tally.open.fetch_sub(1, Ordering::Relaxed);
        (self.done)(Carried { up: self.up.count, down: self.down.count, ended });
    }
}

/// At the end from which `out` reads and to which `back` writes.
fn interest(out: &Way, back: &Way) -> Interest {
    match (out.reads(), back.has_rest()) {
        (true, true) => Interest::BOTH,
        (true, false) => Interest::READ,
        (false, true) => Interest::WRITE,
        (false, false) => Interest::NONE,
    }
}

impl Side {
    fn new(fd: OwnedFd) -> Side {
        // No socket refuses the first; a unix one knows nothing of the second, and needs it not.
        let _ = set_nonblocking(fd.as_fd());
        let socket = TcpStream::from(fd);
        let _ = socket.set_nodelay(true);
        Side { socket, is_quiet: false }
    }

    fn fd(&self, wants: Interest) -> Option<(BorrowedFd<'_>, Interest)> {
        let is_left = self.is_quiet && !wants.any();
        (!is_left).then(|| (self.socket.as_fd(), wants))
    }

    /// An end that nothing is waited for has been reset. One that has hung up is in order: what it
    /// said before is read when there is room for it.
    fn is_broken(&mut self, wants: Interest, seen: Interest) -> bool {
        if wants.any() || !seen.broken() {
            self.is_quiet &= !wants.any();
            return false;
        }
        self.is_quiet = true;
        !matches!(self.socket.take_error(), Ok(None))
    }
}

impl Way {
    fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    fn reads(&self) -> bool {
        !self.has_ended && !self.has_rest()
    }

    fn count(&mut self, bytes: usize, tally: &AtomicU64) {
        self.count += bytes as u64;
        tally.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Nothing where neither end has something for it: a try is a system call, in front of the
    /// byte of the other way that somebody waits for.
    fn turn_if_due(
        &mut self,
        [from_seen, to_seen]: [Interest; 2],
        [from, to]: [&TcpStream; 2],
        piece: &mut [u8],
        tally: &AtomicU64,
    ) -> Result<(), Broken> {
        let is_due = if self.has_rest() { to_seen } else { from_seen };
        if is_due.any() { self.turn(from, to, piece, tally) } else { Ok(()) }
    }

    /// Moves what can be moved now.
    fn turn(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        piece: &mut [u8],
        tally: &AtomicU64,
    ) -> Result<(), Broken> {
        self.write_rest(to)?;
        self.carry(from, to, piece, tally, PIECES)?;
        if self.has_ended && !self.has_rest() && !self.has_told {
            // It has gone already, or hears it.
            let _ = to.shutdown(Shutdown::Write);
            self.has_told = true;
        }
        Ok(())
    }

    fn carry(
        &mut self,
        mut from: &TcpStream,
        to: &TcpStream,
        piece: &mut [u8],
        tally: &AtomicU64,
        pieces: usize,
    ) -> Result<(), Broken> {
        for _ in 0..pieces {
            if !self.reads() {
                break;
            }
            let read = match from.read(piece) {
                Ok(0) => {
                    self.has_ended = true;
                    break;
                }
                Ok(read) => read,
                Err(error) if is_later(&error) => break,
                Err(_) => return Err(Broken::From),
            };
            self.count(read, tally);
            let bytes = piece.get(..read).unwrap_or_default();
            let taken = write(to, bytes)?;
            if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                (self.rest, self.at) = (rest.to_vec(), 0);
            }
            if read < piece.len() {
                break;
            }
        }
        Ok(())
    }

    fn write_rest(&mut self, to: &TcpStream) -> Result<(), Broken> {
        let bytes = self.rest.get(self.at..).unwrap_or_default();
        self.at += write(to, bytes)?;
        if self.at >= self.rest.len() {
            // Not kept for an idle connection.
            (self.rest, self.at) = (Vec::new(), 0);
        }
        Ok(())
    }

    /// What the side that is gone had said: a server may answer and close before it has read all.
    fn last_words(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        piece: &mut [u8],
        tally: &AtomicU64,
    ) {
        let _ = self.write_rest(to).and_then(|()| self.carry(from, to, piece, tally, LAST_PIECES));
    }
}

/// As many as it takes now.
fn write(mut to: &TcpStream, bytes: &[u8]) -> Result<usize, Broken> {
    let mut taken = 0;
    while let Some(bytes) = bytes.get(taken..).filter(|bytes| !bytes.is_empty()) {
        match to.write(bytes) {
            Ok(0) => return Err(Broken::To),
            Ok(written) => taken += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_later(&error) => break,
            Err(_) => return Err(Broken::To),
        }
    }
    Ok(taken)
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl BeingOpened {
    fn is_said(&self) -> bool {
        self.said >= self.opening.says().len()
    }

    fn turn(&mut self, mut far: &TcpStream) -> io::Result<Heard> {
        while let Some(left) = self.opening.says().get(self.said..).filter(|left| !left.is_empty())
        {
            match far.write(left) {
                Ok(written) => self.said += written,
                Err(error) if is_later(&error) => return Ok(Heard::More),
                Err(error) => return Err(error),
            }
        }
        let mut piece = [0; 4096];
        loop {
            let read = match far.read(&mut piece) {
                Ok(0) => return Ok(Heard::Refused),
                Ok(read) => read,
                Err(error) if is_later(&error) => return Ok(Heard::More),
                Err(error) => return Err(error),
            };
            self.heard.extend_from_slice(piece.get(..read).unwrap_or_default());
            match self.opening.hears(&self.heard) {
                Heard::More if self.heard.len() < ANSWER_BYTES => {}
                Heard::More => return Ok(Heard::Refused),
                decided => return Ok(decided),
            }
        }
    }
}
