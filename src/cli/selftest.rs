//! `hop selftest`: becomes `hop-selftest`, which plays laptop and VPS on this machine. What makes
//! namespaces is no part of `hop`.

use std::os::unix::process::CommandExt;
use std::process::Command as Process;

use super::command::{Call, Command, Group, TELLING, Takes};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::own_program;
use crate::fix;

pub const COMMAND: Command = Command {
    name: "selftest",
    summary: "prove on this machine that everything works together",
    usage: "hop selftest",
    details: DETAILS,
    example: "hop selftest",
    group: Group::Trouble,
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

#[cfg(target_os = "linux")]
const DETAILS: &str = "Plays laptop and VPS in two network namespaces: helper, agent, tunnel, name,\n\
    ping, transfer, kill -9, clean-up. Takes a few seconds, touches nothing outside\n\
    its own namespaces and leaves nothing behind. Needs root or user namespaces.";
#[cfg(not(target_os = "linux"))]
const DETAILS: &str = "Plays laptop and VPS in two network namespaces. Only Linux has those.";

fn run(call: &mut Call) -> Result<Code, Failure> {
    if cfg!(target_os = "macos") {
        let why = "it plays two machines in network namespaces, which macOS does not have";
        return Err(Failure::new(Fault::Failed, "no self test on macOS", why, "hop help"));
    }
    // By its path, and not as whatever runs: the test starts it once more, and inside a chroot.
    let hop = own_program::own()?;
    let program = own_program::find_for(&hop, "hop-selftest")?;
    let mut command = Process::new(&program);
    command.arg(hop).arg("outside");
    for flag in TELLING.iter().filter(|flag| call.args.has(flag)) {
        command.arg(format!("--{flag}"));
    }
    let error = command.exec();
    let what = format!("cannot run {}", program.display());
    Err(Failure::new(Fault::Failed, what, error.to_string(), fix!("ls -l {}", program)))
}
