//! The background process of a session, and what `hop up` hears of it.
//!
//! `hop up` starts this program again in a session of its own, with a pipe as its standard output
//! and the host's log file as its standard error; nothing else is inherited. The child reports its
//! steps through the pipe until it is usable or has failed, then lets go of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::report::{Event, Facts, Report, log};
use super::run::{self, End};
use super::{Kind, Trouble, control};
use crate::host::HostError;
use crate::host::paths::Paths;
use crate::sys::poll::Interest;
use crate::sys::signal::{Kind as Signal, Signals};
use crate::sys::{life, poll, proc, signal};

/// The hidden first argument of a background session; the host's name follows.
pub const SESSION_ARGUMENT: &str = "--session";

/// Longest wait for a session to become usable or to fail. The steps have their own, shorter
/// limits; this one is for a child that hangs.
const READY_LIMIT: Duration = Duration::from_secs(40);
/// Longest wait for a stopped session to undo everything.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for a session that somebody else is starting or ending.
const OTHER_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOG_BYTES: u64 = 1024 * 1024;
const LINE_BYTES: u64 = 16 * 1024;

/// How a `hop up` ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    /// It is usable now and was not before.
    Now(Facts),
    /// A session was there already.
    Already(Facts),
}

/// The facts of a live session; `None` when there is none or it is not usable yet.
pub fn facts(paths: &Paths, name: &str) -> Option<Facts> {
    control::facts(&paths.socket(name)).ok()?.and_then(Facts::from_json)
}

/// Starts a session in the background and returns when it is usable.
/// A signal stops it again and is `Kind::Interrupted`.
pub fn start(paths: &Paths, name: &str, report: &mut dyn Report) -> Result<Up, Trouble> {
    let end = Instant::now() + OTHER_LIMIT;
    let mut signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
        .map_err(|error| start_trouble(name, &error))?;
    loop {
        if let Some(facts) = facts(paths, name) {
            return Ok(Up::Already(facts));
        }
        match start_one(paths, name, report, &mut signals) {
            // Somebody else holds the lock: wait until that session is up or gone.
            Err(trouble) if trouble.kind == Kind::Busy && Instant::now() < end => {
                let _ = poll::wait_one(signals_fd(&signals), Interest::READ, Some(LOOK_EVERY));
                if signals.take().is_some() {
                    return Err(Trouble { kind: Kind::Interrupted, ..trouble });
                }
            }
            other => return other.map(Up::Now),
        }
    }
}

fn signals_fd(signals: &Signals) -> std::os::fd::BorrowedFd<'_> {
    use std::os::fd::AsFd;
    signals.as_fd()
}

fn start_one(
    paths: &Paths,
    name: &str,
    report: &mut dyn Report,
    signals: &mut Signals,
) -> Result<Facts, Trouble> {
    paths.ensure_state()?;
    let log_path = paths.log_file(name);
    let log_file = open_log(&log_path)?;
    let mut command = Command::new("/proc/self/exe");
    // What ps(1) shows.
    command.arg0("hop").arg(SESSION_ARGUMENT).arg(name).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
    let mut child =
        proc::in_new_session(&mut command).spawn().map_err(|error| start_trouble(name, &error))?;
    let Some(pipe) = child.stdout.take() else {
        return Err(start_trouble(name, &io::ErrorKind::BrokenPipe.into()));
    };
    listen(name, &mut child, pipe, report, signals, &log_path)
}

