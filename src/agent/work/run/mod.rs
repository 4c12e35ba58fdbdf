//! Commands that are run for a laptop. Each has a process of its own that attends to it
//! (`hop-agent attend`), talks with `front` at the connection that came for it, and ends all that
//! the command has started: by then every orphan among that is its own child. So a run outlives
//! this process's restart, and nothing of a run outlives who wanted it.
//!
//! Reading order: `login` (what a login's shell would have) → `command` (how it is started) →
//! `wire` (what is told of it, and to whom) → `attend` (all of it, until the end).

pub mod attend;
mod command;
mod login;
mod wire;

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use crate::rpc::types::Message;
use crate::rpc::types::run::Run;
use crate::sys::started;

/// The file of the program that runs, also where another has taken its place.
const OWN: &str = "/proc/self/exe";

/// Has a command run and attended to; waits for the end of that. `frames`: both ways, else lines.
pub fn run(run: &Run, frames: bool, stream: UnixStream) -> std::io::Result<()> {
    let told = json!({"frames": frames, "run": run.to_json()}).to_string();
    let mut command = Command::new(OWN);
    command.arg0("hop-agent").arg("attend");
    started::attendant(&mut command, stream.into(), &told)?.wait().map(drop)
}
