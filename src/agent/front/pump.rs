//! Bytes from a laptop's connection to `work`'s, and back, until one of them ends. Nothing of it is
//! looked at here.
//!
//! Bounds: 64 KiB each way; after the last byte for the laptop 5 s for it to close its side.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::sys::poll::{self, Interest};

const ROOM: usize = 64 * 1024;
/// Closing with unread bytes would reset the connection and could take the last ones with it.
const LINGER: Duration = Duration::from_secs(5);

/// Until either has gone. The laptop is sent what is `first` before what `work` says.
pub fn both_ways(laptop: &TcpStream, work: &UnixStream, first: &[&[u8]]) {
    if work.set_nonblocking(true).is_err() {
        return;
    }
    let (mut to_laptop, mut to_work) = (Way::of(first.concat()), Way::of(Vec::new()));
    while !to_laptop.broken && !to_work.ended && !to_laptop.is_done() {
        let at_laptop = (laptop.as_fd(), interest(&to_work, &to_laptop));
        let at_work = (work.as_fd(), interest(&to_laptop, &to_work));
        // An end of which nothing is wanted now would tell again and again that it hung up.
        let fds = match (at_laptop.1, at_work.1) {
            (Interest::NONE, _) => [at_work, at_work],
            (_, Interest::NONE) => [at_laptop, at_laptop],
            _ => [at_laptop, at_work],
        };
        if poll::wait_each(fds, None).is_err() {
            return;
        }
        to_laptop.turn(work, laptop);
        to_work.turn(laptop, work);
    }
    if to_laptop.is_done() {
        linger(laptop);
    }
}

fn interest(from: &Way, to: &Way) -> Interest {
    match (from.wants(), to.has()) {
        (true, true) => Interest::BOTH,
        (true, false) => Interest::READ,
        (false, true) => Interest::WRITE,
        (false, false) => Interest::NONE,
    }
}

struct Way {
    bytes: Vec<u8>,
    sent: usize,
    /// Nothing more comes.
    ended: bool,
    /// Nothing more is taken: what comes is dropped.
    broken: bool,
}

impl Way {
    fn of(bytes: Vec<u8>) -> Way {
        Way { bytes, sent: 0, ended: false, broken: false }
    }

    fn has(&self) -> bool {
        self.sent < self.bytes.len()
    }

    fn wants(&self) -> bool {
        !self.ended && !self.has()
    }

    fn is_done(&self) -> bool {
        self.ended && !self.has()
    }

    /// What goes now.
    fn turn(&mut self, mut from: impl Read, mut to: impl Write) {
        if self.wants() {
            self.bytes.resize(ROOM, 0);
            let read = from.read(&mut self.bytes);
            self.sent = 0;
            match read {
                Ok(count @ 1..) => self.bytes.truncate(count),
                other => {
                    self.bytes.clear();
                    self.ended = !matches!(other, Err(error) if later(&error));
                }
            }
        }
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match to.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if later(&error) => return,
                Err(_) => {
                    self.broken = true;
                    self.sent = self.bytes.len();
                }
            }
        }
    }
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Says that no more will come, and reads until the other side says so, too.
fn linger(mut laptop: &TcpStream) {
    let end = Instant::now() + LINGER;
    let mut piece = [0; 4096];
    if laptop.shutdown(Shutdown::Write).is_err() {
        return;
    }
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let _ = poll::wait_one(laptop.as_fd(), Interest::READ, Some(left));
        match laptop.read(&mut piece) {
            Ok(1..) => {}
            Err(error) if later(&error) => {}
            _ => return,
        }
    }
}
