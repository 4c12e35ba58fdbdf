//! The one way to run another program and hear what it says: with a limit to its time and to what
//! it may say, whatever it does. One that exceeds a limit is ended, with its process group where
//! it has one of its own; so are those that it leaves behind.
//!
//! One thread, and none is made. What the limits of a program are is for its caller to say.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::poll::{self, Interest};
use super::signal::Kind;
use super::{interrupt, open_files, process};

/// How long a program has to end when it is asked to, and then again when it is killed: one of
/// root's cannot be.
const END_LIMIT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PIECE: usize = 64 * 1024;
/// Pieces between two looks whether it has ended.
const HEARD_AT_END: usize = 64;
/// Of what is read and not kept.
const FORGOTTEN: usize = 16 * 1024 * 1024;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub time: Duration,
    /// For each of its two outputs.
    pub bytes: usize,
}

impl Limits {
    /// For a program that has little to say.
    pub const fn brief(seconds: u64) -> Limits {
        Limits { time: Duration::from_secs(seconds), bytes: 64 * 1024 }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
    /// It could not be started.
    Start(io::Error),
    /// It did not end in this time.
    Slow(Duration),
    /// It said more than this.
    Loud(usize),
    /// It, or what it was to read, was lost.
    Lost(io::Error),
    /// Somebody wants this program to end, which was waiting for it.
    Stopped,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Start(error) | Broken::Lost(error) => error.fmt(out),
            Broken::Slow(limit) => write!(out, "it took longer than {} s", limit.as_secs()),
            Broken::Loud(limit) => write!(out, "it said more than {limit} bytes"),
            Broken::Stopped => out.write_str("it was stopped"),
        }
    }
}

/// What a program did and said.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last line of what it complained, for a failure's "why".
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.map_or_else(|| format!("it ended with {}", self.status), str::to_owned)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// What a program reads.
pub enum Input<'a> {
    Nothing,
    From(&'a mut dyn Read),
    /// The user's terminal. Only then it is in the group that may use it, which is not its own.
    Terminal,
}

/// Runs a program that reads nothing.
pub fn run(command: &mut Command, limits: Limits) -> Result<Done, Broken> {
    talk(command, Input::Nothing, &mut |_, _| {}, limits)
}

/// The same with any input; `hear` gets what it says as it comes.
pub fn talk(
    command: &mut Command,
    input: Input<'_>,
    hear: &mut dyn FnMut(Stream, &[u8]),
    limits: Limits,
) -> Result<Done, Broken> {
    let terminal = matches!(input, Input::Terminal);
    let mut nothing = io::empty();
    let input: &mut dyn Read = match input {
        Input::From(input) => input,
        Input::Nothing | Input::Terminal => &mut nothing,
    };
    Talk::start(command, terminal, limits)?.finish(input, hear)
}

/// The same, of which no more than `limits.bytes` of each output is kept; what it says beyond that
/// is read and forgotten, up to a bound that only a flood comes to.
pub fn run_wordy(command: &mut Command, limits: Limits) -> Result<Done, Broken> {
    let mut talk = Talk::start(command, false, limits)?;
    talk.forgets = FORGOTTEN;
    talk.finish(&mut io::empty(), &mut |_, _| {})
}

/// Starts a program that may stay, such as an editor, with the outputs that the command has. Its
/// status if it ends within `time`; else it is left alone, also by the end of this process.
pub fn launch(command: &mut Command, time: Duration) -> io::Result<Option<ExitStatus>> {
    let mut child = open_files::as_given(command).stdin(Stdio::null()).process_group(0).spawn()?;
    wait_for(&mut child, time)
}

/// The status of a program that ends within `time`.
pub fn wait_for(child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + time;
    loop {
        match child.try_wait()? {
            None if Instant::now() < end => thread::sleep(LOOK_EVERY),
            ended => return Ok(ended),
        }
    }
}

