//! Carries between a UDP socket on loopback and the two descriptors of a byte stream: one thread,
//! one poll(2), and only what a `Flow` says.
//!
//! Datagrams of others than the one peer are not heard, and none is sent to anybody else: whatever
//! the other end says comes to that port and to nothing else.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::flow::Flow;
use super::frame::{Bad, HELLO, Reader};
use super::queue::Counts;
use crate::sys::mmsg::{BATCH, Batch, Outgoing};
use crate::sys::poll::{self, Interest};
use crate::sys::set_nonblocking;
use crate::sys::sock::Udp;

/// Room for the longest datagram each.
const STRIDE: usize = 64 * 1024;
const SPACE: usize = 16 * STRIDE;
/// Reads of the socket before others have their turn.
const TURNS: usize = 4;
/// What is kept of the words of a program that carries: the last ones say why it ended.
const WORDS_BYTES: usize = 16 * 1024;

/// Why a pipe is over.
#[derive(Debug)]
pub enum Ended {
    /// The other end, or what carries to it, has ended.
    Closed,
    /// The other end was not heard for too long.
    Silent,
    /// It did not say its hello in time.
    Mute,
    /// What it says is not our language.
    Bad(Bad),
    /// Somebody here wants it to end.
    Stopped,
    /// The system refused.
    Lost(io::Error),
}

/// One end's surroundings.
pub struct Side<'a> {
    pub input: File,
    pub output: File,
    /// On loopback; the peer's port there may change.
    pub socket: &'a Udp,
    pub peer: &'a AtomicU16,
    /// Bytes that may come before the other end's hello, and how long that may take.
    pub noise: usize,
    pub hello_within: Duration,
    /// What was lost and marked here is told there.
    pub counts: &'a Counts,
}

/// Words beside the stream, of the program that carries it.
pub struct Words {
    from: Option<File>,
    said: Vec<u8>,
}

impl Words {
    pub fn new(from: Option<File>) -> io::Result<Words> {
        if let Some(from) = &from {
            set_nonblocking(from.as_fd())?;
        }
        Ok(Words { from, said: Vec::new() })
    }

    /// The last of them.
    pub fn said(&self) -> &[u8] {
        &self.said
    }

    /// Hears what there is now, up to a bound.
    pub fn hear(&mut self) {
        let mut piece = [0; 4096];
        for _ in 0..TURNS {
            let Some(from) = &mut self.from else { return };
            match from.read(&mut piece) {
                Err(error) if later(&error) => return,
                Ok(count @ 1..) => self.said.extend(piece.iter().take(count)),
                Ok(0) | Err(_) => self.from = None,
            }
            let beyond = self.said.len().saturating_sub(WORDS_BYTES);
            self.said.drain(..beyond);
        }
    }
}

pub struct Carrier<'a> {
    side: Side<'a>,
    flow: Flow,
    reader: Reader,
    /// To be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Datagrams among what was read.
    arrived: Vec<(u8, Range<usize>)>,
    batch: Batch,
    space: Vec<u8>,
    hello_until: Instant,
}

