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

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::json::{Fields, ReadError};
use crate::http::LINE_BYTES;
use crate::rpc::types::Message;
use crate::rpc::types::run::{Ended, Run};
use crate::sys::line::Lines;
use crate::sys::poll::Interest;
use crate::sys::started;
use crate::workspace::env::Env;

/// One that attends to a run says more often that it lives.
const SILENCE: Duration = Duration::from_secs(60);

/// The file of the program that runs, also where another has taken its place.
const OWN: &str = "/proc/self/exe";

/// Has a command run and attended to, with these variables over the login's; waits for the end of
/// that. `frames`: both ways, else lines.
pub fn run(run: &Run, env: &Env, frames: bool, stream: UnixStream) -> std::io::Result<()> {
    let told = json!({"frames": frames, "run": run.to_json(), "env": object(env)});
    attendant(&told, stream)?.wait().map(drop)
}

/// The same for one that goes on without the `laptop` that wants it, and is kept as it was `asked`
/// for: its number.
pub fn detach(asked: &Run, run: &Run, env: &Env, laptop: &str) -> std::io::Result<u32> {
    let (number, dir) = detached::create(asked, laptop)?;
    let env = object(env);
    let told = json!({"frames": false, "run": run.to_json(), "env": env, "dir": dir});
    // Nobody reads there.
    let (stream, _) = UnixStream::pair()?;
    let mut child = attendant(&told, stream)?;
    thread::Builder::new().name("detached".to_owned()).spawn(move || child.wait())?;
    Ok(number)
}

/// A text for `sh -c`, with these variables over the login's. Each line of what is said of it, and
/// now and then an empty one, goes to `tell`. It ends with whoever wants it, who has gone as soon
/// as `wants` is readable; that is an error of the kind `Interrupted`.
pub fn hook(
    text: &str,
    env: &Env,
    wants: BorrowedFd<'_>,
    tell: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<Ended> {
    let words = ["/bin/sh", "-c", text].map(str::to_owned).to_vec();
    let run = Run { words, ..Run::default() };
    let told = json!({"frames": false, "run": run.to_json(), "env": object(env)});
    let (ours, its) = UnixStream::pair()?;
    let mut child = attendant(&told, its)?;
    let ended = until_its_end(Lines::new(ours, LINE_BYTES), wants, tell);
    // Our end is closed: what is left of it is ended.
    child.wait()?;
    ended
}

fn object(env: &Env) -> Map<String, Value> {
    env.iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn until_its_end(
    mut lines: Lines<UnixStream>,
    wants: BorrowedFd<'_>,
    tell: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<Ended> {
    loop {
        let line = lines.next(SILENCE, Some((wants, Interest::READ)))?;
        if line.is_empty() {
            tell(&line)?;
            continue;
        }
        let mut fields = Fields::parse(&line).map_err(garbled)?;
        if fields.take("event").is_some() {
            tell(&line)?;
            continue;
        }
        return match fields.take("result") {
            Some(ended) => Ended::of(ended).map_err(garbled),
            None => {
                let why = fields.opt_object("error").ok().flatten();
                let why = why.and_then(|mut error| error.string("message").ok());
                let why = why.unwrap_or_else(|| "its end cannot be read".to_owned());
                Err(io::Error::other(why))
            }
        };
    }
}

fn garbled(error: ReadError) -> io::Error {
    io::Error::other(error.to_string())
}

fn attendant(told: &Value, stream: UnixStream) -> std::io::Result<Child> {
    let mut command = Command::new(OWN);
    command.arg0("hop-agent").arg("attend");
    started::attendant(&mut command, stream.into(), &told.to_string())
}