/// Lets a program that writes to files write no file that is longer.
pub fn limit_files(command: &mut Command, bytes: u64) -> &mut Command {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    let set = move || {
        // SAFETY: setrlimit(2) is async-signal-safe; the limit is the closure's own.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure allocates nothing and calls only what is said above.
    unsafe { command.pre_exec(set) }
}

/// A program that runs. Ends with the value, and with the thread that started it.
pub struct Talk {
    child: Child,
    /// In a group of its own.
    apart: bool,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// Read, but not yet taken by the program.
    owed: Vec<u8>,
    done: (Vec<u8>, Vec<u8>),
    limits: Limits,
    /// Bytes beyond the limit that may be said, and are not kept.
    forgets: usize,
    /// How it is asked to end where that is wanted sooner, and how long it has for it.
    ending: (Signal, Duration),
    end: Instant,
    reaped: bool,
}

impl Talk {
    pub fn start(command: &mut Command, terminal: bool, limits: Limits) -> Result<Talk, Broken> {
        // Where its end cannot be tied to ours, it hears the terminal's Ctrl-C only in our group.
        let apart = !terminal && cfg!(target_os = "linux");
        if apart {
            command.process_group(0);
        }
        command.stdin(if terminal { Stdio::inherit() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = open_files::as_given(process::dying_with_parent(command)).spawn();
        let mut child = started.map_err(Broken::Start)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let end = Instant::now() + limits.time;
        let (owed, done) = (Vec::new(), (Vec::new(), Vec::new()));
        let (forgets, ending, reaped) = (0, (Signal::SIGTERM, END_LIMIT), false);
        let talk = Talk {
            child,
            apart,
            stdin,
            stdout,
            stderr,
            owed,
            done,
            limits,
            forgets,
            ending,
            end,
            reaped,
        };
        let ours = [
            talk.stdin.as_ref().map(AsFd::as_fd),
            talk.stdout.as_ref().map(AsFd::as_fd),
            talk.stderr.as_ref().map(AsFd::as_fd),
        ];
        ours.into_iter().flatten().try_for_each(without_waiting).map_err(Broken::Lost)?;
        Ok(talk)
    }

    /// Until it has ended.
    pub fn finish(
        mut self,
        input: &mut dyn Read,
        hear: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Done, Broken> {
        let status = loop {
            if let Some(status) = self.step(Some(input), hear)? {
                break status;
            }
        };
        let (stdout, stderr) = std::mem::take(&mut self.done);
        Ok(Done { status, stdout, stderr })
    }

    /// Waits a moment for whatever happens, and sees to it. Its status when it has ended. Without
    /// `input` it is left to wait for some.
    pub fn step(
        &mut self,
        input: Option<&mut dyn Read>,
        hear: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Option<ExitStatus>, Broken> {
        let stepped = self.try_step(input, hear);
        if stepped.is_err() {
            self.stop();
        }
        stepped
    }

    /// Hears what there is to hear, without waiting.
    pub fn look(&mut self) -> Result<(), Broken> {
        while !self.reaped && self.hear(&mut |_, _| {})? {}
        Ok(())
    }

    fn try_step(
        &mut self,
        input: Option<&mut dyn Read>,
        hear: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Option<ExitStatus>, Broken> {
        let ended = self.has_ended().map_err(Broken::Lost)?;
        if !ended {
            if interrupt::is_due() {
                return Err(Broken::Stopped);
            }
            if Instant::now() >= self.end {
                return Err(Broken::Slow(self.limits.time));
            }
            self.wait(input.is_some()).map_err(Broken::Lost)?;
        }
        if let Some(input) = input {
            self.give(input).map_err(Broken::Lost)?;
        }
        // What it said before it ended is in the pipes; others that hold them are not waited for.
        while self.hear(hear)? && ended {}
        if ended { self.reap().map(Some).map_err(Broken::Lost) } else { Ok(None) }
    }

    /// Until something can be read or given, but not for long: an end is not seen here.
    fn wait(&self, gives: bool) -> io::Result<()> {
        let stdin = self.stdin.as_ref().filter(|_| gives).map(|fd| (fd.as_fd(), Interest::WRITE));
        let stdout = self.stdout.as_ref().map(|fd| (fd.as_fd(), Interest::READ));
        let stderr = self.stderr.as_ref().map(|fd| (fd.as_fd(), Interest::READ));
        let fds: Vec<_> = [stdin, stdout, stderr].into_iter().flatten().collect();
        poll::wait(&fds, &mut Vec::new(), Some(LOOK_EVERY)).map(drop)
    }

    /// As much as it takes now. One that reads no more is judged by its status.
    fn give(&mut self, input: &mut dyn Read) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        if self.owed.is_empty() {
            self.owed.resize(PIECE, 0);
            let count = input.read(&mut self.owed)?;
            self.owed.truncate(count);
        }
        match stdin.write(&self.owed) {
            Ok(_) if self.owed.is_empty() => self.stdin = None,
            Ok(count) => drop(self.owed.drain(..count)),
            Err(error) if later(&error) => {}
            Err(_) => self.stdin = None,
        }
        Ok(())
    }

    /// A piece of each output; true if there was one.
    fn hear(&mut self, hear: &mut dyn FnMut(Stream, &[u8])) -> Result<bool, Broken> {
        let most = (self.limits.bytes, &mut self.forgets);
        let out =
            drain(&mut self.stdout, &mut self.done.0, most, &mut |said| hear(Stream::Out, said));
        let most = (self.limits.bytes, &mut self.forgets);
        let err =
            drain(&mut self.stderr, &mut self.done.1, most, &mut |said| hear(Stream::Err, said));
        Ok(out? | err?)
    }

    /// What it has said so far on its standard output.
    pub fn said(&self) -> &[u8] {
        &self.done.0
    }

    /// And on its standard error.
    pub fn complained(&self) -> &[u8] {
        &self.done.1
    }

    /// All that it says is heard, however much that is, and no more is kept than `limits.bytes`.
    pub fn hear_all(&mut self) {
        self.forgets = usize::MAX;
    }

    /// Where it has to end sooner it hears this, and has so long before it is killed.
    pub fn end_by(&mut self, signal: Kind, patience: Duration) {
        self.ending = (signal.signal(), patience);
    }

    /// From now on it has this long.
    pub fn allow(&mut self, time: Duration) {
        self.limits.time = time;
        self.end = Instant::now() + time;
    }

    /// What it reads and says is the caller's business from now on, and none of this value's.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        Some((self.stdin.take()?, self.stdout.take()?, self.stderr.take()?))
    }

    /// Its status, if it ends in this time; what it leaves behind in its group is ended then.
    pub fn status_within(&mut self, time: Duration) -> Option<ExitStatus> {
        if self.ends_within(time) { self.reap().ok() } else { None }
    }

    /// Whether it ends in this time.
    pub fn ends_within(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            match self.has_ended() {
                Ok(false) if Instant::now() < end => thread::sleep(LOOK_EVERY),
                ended => return !matches!(ended, Ok(false)),
            }
        }
    }

    /// Its process stays until it is reaped, so that its number, which is its group's, means no
    /// other.
    fn has_ended(&self) -> io::Result<bool> {
        // SAFETY: a record of plain numbers, for which all zeros are valid.
        let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the record is writable for the call; the rest are numbers.
        match unsafe { libc::waitid(libc::P_PID, self.child.id(), &raw mut found, how) } {
            // SAFETY: waitid(2) has filled in the record, or left its zeros.
            0 => Ok(unsafe { found.si_pid() } != 0),
            _ => match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().filter(|pid| *pid > 1 && !self.reaped);
        let _ = match pid.map(Pid::from_raw) {
            Some(pid) if self.apart => killpg(pid, signal),
            Some(pid) => kill(pid, signal),
            None => Ok(()),
        };
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        let end = Instant::now() + END_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.reaped = true;
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(ErrorKind::TimedOut.into());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// ssh may have put the user's terminal into another mode, and puts it back when it is asked
    /// to end.
    fn stop(&mut self) {
        if self.reaped {
            return;
        }
        let (signal, patience) = self.ending;
        self.signal(signal);
        // It may have something to say before, and waits for who reads it.
        let end = Instant::now() + patience;
        while !self.ends_within(LOOK_EVERY) && Instant::now() < end {
            let mut is_heard = || self.hear(&mut |_, _| {}).unwrap_or(false);
            for _ in 0..HEARD_AT_END {
                if !is_heard() {
                    break;
                }
            }
        }
        let _ = self.reap();
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.stop();
    }
}

fn drain(
    from: &mut Option<impl Read>,
    kept: &mut Vec<u8>,
    (most, forgets): (usize, &mut usize),
    hear: &mut dyn FnMut(&[u8]),
) -> Result<bool, Broken> {
    let Some(pipe) = from else { return Ok(false) };
    let mut piece = [0; 4096];
    match pipe.read(&mut piece) {
        Err(error) if later(&error) => Ok(false),
        Ok(count @ 1..) => {
            let said = piece.get(..count).unwrap_or_default();
            let room = said.len().min(most.saturating_sub(kept.len()));
            let (keep, more) = said.split_at_checked(room).unwrap_or_default();
            if *forgets < usize::MAX {
                *forgets = forgets.checked_sub(more.len()).ok_or(Broken::Loud(most))?;
            }
            hear(said);
            kept.extend_from_slice(keep);
            Ok(true)
        }
        Ok(0) | Err(_) => {
            *from = None;
            Ok(false)
        }
    }
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Our end of a pipe only: the other end is another open file.
fn without_waiting(pipe: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only; the descriptor is open, as it is borrowed.
    let set = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
