//! A command of a laptop's → a process of the login's, or why it could not be started.

use std::io;
use std::process::Command;

use super::login::Login;
use crate::rpc::types::run::{Ended, Run};
use crate::sys::process;
use crate::sys::started::{self, Started};

/// Why there is no process.
#[derive(Debug)]
pub enum Unstarted {
    /// There is no such program, or it is none: as a shell says it.
    Program(Ended),
    /// It is not its fault.
    Here(String),
}

/// Starts it. Who cannot send while it runs has said all that it reads.
pub fn start(run: &Run, login: &Login, sends: bool) -> Result<Started, Unstarted> {
    let (Some(program), words) = (run.words.first(), run.words.get(1..).unwrap_or_default()) else {
        return Err(Unstarted::Here("there is no program".to_owned()));
    };
    let dir = login.home.join(run.dir.as_deref().unwrap_or_default());
    if !dir.is_dir() {
        let why = format!("{} is no directory there", dir.display());
        return Err(Unstarted::Program(Ended::NotStarted(125, why)));
    }
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(login.variables.iter().cloned()).current_dir(dir);
    // Where it cannot be attended to any more, it is ended.
    process::dying_with_parent(&mut command);
    let started = match &run.terminal {
        Some(terminal) => {
            command.env("TERM", &terminal.name);
            started::start_at_terminal(&mut command, (terminal.columns, terminal.rows))
        }
        None => started::start(&mut command, sends || run.input.is_some()),
    };
    started.map_err(|error| unstarted(program, &error))
}

fn unstarted(program: &str, error: &io::Error) -> Unstarted {
    use io::ErrorKind::{NotADirectory, NotFound, OutOfMemory, WouldBlock};
    let why = format!("{program}: {error}");
    match error.kind() {
        NotFound | NotADirectory => Unstarted::Program(Ended::NotStarted(127, why)),
        // No more processes or memory.
        WouldBlock | OutOfMemory => Unstarted::Here(why),
        _ => Unstarted::Program(Ended::NotStarted(126, why)),
    }
}
