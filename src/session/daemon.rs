//! The background process of a session, and what `hop up` hears of it.
//!
//! `hop up` starts this program again in a session of its own, with a pipe as its standard output
//! and the host's log file as its standard error; nothing else is inherited. The child reports its
//! steps through the pipe until it is usable or has failed, then lets go of it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::control;
use super::elsewhere::{self, Devices};
use super::journal::{self, log};
use super::report::{Event, Facts, Report};
use super::run::{self, End};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::paths::Paths;
use crate::sys::signal::{Kind as Signal, Signals};
use crate::sys::{bounded, child, process, signal};

/// The hidden first argument of a background session; the host's name follows, and where its file
/// is.
pub const SESSION_ARGUMENT: &str = "--session";

/// Longest wait for a session to become usable or to fail. The steps have their own, shorter
/// limits; this one is for a child that hangs.
const READY_LIMIT: Duration = Duration::from_secs(40);
/// Longest wait for a stopped session to undo everything.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for a session that somebody else is starting or ending.
const OTHER_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Hosts that are started or ended at the same time.
const SIDE_BY_SIDE: usize = 8;
const LINE_BYTES: u64 = 16 * 1024;

/// The first thing that a session does, before it could have read a key: a core dump or a debugger
/// of the same user would reveal it (R99).
pub fn hide() {
    if let Err(error) = process::keep_memory_private() {
        log(&format!("memory is not private: {error}"));
    }
}

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
    control::facts(paths, name).ok()?.and_then(Facts::from_json)
}

/// Starts a session in the background and returns when it is usable.
/// A signal stops it again and is `Fault::Interrupted`.
pub fn start(paths: &Paths, name: &str, report: &mut dyn Report) -> Result<Up, Failure> {
    let mut signals = catch().map_err(|error| start_trouble(name, &error))?;
    start_unless(paths, name, report, &mut || signals.take().is_some())
}

/// The same for several hosts side by side; `told` hears of each when it is done.
pub fn start_all(
    paths: &Paths,
    names: &[String],
    mut told: impl FnMut(&str, Result<Up, Failure>),
) -> Result<(), Failure> {
    let all = names.join(" ");
    let mut signals = catch().map_err(|error| start_trouble(&all, &error))?;
    let stopped = AtomicBool::new(false);
    for group in names.chunks(SIDE_BY_SIDE) {
        side_by_side(
            group,
            |name| start_unless(paths, name, &mut Silent, &mut || stopped.load(Ordering::Relaxed)),
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
    for group in names.chunks(SIDE_BY_SIDE) {
        let stop = |name: &str| stop(paths, name, &devices);
        side_by_side(group, stop, |name, o| told(name, o.and_then(|o| o), began.elapsed()), || {});
    }
}

/// Ends the session of a host, wherever it is. False when there is none.
pub fn down(paths: &Paths, name: &str) -> io::Result<bool> {
    stop(paths, name, &OnceLock::new())
}

/// The helper is asked at most once for all hosts.
fn stop(paths: &Paths, name: &str, devices: &OnceLock<Devices>) -> io::Result<bool> {
    if control::down(paths, name)? {
        return Ok(true);
    }
    let found = elsewhere::look(paths, name, devices.get_or_init(elsewhere::devices));
    found.map_or(Ok(false), |found| found.end(paths, name).map(|()| true))
}

/// Runs `work` for each name in a thread of its own. `told` hears every outcome, an error when
/// there was no thread to be had; `meanwhile` is called now and then while they run.
fn side_by_side<T: Send>(
    names: &[String],
    work: impl Fn(&str) -> T + Sync,
    mut told: impl FnMut(&str, io::Result<T>),
    mut meanwhile: impl FnMut(),
) {
    thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        for name in names {
            let (send, work) = (send.clone(), &work);
            let job = move || drop(send.send((name, work(name))));
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, job) {
                told(name, Err(error));
            }
        }
        drop(send);
        loop {
            match receive.recv_timeout(LOOK_EVERY) {
                Ok((name, outcome)) => told(name, Ok(outcome)),
                Err(RecvTimeoutError::Timeout) => meanwhile(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

fn catch() -> io::Result<Signals> {
    Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
}

/// Starts a session unless there is one; `stop` is asked now and then.
fn start_unless(
    paths: &Paths,
    name: &str,
    report: &mut dyn Report,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Up, Failure> {
    let end = Instant::now() + OTHER_LIMIT;
    loop {
        if let Some(facts) = facts(paths, name) {
            return Ok(Up::Already(facts));
        }
        match start_one(paths, name, report, stop) {
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
    name: &str,
    report: &mut dyn Report,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Facts, Failure> {
    let (log_path, log_file) =
        journal::open(paths, name).map_err(|error| log_trouble(paths, name, &error))?;
    if log_path != paths.log_file(name) {
        report.note(&format!("the log is {}", log_path.display()));
    }
    let mut command = Command::new("/proc/self/exe");
    // What ps(1) shows. The directory is not read: by it `elsewhere` tells the session of this
    // host file from that of another one with the same name.
    command.arg0("hop").arg(SESSION_ARGUMENT).arg(name).arg(paths.hosts_dir()).current_dir("/");
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
    let mut end = Instant::now() + READY_LIMIT;
    let mut stopping = false;
    loop {
        match events.recv_timeout(LOOK_EVERY) {
            Ok(Event::Step(text, took)) => report.step(&text, took),
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
    if let Err(error) = process::close_inherited() {
        log(&format!("cannot close inherited descriptors: {error}"));
        return false;
    }
    process::set_umask(0o077);
    let paths = Paths::from_env();
    if let Some(error) = paths.as_ref().ok().and_then(|paths| journal::keep(paths, name).err()) {
        log(&format!("the log will not be kept short: {error}"));
    }
    let mut pipe = PipeReport { pipe: Some(io::stdout()) };
    log(&format!("session of {name} begins, version {}", crate::rpc::VERSION));
    let outcome = paths.and_then(|paths| run::run(&paths, name, &mut pipe));
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
            pipe.tell(&Event::Failed(trouble));
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
        log(&format!("{text} ({})", crate::base::time_text::took(took)));
        self.tell(&Event::Step(text.to_owned(), took));
    }

    fn note(&mut self, text: &str) {
        log(text);
        self.tell(&Event::Note(text.to_owned()));
    }

    fn ready(&mut self, facts: &Facts) {
        log(&format!("usable after {}", crate::base::time_text::took(facts.total)));
        self.tell(&Event::Ready(facts.clone()));
        self.pipe = None;
        if let Err(error) = process::stdout_to_null() {
            log(&format!("cannot let go of standard output: {error}"));
        }
    }
}

/// For several starts side by side, whose steps would only be a muddle.
struct Silent;

impl Report for Silent {
    fn step(&mut self, _text: &str, _took: Duration) {}
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
    match child::wait_for(child, STOP_LIMIT) {
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
    let why = format!("it said nothing for {} s and was ended", READY_LIMIT.as_secs());
    Failure::new(Fault::Timeout, what, why, fix!("cat {}", log_path))
}
