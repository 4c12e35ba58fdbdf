//! The parent's side: starts sessions in the background, hears how they come up, ends them.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::command_line;
use super::side_by_side::{self, side_by_side};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::helper::Device;
use crate::host::config::Transport;
use crate::host::paths::Paths;
use crate::session::elsewhere;
use crate::session::report::{Event, Facts, Report};
use crate::session::{control, limits, log};
use crate::sys::signal::{Kind as Signal, Signals};
use crate::sys::{bounded, child, process, signal};

const LOOK_EVERY: Duration = Duration::from_millis(50);
const LINE_BYTES: u64 = 16 * 1024;

/// How a `hop up` ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    /// It is usable now and was not before.
    Now(Facts),
    /// A session was there already.
    Already(Facts),
}

/// Starts a session in the background and returns when it is usable.
/// A signal stops it again and is `Fault::Interrupted`.
/// `transport` is for this session alone; without it that of the host file is.
pub fn start(
    paths: &Paths,
    name: &str,
    transport: Option<Transport>,
    report: &mut dyn Report,
) -> Result<Up, Failure> {
    let mut signals = catch().map_err(|error| start_trouble(name, &error))?;
    start_unless(paths, (name, transport), report, &mut || signals.take().is_some())
}

/// The same for several hosts side by side; `told` hears of each when it is done.
pub fn start_all(
    paths: &Paths,
    names: &[String],
    transport: Option<Transport>,
    mut told: impl FnMut(&str, Result<Up, Failure>),
) -> Result<(), Failure> {
    let all = names.join(" ");
    let mut signals = catch().map_err(|error| start_trouble(&all, &error))?;
    let stopped = AtomicBool::new(false);
    for group in names.chunks(side_by_side::AT_ONCE) {
        side_by_side(
            group,
            |name| {
                let stop = &mut || stopped.load(Ordering::Relaxed);
                start_unless(paths, (name, transport), &mut Silent, stop)
            },
            |name, outcome| {
                told(name, outcome.unwrap_or_else(|error| Err(start_trouble(name, &error))));
            },
            || {
                stopped.store(
                    signals.take().is_some() || stopped.load(Ordering::Relaxed),
                    Ordering::Relaxed,
                )
            },
        );
    }
    Ok(())
}

/// Ends the sessions of several hosts side by side. True = there was one.
pub fn stop_all(
    paths: &Paths,
    names: &[String],
    mut told: impl FnMut(&str, io::Result<bool>, Duration),
) {
    let began = Instant::now();
    let devices = OnceLock::new();
    for group in names.chunks(side_by_side::AT_ONCE) {
        let stop = |name: &str| stop(paths, name, &devices);
        side_by_side(group, stop, |name, o| told(name, o.and_then(|o| o), began.elapsed()), || {});
    }
}

/// Ends the session of a host, wherever it is. False when there is none.
pub fn down(paths: &Paths, name: &str) -> io::Result<bool> {
    stop(paths, name, &OnceLock::new())
}

/// The helper is asked at most once for all hosts.
fn stop(paths: &Paths, name: &str, devices: &OnceLock<Vec<Device>>) -> io::Result<bool> {
    // One that says nothing at once is stopped or hangs, and is ended as one that cannot be asked.
    match control::answers(paths, name).and_then(|is| Ok(is && control::down(paths, name)?)) {
        Ok(true) => return Ok(true),
        Err(error) if error.kind() != io::ErrorKind::TimedOut => return Err(error),
        _ => {}
    }
    let found = elsewhere::look_twice(paths, name, devices.get_or_init(elsewhere::devices));
    found.map_or(Ok(false), |found| found.end(paths, name).map(|()| true))
}

fn catch() -> io::Result<Signals> {
    Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
}

