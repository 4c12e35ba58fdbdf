//! Commands that are run for a laptop. Each has a process of its own that attends to it
//! (`hop-agent attend`), talks with `front` at the connection that came for it, and ends all that
//! the command has started: by then every orphan among that is its own child. So a run outlives
//! this process's restart, and nothing of a run outlives who wanted it.
//!
//! Reading order: `login` (what a login's shell would have) → `command` (how it is started) →
//! `wire` (what is told of it, and to whom) → `detached` (what is kept of those
//! that go on without a laptop) → `attend` (all of it, until the end).

pub mod attend;
mod command;
pub mod detached;
mod login;
mod wire;

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;

use serde_json::{Value, json};

use crate::rpc::types::Message;
use crate::rpc::types::run::Run;
use crate::sys::started;

/// The file of the program that runs, also where another has taken its place.
const OWN: &str = "/proc/self/exe";

/// Has a command run and attended to; waits for the end of that. `frames`: both ways, else lines.
pub fn run(run: &Run, frames: bool, stream: UnixStream) -> std::io::Result<()> {
    let told = json!({"frames": frames, "run": run.to_json()});
    attendant(&told, stream)?.wait().map(drop)
}

/// The same for one that goes on without a laptop: its number.
pub fn detach(run: &Run) -> std::io::Result<u32> {
    let (number, dir) = detached::create(run)?;
    let told = json!({"frames": false, "run": run.to_json(), "dir": dir});
    // Nobody reads there.
    let (stream, _) = UnixStream::pair()?;
    let mut child = attendant(&told, stream)?;
    thread::Builder::new().name("detached".to_owned()).spawn(move || child.wait())?;
    Ok(number)
}

fn attendant(told: &Value, stream: UnixStream) -> std::io::Result<Child> {
    let mut command = Command::new(OWN);
    command.arg0("hop-agent").arg("attend");
    started::attendant(&mut command, stream.into(), &told.to_string())
}
