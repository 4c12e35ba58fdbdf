//! `hop selftest`: laptop and VPS on this machine, in namespaces of their own, from the helper to
//! `hop down`.
//!
//! Two processes. The outer one makes PID, mount and network namespaces and starts the inner one
//! as their first process; when the outer one ends, however it ends, the kernel kills the inner
//! one and with it every process, mount, device and address of the test. So there is no clean-up
//! that could be missed. Reading order: this file → `machine` → `programs` → `course` → `load`.

mod course;
// Open to tests, which play other courses with the same machines.
pub mod files;
mod load;
pub mod machine;
pub mod programs;

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::command::{Call, Group, Takes};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::sys::namespace::{self, Space};
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind as Signal, Signals};
use crate::sys::{process, tun_node};

pub const COMMAND: super::command::Command = super::command::Command {
    name: "selftest",
    summary: "prove on this machine that everything works together",
    usage: "hop selftest",
    details: "Plays laptop and VPS in two network namespaces: helper, agent, tunnel, name,\n\
              ping, transfer, kill -9, clean-up. Takes a few seconds, touches nothing outside\n\
              its own namespaces and leaves nothing behind. Needs root or user namespaces.",
    example: "hop selftest",
    group: Group::Trouble,
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

pub const COMMAND_INSIDE: super::command::Command = super::command::Command {
    name: INSIDE,
    summary: "the self test inside its own namespaces",
    usage: "started by hop selftest",
    details: "",
    example: "",
    group: Group::Other,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Word,
    hidden: true,
    run: run_inside,
};

/// The hidden command that is the inner process.
pub const INSIDE: &str = "selftest-inside";
/// Its operand when a user namespace stands in for root.
const MAPPED: &str = "mapped";

/// Longest run. The steps have their own, shorter limits.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const NEXT: &str = "hop selftest -v";

/// The outer process: namespaces, the inner process, and passing on how it ended.
pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let programs = programs::find()?;
    let mut signals =
        Signals::catch(&[Signal::Child, Signal::Interrupt, Signal::Terminate, Signal::Hangup])
            .map_err(|error| broken("cannot listen for signals", &error))?;
    let mapped = enter()?;
    // The pipe's other end tells the inner process that this one lives.
    // By path, not by /proc/self/exe: that would lead through the old mount namespace, and inside a
    // chroot the new process could not tell its own path.
    let mut command = Command::new(&programs.hop);
    command.arg(INSIDE).args(mapped.then_some(MAPPED)).stdin(Stdio::piped());
    for flag in ["json", "quiet", "verbose", "no-color"] {
        command.args(call.args.has(flag).then(|| format!("--{flag}")));
    }
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

/// The inner process: first process of its PID namespace.
pub fn run_inside(call: &mut Call) -> Result<Code, Failure> {
    hold_on_to_parent().map_err(|error| broken("cannot watch the outer process", &error))?;
    let mapped = call.args.operands.first().is_some_and(|word| word == MAPPED);
    course::run(&mut call.out, mapped)
}

/// Ends this process when the outer one ends. Two ways, because a parent that died before the
/// first was set up is only noticed by the second.
fn hold_on_to_parent() -> io::Result<()> {
    process::die_with_parent()?;
    thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(Code::Interrupted as i32);
    })?;
    Ok(())
}

/// What every machine of the test shares: private mounts, our own /proc, a scratch directory,
/// and a TUN node where this machine has none.
fn prepare_mounts(scratch: &Path) -> Result<(), String> {
    let step = |what: &str, done: io::Result<()>| done.map_err(|error| format!("{what}: {error}"));
    step("make mounts private", namespace::make_private_recursive())?;
    // Refused inside some containers; the old one still shows /proc/self rightly.
    let _ = namespace::mount_proc(Path::new("/proc"));
    step("mount a scratch directory", namespace::mount_tmpfs(scratch, 0o755))?;
    let dev = scratch.join("dev");
    step("make a directory", fs::create_dir(&dev))?;
    step("make /dev/net/tun", tun_node::ensure(&dev))
}

fn broken(what: &str, error: &io::Error) -> Failure {
    Failure::new(Fault::Failed, what, error.to_string(), NEXT)
}
