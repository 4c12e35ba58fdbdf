//! `hop-agent guard -- COMMAND…`: runs a command, ends as it does, and first ends all that it has
//! left, in whatever group or session that is: by then every orphan among it is this process's own
//! child. So is it when this process is asked to end, or whoever started it is no more.
//!
//! Bounds: the command has as long as whoever wants it; what is left has 5 s to go.

use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::log;
use crate::sys::descendants::{self, End};
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind, Signals};
use crate::sys::started;

const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// As shells say it: not found, and ended by a signal.
const NOT_STARTED: u8 = 127;
const BY_SIGNAL: u8 = 128;
/// SIGTERM.
const ASKED: u8 = BY_SIGNAL + 15;

/// The whole life of this process.
pub fn main(words: &[String]) -> u8 {
    let code = guard(words).unwrap_or_else(|error| {
        log(&format!("{}: {error}", words.first().map_or("no command", String::as_str)));
        NOT_STARTED
    });
    end_all();
    code
}

fn guard(words: &[String]) -> io::Result<u8> {
    let (program, rest) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    descendants::adopt_orphans()?;
    let mut signals = Signals::catch(&[Kind::Child, Kind::Terminate])?;
    let own = started::start_in_place(Command::new(program).args(rest))?;
    loop {
        while let Some((pid, end)) = descendants::reap() {
            if pid == own {
                return Ok(match end {
                    End::Code(code) => code,
                    End::Signal(signal) => BY_SIGNAL.saturating_add(signal),
                });
            }
        }
        poll::wait_one(signals.as_fd(), Interest::READ, None)?;
        while let Some(kind) = signals.take() {
            if kind == Kind::Terminate {
                return Ok(ASKED);
            }
        }
    }
}

fn end_all() {
    let end = Instant::now() + GONE_WITHIN;
    loop {
        while descendants::reap().is_some() {}
        let left = descendants::all();
        if left.is_empty() || Instant::now() >= end {
            return;
        }
        for process in left {
            process.send(Kind::Kill);
        }
        thread::sleep(LOOK_EVERY);
    }
}