/// Starts a session unless there is one; `stop` is asked now and then.
fn start_unless(
    paths: &Paths,
    (name, transport): (&str, Option<Transport>),
    report: &mut dyn Report,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Up, Failure> {
    let end = Instant::now() + limits::OTHER;
    loop {
        if let Some(facts) = control::facts(paths, name) {
            return Ok(Up::Already(facts));
        }
        match start_one(paths, (name, transport), report, stop) {
            // Somebody else holds the lock: wait until that session is up or gone.
            Err(trouble) if trouble.fault == Fault::Held && Instant::now() < end => {
                thread::sleep(LOOK_EVERY);
                if stop() {
                    return Err(Failure { fault: Fault::Interrupted, ..trouble });
                }
            }
            other => {
                let other = other.map_err(|trouble| elsewhere::explain(paths, name, trouble));
                return other.map(Up::Now);
            }
        }
    }
}

fn start_one(
    paths: &Paths,
    (name, transport): (&str, Option<Transport>),
    report: &mut dyn Report,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Facts, Failure> {
    let (log_path, log_file) =
        log::open(paths, name).map_err(|error| log_trouble(paths, name, &error))?;
    if log_path != paths.log_file(name) {
        report.note(&format!("the log is {}", log_path.display()));
    }
    let mut command = command_line::command(paths, name, transport);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
    let mut child = process::in_new_session(&mut command)
        .spawn()
        .map_err(|error| start_trouble(name, &error))?;
    let Some(pipe) = child.stdout.take() else {
        return Err(start_trouble(name, &io::ErrorKind::BrokenPipe.into()));
    };
    listen(name, &mut child, pipe, report, stop, &log_path)
}

/// Passes on what the child tells until it is ready, in trouble, silent for too long, or stopped.
fn listen(
    name: &str,
    child: &mut Child,
    pipe: ChildStdout,
    report: &mut dyn Report,
    stop: &mut dyn FnMut() -> bool,
    log_path: &Path,
) -> Result<Facts, Failure> {
    let events = events_of(pipe).map_err(|error| start_trouble(name, &error))?;
    let mut end = Instant::now() + limits::READY;
    let mut stopping = false;
    loop {
        match events.recv_timeout(LOOK_EVERY) {
            Ok(Event::Step(text, took)) => report.step(&text, took),
            Ok(Event::Waits(text)) => report.waits(&text),
            Ok(Event::Note(text)) => report.note(&text),
            Ok(Event::Ready(facts)) => return Ok(facts),
            Ok(Event::Failed(trouble)) => {
                // It has undone everything and is ending: do not leave a zombie to a long parent.
                ended(child);
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
        if !stopping && stop() {
            stopping = true;
            end = Instant::now() + limits::STOP;
            report.waits("stopping");
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

/// For several starts side by side, whose steps would only be a muddle.
struct Silent;

impl Report for Silent {
    fn step(&mut self, _text: &str, _took: Duration) {}
    fn waits(&mut self, _text: &str) {}
    fn note(&mut self, _text: &str) {}
    fn ready(&mut self, _facts: &Facts) {}
}

fn log_trouble(paths: &Paths, name: &str, error: &io::Error) -> Failure {
    let path = paths.log_file(name);
    let what = format!("cannot open {}", path.display());
    Failure::new(Fault::Failed, what, error.to_string(), fix!("ls -la {}", path))
}

fn start_trouble(name: &str, error: &io::Error) -> Failure {
    let what = format!("cannot start the session of {name}");
    Failure::new(Fault::Failed, what, error.to_string(), fix!("hop up --foreground {}", name))
}

fn died(name: &str, child: &mut Child, log_path: &Path) -> Failure {
    let status = ended(child);
    let what = format!("the session of {name} ended without a word ({status})");
    let last = bounded::tail(log_path, LINE_BYTES).unwrap_or_default();
    let last = last.lines().last().unwrap_or("its log is empty").to_owned();
    Failure::new(Fault::Failed, what, last, fix!("cat {}", log_path))
}

/// How it ended. One that let go of its pipe and stays does not stay.
fn ended(child: &mut Child) -> String {
    match child::wait_for(child, limits::STOP) {
        Ok(Some(status)) => status.to_string(),
        Ok(None) => {
            let killed = process::kill_and_reap(child.id());
            killed.map_or_else(|error| error.to_string(), |()| "it had to be killed".to_owned())
        }
        Err(error) => error.to_string(),
    }
}

fn too_slow(name: &str, log_path: &Path) -> Failure {
    let what = format!("the session of {name} did not become usable");
    let why = format!("it said nothing for {} s and was ended", limits::READY.as_secs());
    Failure::new(Fault::Timeout, what, why, fix!("cat {}", log_path))
}
