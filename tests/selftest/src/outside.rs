//! The outer process: makes the namespaces, starts the inner process in them, and passes on how it
//! ended.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hopbox::base::exit::Code;
use hopbox::base::failure::{Failure, Fault};
use hopbox::sys::poll::{self, Interest};
use hopbox::sys::process;
use hopbox::sys::signal::{Kind as Signal, Signals};

use crate::broken::{NEXT, broken};
use crate::programs;
use crate::sys::namespace::{self, Space};

/// Longest run. The steps have their own, shorter limits.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Namespaces, the inner process, and passing on how it ended. `inner` is its command line, with
/// whether it is in a user namespace.
pub fn run(hop: &Path, inner: impl FnOnce(bool) -> Command) -> Result<Code, Failure> {
    // Said before anything is made.
    programs::check(hop)?;
    let mut signals =
        Signals::catch(&[Signal::Child, Signal::Interrupt, Signal::Terminate, Signal::Hangup])
            .map_err(|error| broken("cannot listen for signals", &error))?;
    let mut command = inner(enter()?);
    // The pipe's other end tells the inner process that this one lives.
    command.stdin(Stdio::piped());
    let mut child =
        command.spawn().map_err(|error| broken("cannot start the inner process", &error))?;
    let ended = wait(&mut child, &mut signals);
    match ended.map_err(|error| broken("cannot wait for the inner process", &error))? {
        Ended::Stopped => Ok(Code::Interrupted),
        Ended::TooSlow => {
            let why = format!("it did not finish within {} s and was ended", LIMIT.as_secs());
            Err(Failure::new(Fault::Timeout, "the self test hung", why, NEXT))
        }
        // It has said what failed.
        Ended::Itself(status) if status.code() == Some(Code::Failed as i32) => Ok(Code::Failed),
        Ended::Itself(status) if status.success() => Ok(Code::Done),
        Ended::Itself(status) => {
            Err(Failure::new(Fault::Failed, "the self test broke", status.to_string(), NEXT))
        }
    }
}

enum Ended {
    Itself(ExitStatus),
    Stopped,
    TooSlow,
}

fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<Ended> {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        let mut stopped = None;
        while let Some(signal) = signals.take() {
            stopped = stopped.or((signal != Signal::Child).then_some(Ended::Stopped));
        }
        if Instant::now() > end {
            stopped = Some(Ended::TooSlow);
        }
        if let Some(ended) = stopped {
            // Takes everything in the namespaces with it; the wait is for its end to be complete.
            child.kill()?;
            child.wait()?;
            return Ok(ended);
        }
        poll::wait_one(signals.as_fd(), Interest::READ, Some(LOOK_EVERY))?;
    }
}

/// Makes the namespaces; true when that took a user namespace. From here on this process cannot
/// start threads: its children live in another PID namespace than itself.
fn enter() -> Result<bool, Failure> {
    let spaces = [Space::Pid, Space::Mount, Space::Net];
    if process::is_root() {
        return match namespace::unshare(&spaces) {
            Ok(()) => Ok(false),
            Err(error) => Err(broken("cannot make namespaces", &error)),
        };
    }
    let (uid, gid) = (process::uid(), process::gid());
    let mapped = namespace::unshare(&[Space::User])
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {uid} 1\n")))
        .and_then(|()| fs::write("/proc/self/setgroups", "deny\n"))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {gid} 1\n")))
        .and_then(|()| namespace::unshare(&spaces));
    match mapped {
        Ok(()) => Ok(true),
        Err(error) => {
            let why = format!("this user is not root and may not make user namespaces: {error}");
            let what = "the self test needs two machines of its own";
            Err(Failure::new(Fault::Failed, what, why, "sudo hop selftest"))
        }
    }
}