/// Passes on what the child tells until it is ready, in trouble, silent for too long, or stopped.
fn listen(
    name: &str,
    child: &mut Child,
    pipe: ChildStdout,
    report: &mut dyn Report,
    signals: &mut Signals,
    log_path: &Path,
) -> Result<Facts, Trouble> {
    let events = events_of(pipe).map_err(|error| start_trouble(name, &error))?;
    let mut end = Instant::now() + READY_LIMIT;
    let mut stopping = false;
    loop {
        match events.recv_timeout(LOOK_EVERY) {
            Ok(Event::Step(text, took)) => report.step(&text, took),
            Ok(Event::Note(text)) => report.note(&text),
            Ok(Event::Ready(facts)) => return Ok(facts),
            Ok(Event::Trouble(trouble)) => {
                // It has undone everything and is ending: do not leave a zombie to a long parent.
                let _ = child.wait();
                return Err(trouble);
            }
            Err(RecvTimeoutError::Disconnected) => return Err(died(name, child, log_path)),
            Err(RecvTimeoutError::Timeout) if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(too_slow(name, log_path));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if signals.take().is_some() && !stopping {
            stopping = true;
            end = Instant::now() + STOP_LIMIT;
            report.note("stopping");
            let _ = signal::send(child.id(), Signal::Terminate);
        }
    }
}

/// The child's events, read by a thread that ends with the pipe.
fn events_of(pipe: ChildStdout) -> io::Result<mpsc::Receiver<Event>> {
    let (send, receive) = mpsc::channel();
    thread::Builder::new().name("progress".to_owned()).spawn(move || {
        let mut lines = BufReader::new(pipe);
        loop {
            let mut line = String::new();
            match (&mut lines).take(LINE_BYTES).read_line(&mut line) {
                Ok(read) if read > 0 => {}
                _ => return,
            }
            // A line we do not know may come from a newer program: it is no reason to fail.
            if let Some(event) = Event::from_line(&line) {
                if send.send(event).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(receive)
}

/// What the background process does: everything, from the closed descriptors to the last log line.
/// Returns whether it ended as it should.
pub fn session(name: &str) -> bool {
    // Before anything is opened: descriptors of whoever ran `hop up` must not live on here.
    if let Err(error) = life::close_inherited() {
        log(&format!("cannot close inherited descriptors: {error}"));
        return false;
    }
    proc::set_umask(0o077);
    let mut pipe = PipeReport { pipe: Some(io::stdout()) };
    log(&format!("session of {name} begins, version {}", crate::rpc::VERSION));
    // A core dump or a debugger of the same user would reveal the private key (R99).
    if let Err(error) = proc::keep_memory_private() {
        log(&format!("memory is not private: {error}"));
    }
    let outcome = Paths::from_env()
        .map_err(Trouble::from)
        .and_then(|paths| run::run(&paths, name, &mut pipe));
    match outcome {
        Ok(End::Asked) => {
            log("session ends as asked");
            true
        }
        Ok(End::Lost(why)) => {
            log(&format!("session ends: {why}; interface, route and name are removed"));
            false
        }
        Err(trouble) => {
            log(&format!("session ends: {}: {}", trouble.what, trouble.why));
            pipe.tell(&Event::Trouble(trouble));
            false
        }
    }
}

/// Sends events to the `hop up` that waits, and to the log. A reader that is gone changes nothing.
struct PipeReport {
    pipe: Option<io::Stdout>,
}

impl PipeReport {
    fn tell(&mut self, event: &Event) {
        let Some(pipe) = &mut self.pipe else { return };
        let told = pipe.write_all(event.to_line().as_bytes()).and_then(|()| pipe.flush());
        if told.is_err() {
            self.pipe = None;
        }
    }
}

impl Report for PipeReport {
    fn step(&mut self, text: &str, took: Duration) {
        log(&format!("{text} ({})", super::report::took(took)));
        self.tell(&Event::Step(text.to_owned(), took));
    }

    fn note(&mut self, text: &str) {
        log(text);
        self.tell(&Event::Note(text.to_owned()));
    }

    fn ready(&mut self, facts: &Facts) {
        log(&format!("usable after {}", super::report::took(facts.total)));
        self.tell(&Event::Ready(facts.clone()));
        self.pipe = None;
        if let Err(error) = life::stdout_to_null() {
            log(&format!("cannot let go of standard output: {error}"));
        }
    }
}

fn open_log(path: &Path) -> Result<File, HostError> {
    let fail = |error: io::Error| HostError::io("open", path, &error);
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES) {
        fs::rename(path, path.with_extension("log.1")).map_err(fail)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(fail)
}

fn start_trouble(name: &str, error: &io::Error) -> Trouble {
    let what = format!("cannot start the session of {name}");
    Trouble::new(Kind::Failed, what, error.to_string(), format!("hop up --foreground {name}"))
}

fn died(name: &str, child: &mut Child, log_path: &Path) -> Trouble {
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let what = format!("the session of {name} ended without a word ({status})");
    let last = fs::read_to_string(log_path).unwrap_or_default();
    let last = last.lines().last().unwrap_or("its log is empty").to_owned();
    Trouble::new(Kind::Failed, what, last, format!("cat {}", log_path.display()))
}

fn too_slow(name: &str, log_path: &Path) -> Trouble {
    let what = format!("the session of {name} did not become usable");
    let why = format!("it said nothing for {} s and was ended", READY_LIMIT.as_secs());
    Trouble::new(Kind::Timeout, what, why, format!("cat {}", log_path.display()))
}
