//! A command on a host as if it ran here: its bytes to this terminal or these pipes and back, the
//! size of the terminal, signals, its end. The agent's side of this is `agent::work::run`.
//!
//! Bounds: a megabyte of each output waits for whoever reads it here, then the command waits; of
//! what is typed 64 KiB; a host that says nothing for 60 s is lost. No other limit of time.

pub mod screen;
mod writer;

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::screen::{Screen, Whose};
use self::writer::Writer;
use super::through::Watch;
use super::unread;
use crate::base::json::Fields;
use crate::rpc::client::{CallError, Client, refusal_in};
use crate::rpc::frames::{BEAT, Channel, Frame, IN_ROOM, Inbox, PIECE, SILENCE, Signal, put_data};
use crate::rpc::method::RunFollow;
use crate::rpc::types::Message;
use crate::rpc::types::run::{Ended, Run, RunNumber, Said, Terminal};
use crate::sys::poll::{self, Interest, Wake};
use crate::sys::signal::{self, Kind, Signals};
use crate::sys::terminal::{self, Raw};

const START_LIMIT: Duration = Duration::from_secs(10);
const QUEUE_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 64 * 1024;
/// A host that lives has said something by now: Ctrl-C is for us.
const NO_ANSWER: Duration = Duration::from_secs(11);
const CTRL_C: u8 = 3;
/// Less than a session waits for who uses it.
const GOODBYE: Duration = Duration::from_millis(500);
const NO_SIZE: (u16, u16) = (80, 24);

const SIGNALS: [(Kind, Signal); 6] = [
    (Kind::Interrupt, Signal::Interrupt),
    (Kind::Terminate, Signal::Terminate),
    (Kind::Hangup, Signal::Hangup),
    (Kind::Quit, Signal::Quit),
    (Kind::User1, Signal::User1),
    (Kind::User2, Signal::User2),
];

/// What is to be run.
pub struct Wanted {
    /// All but its terminal.
    pub run: Run,
    /// Whether it gets a terminal; else it does where there is one here.
    pub terminal: Option<bool>,
    /// The only host that it is for.
    pub host: Option<String>,
}

/// What became of it.
pub enum Outcome {
    Ended(Ended),
    /// The host did not start it, or lost it.
    Refused(CallError),
    /// The connection broke, which has ended it.
    Lost(String),
    /// The session ends (`hop down`), which has ended it.
    Down,
    /// Somebody here had enough of a host that says nothing.
    GivenUp,
}

/// Runs it, until it has ended, or `session` is readable, which begins to end then. An error says
/// that it was not started.
pub fn run(
    client: &Client,
    session: Option<UnixStream>,
    whose: &Whose,
    wanted: Wanted,
) -> Result<Outcome, CallError> {
    let here = |error: io::Error| CallError::Unreachable(error.to_string());
    let both = io::stdin().is_terminal() && io::stdout().is_terminal();
    let has_terminal = wanted.terminal.unwrap_or(both);
    let name = std::env::var("TERM").unwrap_or_default();
    let terminal = has_terminal.then(|| Terminal::new(&name, size().unwrap_or(NO_SIZE)));
    let run = Run { terminal, ..wanted.run };
    let mut kinds: Vec<Kind> = SIGNALS.iter().map(|(kind, _)| *kind).collect();
    kinds.extend([Kind::Suspend, Kind::Continue, Kind::Resized]);
    let signals = Signals::catch_heeded(&kinds).map_err(here)?;
    let (stream, first) = client.run(&run, START_LIMIT)?;
    let mut remote = Remote::new(stream, session, signals, whose, has_terminal).map_err(here)?;
    remote.inbox.add(&first);
    let outcome = remote.until_the_end();
    // What has come is written before anything is said of it.
    remote.outputs.into_iter().for_each(Writer::finish);
    Ok(outcome)
}

/// Shows what a run that goes on without us has said and says, until it ends.
pub fn follow(
    client: &Client,
    watch: &Watch,
    whose: &Whose,
    number: u32,
) -> Result<Outcome, CallError> {
    watch.until_unread();
    let mut events = client.open(RunFollow, &RunNumber { number }, START_LIMIT)?;
    let here = |error: io::Error| CallError::Unreachable(error.to_string());
    watch.attend(events.canceller().map_err(here)?);
    let own =
        |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| Screen::new(File::from(fd), whose));
    let mut out = own(io::stdout().as_fd()).map_err(here)?;
    let mut err = own(io::stderr().as_fd()).map_err(here)?;
    loop {
        let written = match events.next_event() {
            Ok(Some(Said::Out(bytes))) => out.write(&bytes),
            Ok(Some(Said::Err(bytes))) => err.write(&bytes),
            Ok(None) => break,
            Err(_) if watch.is_unread() => return Ok(Outcome::Ended(Ended::Code(0))),
            Err(_) if watch.is_over() => return Ok(Outcome::Down),
            Err(error @ CallError::Remote { .. }) => return Ok(Outcome::Refused(error)),
            Err(error) => return Ok(Outcome::Lost(error.to_string())),
        };
        // Who had enough of it ends the view, and not the run.
        if written.is_err() {
            return Ok(Outcome::Ended(Ended::Code(0)));
        }
    }
    out.end();
    err.end();
    let ended = events.result().and_then(|result| Ended::of(result).ok());
    let lost = || Outcome::Lost("its end cannot be read".to_owned());
    Ok(ended.map_or_else(lost, Outcome::Ended))
}

