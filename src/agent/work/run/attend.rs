//! One process attends to one run: bytes between the command and the connection that came for it,
//! signals and the size of a terminal to the command, and its end to the connection. When the
//! command has ended or nobody is there any more, all that it left is ended: asked first (SIGHUP,
//! SIGTERM), killed a moment later.
//!
//! Bounds: what is read of a command waits for room on the other side; 256 KiB wait for what it
//! reads; 10 s for processes that cannot be killed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::command::{self, Unstarted};
use super::detached::Kept;
use super::login::{Variables, login};
use super::wire::{Wire, later};
use crate::agent::log;
use crate::agent::work::bridge::install;
use crate::base::exit::Code;
use crate::base::json::{Fields, ReadError};
use crate::http::BODY_BYTES;
use crate::rpc::frames::{Channel, Frame, IN_ROOM, OUT_ROOM, PIECE, Signal};
use crate::rpc::types::Message;
use crate::rpc::types::run::{Ended, Run};
use crate::sys::descendants::{self, End};
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{self, Kind, Signals};
use crate::sys::started::Started;
use crate::sys::{process, pty};
use crate::workspace::desired::TEXT_BYTES;

/// How long who was asked to end has for it.
const GRACE: Duration = Duration::from_secs(2);
/// And all of it, where something cannot be killed.
const END_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Room is given back in pieces of this.
const ROOM_STEP: usize = PIECE;
/// What was asked for, and the variables of a workspace.
const REQUEST_BYTES: u64 = (BODY_BYTES + TEXT_BYTES + 4096) as u64;
/// What a terminal takes for the end of what is typed.
const END_OF_INPUT: u8 = 4;

/// The whole life of this process.
pub fn main() -> u8 {
    match attend() {
        Ok(()) => Code::Done as u8,
        Err(error) => {
            log(&format!("a run could not be attended to: {error}"));
            Code::Failed as u8
        }
    }
}

fn attend() -> io::Result<()> {
    let mut told = String::new();
    io::stdin().lock().take(REQUEST_BYTES).read_to_string(&mut told)?;
    let Told { run, frames, dir, env } = request(&told).map_err(io::Error::other)?;
    let stream = UnixStream::from(process::take_stdout()?);
    signal::heed_all()?;
    let signals = Signals::catch(&[Kind::Child, Kind::Terminate, Kind::Interrupt, Kind::Hangup])?;
    let Some(dir) = dir else { return attend_to(&run, env, Wire::new(stream, frames)?, signals) };
    let kept = Kept::begin(Path::new(&dir))?;
    let (ours, its) = UnixStream::pair()?;
    let keeps = thread::Builder::new().name("keep".to_owned()).spawn(move || kept.keep(its))?;
    let done = attend_to(&run, env, Wire::new(ours, frames)?, signals);
    let kept = keeps.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    done.and(kept)
}

fn attend_to(run: &Run, env: Variables, mut wire: Wire, signals: Signals) -> io::Result<()> {
    wire.begin();
    descendants::adopt_orphans()?;
    let mut login = login();
    install::over(&mut login.variables);
    login.variables.extend(env);
    match command::start(run, &login, wire.frames) {
        Ok(started) => Attended::new(wire, signals, started, run).until_the_end(),
        Err(Unstarted::Program(ended)) => tell_end(wire, &Ok(ended)),
        Err(Unstarted::Here(why)) => tell_end(wire, &Err(why)),
    }
}

/// What is to be run, how it is told of, where it is kept, and with which variables over the
/// login's.
struct Told {
    run: Run,
    frames: bool,
    dir: Option<String>,
    env: Variables,
}

fn request(told: &str) -> Result<Told, String> {
    let read = || {
        let mut fields = Fields::parse(told)?;
        let run = fields.opt_object("run")?.map(Run::read_strictly).transpose()?;
        let run = run.ok_or_else(|| fields.error("run", "is missing"))?;
        let env = variables(fields.take("env"));
        Ok(Told { run, frames: fields.bool("frames")?, dir: fields.opt_string("dir")?, env })
    };
    read().map_err(|error: ReadError| error.to_string())
}

fn variables(given: Option<Value>) -> Variables {
    let Some(Value::Object(all)) = given else { return Variables::new() };
    let pair = |(name, value): (String, Value)| Some((name.into(), value.as_str()?.into()));
    all.into_iter().filter_map(pair).collect()
}

/// Says how it ended, and waits until that is said.
fn tell_end(mut wire: Wire, end: &Result<Ended, String>) -> io::Result<()> {
    wire.end(end);
    while !wire.is_gone() && !wire.is_sent() {
        let fds = [(wire.as_fd(), wire.interest())];
        let [ready] = poll::wait_each(fds, Some(wire.patience().max(LOOK_EVERY)))?;
        wire.turn(ready.readable() || ready.broken());
        while wire.next().is_some() {}
    }
    Ok(())
}