impl<'a> Carrier<'a> {
    pub fn new(side: Side<'a>) -> io::Result<Carrier<'a>> {
        set_nonblocking(side.input.as_fd())?;
        set_nonblocking(side.output.as_fd())?;
        let now = Instant::now();
        let (reader, hello_until) = (Reader::new(side.noise), now + side.hello_within);
        Ok(Carrier {
            side,
            flow: Flow::new(now),
            reader,
            out: HELLO.to_vec(),
            written: 0,
            arrived: Vec::new(),
            batch: Batch::new(),
            space: vec![0; SPACE],
            hello_until,
        })
    }

    /// Until it is over, or `stop` is readable. `ready` is called when the other end said hello.
    pub fn run(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        words: &mut Words,
        ready: &mut dyn FnMut(),
    ) -> Ended {
        loop {
            match self.turn(stop, words, ready) {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(error) => return Ended::Lost(error),
            }
        }
    }

    fn turn(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        words: &mut Words,
        ready: &mut dyn FnMut(),
    ) -> io::Result<Option<Ended>> {
        let [socket, input, output, stopped, said] = self.wait(stop, words)?;
        let now = Instant::now();
        if stop.is_some() && stopped.any() {
            return Ok(Some(Ended::Stopped));
        }
        if said.any() {
            words.hear();
        }
        if socket.any() {
            self.take_datagrams(now)?;
        }
        if input.any() {
            let had_begun = self.reader.has_begun();
            if let Some(ended) = self.take_frames(now)? {
                return Ok(Some(ended));
            }
            if !had_begun && self.reader.has_begun() {
                ready();
            }
        }
        if !self.reader.has_begun() && now >= self.hello_until {
            return Ok(Some(Ended::Mute));
        }
        if self.reader.has_begun() && self.flow.is_silent(now) {
            return Ok(Some(Ended::Silent));
        }
        if output.broken() {
            return Ok(Some(Ended::Closed));
        }
        let is_closed = self.give(now)?;
        self.side.counts.tell(self.flow.queue());
        Ok(is_closed.then_some(Ended::Closed))
    }

    fn wait(&self, stop: Option<BorrowedFd<'_>>, words: &Words) -> io::Result<[Interest; 5]> {
        let socket = self.side.socket.as_fd();
        // In a place that nobody has nothing is waited for.
        let optional =
            |fd: Option<_>| fd.map_or((socket, Interest::NONE), |fd| (fd, Interest::READ));
        let writes = if self.written < self.out.len() { Interest::WRITE } else { Interest::NONE };
        let until = match self.reader.has_begun() {
            true => self.flow.wakes_at(),
            false => self.hello_until,
        };
        let left = until.saturating_duration_since(Instant::now());
        let fds = [
            (socket, Interest::READ),
            (self.side.input.as_fd(), Interest::READ),
            (self.side.output.as_fd(), writes),
            optional(stop),
            optional(words.from.as_ref().map(AsFd::as_fd)),
        ];
        poll::wait_each(fds, Some(left))
    }

    /// From the socket to the queue. Before the other end is there they are nobody's.
    fn take_datagrams(&mut self, now: Instant) -> io::Result<()> {
        let peer = self.peer();
        for _ in 0..TURNS {
            let count = match self.batch.receive(self.side.socket, &mut self.space, STRIDE) {
                Err(error) if later(&error) => return Ok(()),
                other => other?,
            };
            for i in 0..count {
                let Some(got) = self.batch.received(i) else { continue };
                let bytes = self.space.get(i * STRIDE..).and_then(|rest| rest.get(..got.len));
                let is_heard = got.from == peer && !got.truncated && self.reader.has_begun();
                if let Some(bytes) = bytes.filter(|_| is_heard) {
                    self.flow.push(got.tos & 3, bytes, now);
                }
            }
            if count < SPACE / STRIDE {
                return Ok(());
            }
        }
        Ok(())
    }

    /// From the stream to the socket.
    fn take_frames(&mut self, now: Instant) -> io::Result<Option<Ended>> {
        let count = match self.side.input.read(self.reader.room()) {
            Err(error) if later(&error) => return Ok(None),
            Ok(0) => return Ok(Some(Ended::Closed)),
            other => other?,
        };
        self.reader.filled(count);
        self.flow.heard(now);
        self.arrived.clear();
        let bad = loop {
            match self.reader.next() {
                Ok(None) => break None,
                Ok(Some(frame)) => match self.flow.hear(frame, now) {
                    Ok(datagram) => self.arrived.extend(datagram),
                    Err(bad) => break Some(bad),
                },
                Err(bad) => break Some(bad),
            }
        };
        self.deliver();
        Ok(bad.map(Ended::Bad))
    }

    /// What the socket has no room for is lost, as datagrams are.
    fn deliver(&mut self) {
        let (to, reader) = (self.peer(), &self.reader);
        let mut rest = self.arrived.as_slice();
        while !rest.is_empty() {
            let outgoing = |i: usize| {
                let (ecn, at) = rest.get(i).cloned().unwrap_or_default();
                Outgoing { to, from: None, tos: ecn, segment: 0, data: reader.bytes(&at) }
            };
            let sent = self.batch.send(self.side.socket, rest.len().min(BATCH), outgoing);
            let done = sent.unwrap_or(0).max(1);
            rest = rest.get(done..).unwrap_or_default();
        }
    }

    /// Writes what may go out, as far as it is taken. Whether the other end of the stream is gone.
    fn give(&mut self, now: Instant) -> io::Result<bool> {
        // No longer than the window is: what was taken meanwhile is heard of later.
        loop {
            if self.written == self.out.len() {
                (self.written, _) = (0, self.out.clear());
                if self.reader.has_begun() {
                    self.flow.fill(&mut self.out, now);
                }
            }
            let rest = self.out.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(false);
            }
            match self.side.output.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if later(&error) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn peer(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.side.peer.load(Ordering::Relaxed)).into()
    }
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