fn size() -> Option<(u16, u16)> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let all: [BorrowedFd<'_>; 3] = [stdout.as_fd(), stdin.as_fd(), stderr.as_fd()];
    all.into_iter().find_map(terminal::size)
}

/// A command that runs there, from here.
struct Remote {
    stream: TcpStream,
    session: Option<UnixStream>,
    is_down: bool,
    signals: Signals,
    inbox: Inbox,
    outbox: Vec<u8>,
    heard: Instant,
    said: Instant,
    stdin: Option<File>,
    room: usize,
    raw: Option<Raw>,
    has_terminal: bool,
    outputs: [Writer; 2],
    written: Arc<Wake>,
    /// Looked at for its reader's end, as the command there may do.
    stdout: Option<File>,
    given_up: bool,
}

impl Remote {
    fn new(
        stream: TcpStream,
        session: Option<UnixStream>,
        signals: Signals,
        whose: &Whose,
        has_terminal: bool,
    ) -> io::Result<Remote> {
        stream.set_nonblocking(true)?;
        let written = Arc::new(Wake::new()?);
        let writer = |fd: BorrowedFd<'_>, channel| {
            let to = Screen::new(File::from(fd.try_clone_to_owned()?), whose);
            Writer::start(to, channel, written.clone())
        };
        let outputs = [
            writer(io::stdout().as_fd(), Channel::Out)?,
            writer(io::stderr().as_fd(), Channel::Err)?,
        ];
        let stdin = io::stdin();
        let typed = has_terminal && stdin.is_terminal();
        let raw = typed.then(|| Raw::enter(stdin.as_fd())).transpose()?;
        let (heard, said) = (Instant::now(), Instant::now());
        let stdin = Some(File::from(stdin.as_fd().try_clone_to_owned()?));
        Ok(Remote {
            stream,
            session,
            is_down: false,
            signals,
            inbox: Inbox::default(),
            outbox: Vec::new(),
            heard,
            said,
            stdin,
            room: IN_ROOM as usize,
            raw,
            has_terminal,
            outputs,
            written,
            stdout: unread::output(),
            given_up: false,
        })
    }

    fn until_the_end(&mut self) -> Outcome {
        loop {
            match self.heed() {
                Err(why) => return Outcome::Lost(why),
                Ok(Some(end)) => return ended(&end),
                Ok(None) => {}
            }
            if self.given_up {
                return Outcome::GivenUp;
            }
            if let Err(error) = self.turn() {
                return Outcome::Lost(error.to_string());
            }
            if self.is_down {
                self.leave();
                return Outcome::Down;
            }
        }
    }

    /// The last that goes through the tunnel. What of it is lost on the way is sent anew only while
    /// there is one: so the session is kept waiting for a moment until the other side has heard.
    fn leave(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let (end, mut piece) = (Instant::now() + GOODBYE, [0; READ_BYTES]);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let waited = poll::wait_one(self.stream.as_fd(), Interest::READ, Some(left));
            match self.stream.read(&mut piece) {
                Ok(1..) => {}
                Err(error) if waited.is_ok() && later(&error) => {}
                Ok(0) | Err(_) => break,
            }
            if left.is_zero() {
                break;
            }
        }
        let _ = self.stream.shutdown(Shutdown::Both);
        self.session = None;
    }

    fn frame(&mut self, frame: &Frame) {
        frame.put(&mut self.outbox);
    }

    /// Waits for something, and sees to it.
    fn turn(&mut self) -> io::Result<()> {
        let wants = if self.outbox.is_empty() { Interest::READ } else { Interest::BOTH };
        let mut fds = vec![
            (self.stream.as_fd(), wants),
            (self.signals.as_fd(), Interest::READ),
            (self.written.as_fd(), Interest::READ),
        ];
        let at_session = fds.len();
        fds.extend(self.session.as_ref().map(|session| (session.as_fd(), Interest::READ)));
        let at_stdout = fds.len();
        fds.extend(self.stdout.as_ref().map(|stdout| (stdout.as_fd(), Interest::NONE)));
        let at_stdin = fds.len();
        let reads = self.room > 0 && self.outbox.len() < QUEUE_BYTES;
        let stdin = self.stdin.as_ref().filter(|_| reads);
        fds.extend(stdin.map(|stdin| (stdin.as_fd(), Interest::READ)));
        let mut ready = Vec::with_capacity(fds.len());
        poll::wait(&fds, &mut ready, Some(BEAT.saturating_sub(self.said.elapsed())))?;
        let is_ready = |n: usize| ready.get(n).is_some_and(|ready| ready.any());
        if is_ready(0) {
            self.hear()?;
        }
        if is_ready(1) {
            self.take_signals();
        }
        if is_ready(2) {
            self.give_room();
        }
        if is_ready(at_stdin) {
            self.read_input();
        }
        self.is_down = at_session < at_stdout && is_ready(at_session);
        if at_stdout < at_stdin && is_ready(at_stdout) {
            self.stdout = None;
            self.outputs.iter().filter(|it| it.channel == Channel::Out).for_each(Writer::unread);
        }
        if self.heard.elapsed() > SILENCE {
            let why = format!("it said nothing for {} s", SILENCE.as_secs());
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
        if self.said.elapsed() >= BEAT && self.outbox.is_empty() {
            self.frame(&Frame::Beat);
        }
        self.tell()
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut piece = [0; READ_BYTES];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "it was cut off")),
            Ok(read) => {
                self.heard = Instant::now();
                self.inbox.add(piece.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) if later(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn tell(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
            self.said = Instant::now();
        }
        Ok(())
    }

    /// What has come; the end of it all, when that has.
    fn heed(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let frame = self.inbox.take().map_err(|_| "what came is no frame".to_owned())?;
            match frame {
                None => return Ok(None),
                Some(Frame::End(end)) => return Ok(Some(end)),
                // It reads no more.
                Some(Frame::Data(Channel::In, _)) => self.stdin = None,
                Some(Frame::Data(channel, bytes)) => {
                    let to = self.outputs.iter().find(|output| output.channel == channel);
                    if to.is_some_and(|output| !output.add(bytes)) {
                        return Err("more came than there was room for".to_owned());
                    }
                }
                Some(Frame::Room(Channel::In, more)) => {
                    self.room = self.room.saturating_add(more as usize).min(IN_ROOM as usize);
                }
                Some(_) => {}
            }
        }
    }

    fn give_room(&mut self) {
        self.written.drain();
        for output in &mut self.outputs {
            let frame = match output.written() {
                Some(0) => continue,
                Some(more) => Frame::Room(output.channel, more),
                // Nobody reads it here: the command is to find out.
                None => Frame::Data(output.channel, Vec::new()),
            };
            frame.put(&mut self.outbox);
        }
    }

    fn read_input(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        let mut piece = [0; PIECE];
        let most = self.room.min(PIECE);
        match stdin.read(piece.get_mut(..most).unwrap_or_default()) {
            Ok(read @ 1..) => {
                let bytes = piece.get(..read).unwrap_or_default();
                let waits = self.heard.elapsed() > NO_ANSWER;
                self.given_up |= self.raw.is_some() && waits && bytes.contains(&CTRL_C);
                self.room -= read;
                put_data(Channel::In, bytes, &mut self.outbox);
            }
            Err(error) if later(&error) => {}
            // A terminal that is gone is an error.
            Ok(0) | Err(_) => {
                self.stdin = None;
                put_data(Channel::In, &[], &mut self.outbox);
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(kind) = self.signals.take() {
            match kind {
                Kind::Resized => self.tell_size(),
                Kind::Continue => self.come_back(),
                Kind::Suspend => self.stop(),
                _ => {
                    self.given_up |= self.heard.elapsed() > NO_ANSWER;
                    if let Some((_, signal)) = SIGNALS.iter().find(|(known, _)| *known == kind) {
                        self.frame(&Frame::Signal(*signal));
                    }
                }
            }
        }
    }

    fn tell_size(&mut self) {
        if let (true, Some((columns, rows))) = (self.has_terminal, size()) {
            self.frame(&Frame::Size(columns, rows));
        }
    }

    /// The command stops, too, and the terminal is the shell's.
    fn stop(&mut self) {
        self.frame(&Frame::Signal(Signal::Suspend));
        // If it does not go now, it goes later.
        let _ = self.tell();
        self.raw.iter().for_each(Raw::restore);
        signal::stop_here();
        self.frame(&Frame::Signal(Signal::Continue));
        self.come_back();
    }

    /// Whoever stopped us may have had the terminal, and time has passed.
    fn come_back(&mut self) {
        self.heard = Instant::now();
        let _ = self.raw.as_ref().map(Raw::again);
        self.tell_size();
    }
}

fn ended(json: &[u8]) -> Outcome {
    let read = || {
        let mut fields = Fields::parse(std::str::from_utf8(json).ok()?).ok()?;
        if let Some(mut error) = fields.opt_object("error").ok()? {
            return refusal_in(&mut error).ok().map(Outcome::Refused);
        }
        Ended::read(&mut fields).ok().map(Outcome::Ended)
    };
    read().unwrap_or_else(|| Outcome::Lost("its end cannot be read".to_owned()))
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