/// An output of the command, and how much of it may be sent.
struct Output {
    from: Option<File>,
    channel: Channel,
    room: u64,
}

impl Output {
    fn interest(&self, wire: &Wire) -> Option<(&File, Interest)> {
        let wanted = self.room > 0 && !wire.is_full();
        self.from.as_ref().filter(|_| wanted).map(|from| (from, Interest::READ))
    }

    /// A piece of what is there. True if there was one.
    fn take(&mut self, wire: &mut Wire) -> bool {
        let Some(from) = self.from.as_mut().filter(|_| self.room > 0 && !wire.is_full()) else {
            return false;
        };
        let mut piece = [0; PIECE];
        let most = usize::try_from(self.room).unwrap_or(PIECE).min(PIECE);
        match from.read(piece.get_mut(..most).unwrap_or_default()) {
            Ok(read @ 1..) => {
                self.room = self.room.saturating_sub(read as u64);
                wire.data(self.channel, piece.get(..read).unwrap_or_default());
                true
            }
            Err(error) if later(&error) => false,
            // A terminal's other end that is closed is an error.
            Ok(0) | Err(_) => {
                self.from = None;
                false
            }
        }
    }
}

/// What the command reads.
struct Input {
    to: Option<File>,
    owed: VecDeque<u8>,
    /// Taken, and not yet given back as room.
    taken: usize,
    ended: bool,
    is_terminal: bool,
}

impl Input {
    /// As much as it takes.
    fn give(&mut self, wire: &mut Wire) {
        while let (Some(to), false) = (&mut self.to, self.owed.is_empty()) {
            match to.write(self.owed.as_slices().0) {
                Ok(count) => {
                    self.owed.drain(..count);
                    self.taken += count;
                }
                Err(error) if later(&error) => break,
                // It reads no more.
                Err(_) => self.close(wire),
            }
        }
        if self.to.is_some() && self.ended && self.owed.is_empty() {
            match self.is_terminal {
                true => self.owed.push_back(END_OF_INPUT),
                false => self.to = None,
            }
            self.ended = false;
        }
        if self.taken >= ROOM_STEP || (self.taken > 0 && self.owed.is_empty()) {
            wire.room(self.taken);
            self.taken = 0;
        }
    }

    fn close(&mut self, wire: &mut Wire) {
        (self.to, self.owed) = (None, VecDeque::new());
        wire.no_input();
    }

    /// False if it is more than there was room for.
    fn add(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            self.ended = true;
        } else if self.to.is_some() {
            self.owed.extend(bytes);
        }
        self.owed.len() <= IN_ROOM as usize
    }
}

struct Attended {
    wire: Wire,
    signals: Signals,
    pid: u32,
    outputs: [Output; 2],
    input: Input,
    ended: Option<End>,
    /// Since when what is left is being ended, and whether some of it was asked to.
    ending: Option<Instant>,
    looked: Instant,
    /// Nothing of it is left that could be ended.
    is_over: bool,
}

impl Attended {
    fn new(wire: Wire, signals: Signals, started: Started, run: &Run) -> Attended {
        let room = if wire.frames { u64::from(OUT_ROOM) } else { u64::MAX };
        let [out, err] = started.outputs;
        let outputs = [(out, Channel::Out), (err, Channel::Err)].map(|(from, channel)| Output {
            from,
            channel,
            room,
        });
        let owed = run.input.as_deref().unwrap_or_default().bytes().collect();
        let (ended, is_terminal) = (!wire.frames, run.terminal.is_some());
        let input = Input { to: started.input, owed, taken: 0, ended, is_terminal };
        let (pid, ended, ending, looked) = (started.pid, None, None, Instant::now());
        Attended { wire, signals, pid, outputs, input, ended, ending, looked, is_over: false }
    }

    fn until_the_end(mut self) -> io::Result<()> {
        while !self.is_done() {
            let [wire, signals, rest] = self.wait()?;
            if signals {
                self.take_signals();
            }
            self.wire.turn(wire);
            self.heed();
            self.input.give(&mut self.wire);
            if rest || self.ending.is_some() {
                self.take_output();
            }
            self.wire.turn(false);
            self.end_the_rest();
        }
        match self.ended {
            _ if self.wire.is_gone() => Ok(()),
            Some(End::Code(code)) => tell_end(self.wire, &Ok(Ended::Code(code))),
            Some(End::Signal(number)) => tell_end(self.wire, &Ok(Ended::Signal(number))),
            None => tell_end(self.wire, &Err("it cannot be ended".to_owned())),
        }
    }

    /// Nothing of it lives, and all that it said is told, or nobody is there.
    fn is_done(&self) -> bool {
        let all_told = self.outputs.iter().all(|output| output.from.is_none());
        self.is_over && (self.wire.is_gone() || all_told)
    }

    /// Which of them is ready: the connection, a signal, something of the command's.
    fn wait(&self) -> io::Result<[bool; 3]> {
        let mut fds =
            vec![(self.wire.as_fd(), self.wire.interest()), (self.signals.as_fd(), Interest::READ)];
        if self.wire.is_gone() {
            // It would be ready for ever.
            fds.swap_remove(0);
        }
        let first = fds.len();
        let outputs = self.outputs.iter().filter_map(|output| output.interest(&self.wire));
        fds.extend(outputs.map(|(from, interest)| (from.as_fd(), interest)));
        let input = self.input.to.as_ref().filter(|_| !self.input.owed.is_empty());
        fds.extend(input.map(|to| (to.as_fd(), Interest::WRITE)));
        let looks = self.ending.is_some() && !self.is_over;
        let patience = if looks { LOOK_EVERY } else { self.wire.patience().max(LOOK_EVERY) };
        let mut ready = Vec::with_capacity(fds.len());
        poll::wait(&fds, &mut ready, Some(patience))?;
        let any = |n: usize| ready.get(n).is_some_and(|ready| ready.any());
        let rest = ready.iter().skip(first).any(|ready| ready.any());
        let wire = ready.first().is_some_and(|ready| ready.readable() || ready.broken());
        Ok([wire && first == 2, any(first - 1), rest])
    }

    fn take_output(&mut self) {
        for output in &mut self.outputs {
            let may = output.interest(&self.wire).is_some();
            // All who wrote have ended: what is not there does not come any more.
            if !output.take(&mut self.wire) && may && self.is_over {
                output.from = None;
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(kind) = self.signals.take() {
            if kind != Kind::Child {
                // This machine goes down, or somebody wants it to end.
                self.begin_end();
            }
        }
        while let Some((pid, end)) = descendants::reap() {
            if pid == self.pid {
                self.ended = Some(end);
                self.begin_end();
            }
        }
    }

    /// What the other side wants.
    fn heed(&mut self) {
        while let Some(frame) = self.wire.next() {
            match frame {
                Frame::Data(Channel::In, bytes) => {
                    if !self.input.add(&bytes) {
                        self.begin_end();
                    }
                }
                // Nobody reads it any more; the command is to find out as it would there.
                Frame::Data(channel, _) => {
                    let all = self.outputs.iter_mut();
                    all.filter(|it| it.channel == channel).for_each(|it| it.from = None);
                }
                Frame::Room(channel, more) => {
                    for output in self.outputs.iter_mut().filter(|it| it.channel == channel) {
                        output.room = (output.room + u64::from(more)).min(u64::from(OUT_ROOM));
                    }
                }
                Frame::Signal(signal) if self.ended.is_none() => {
                    let _ = signal::send_group(self.pid, kind(signal));
                }
                Frame::Size(columns, rows) => {
                    let terminal = self.input.to.as_ref().filter(|_| self.input.is_terminal);
                    let _ = terminal.map(|it| pty::resize(it.as_fd(), (columns, rows)));
                }
                Frame::Signal(_) | Frame::Beat | Frame::End(_) => {}
            }
        }
        if self.wire.is_gone() {
            self.begin_end();
        }
    }

    fn begin_end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(Instant::now());
        for kind in [Kind::Hangup, Kind::Terminate, Kind::Continue] {
            for process in descendants::all() {
                process.send(kind);
            }
        }
    }

    /// Whoever is left a moment later is killed, and whoever came meanwhile.
    fn end_the_rest(&mut self) {
        let Some(since) = self.ending.filter(|_| !self.is_over) else { return };
        let is_new = self.ended.is_some() && self.looked < since;
        if !is_new && self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let left = descendants::all();
        if since.elapsed() > GRACE {
            for process in &left {
                process.send(Kind::Kill);
            }
        }
        let cannot = since.elapsed() > END_LIMIT;
        if cannot && !left.is_empty() {
            log(&format!("{} processes of a run cannot be ended", left.len()));
        }
        self.is_over = cannot || (left.is_empty() && self.ended.is_some());
        if cannot {
            // Somebody else holds them open.
            self.outputs.iter_mut().for_each(|output| output.from = None);
        }
    }
}

fn kind(signal: Signal) -> Kind {
    match signal {
        Signal::Interrupt => Kind::Interrupt,
        Signal::Terminate => Kind::Terminate,
        Signal::Hangup => Kind::Hangup,
        Signal::Quit => Kind::Quit,
        Signal::User1 => Kind::User1,
        Signal::User2 => Kind::User2,
        Signal::Suspend => Kind::Suspend,
        Signal::Continue => Kind::Continue,
    }
}
