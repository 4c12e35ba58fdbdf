//! What a service is to its keeper: the manifest's words with what a login's shell would have.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use super::manager::{self, Absent, Unit};
use crate::agent::keeper::process::boot;
use crate::agent::keeper::spec::{Backoff, LogBounds, Restart as Policy, Spec};
use crate::agent::keeper::state::{Phase, State};
use crate::sys::child;
use crate::workspace::env::Env;
use crate::workspace::manifest::{Command, Kind, Limits, Restart, Service};

/// What a shell of the login has, as this process was told it by its unit.
const OF_THE_LOGIN: [&str; 6] = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG"];
/// The file of the program that runs, also where another has taken its place.
const OWN: &str = "/proc/self/exe";
/// Whoever puts a program into the background is done at once.
const START_WITHIN: Duration = Duration::from_secs(10);

pub fn stop_ms(service: &Service) -> u32 {
    u32::try_from(service.stop_timeout.as_millis()).unwrap_or(u32::MAX).min(3_600_000)
}

pub fn of(service: &Service, env: &Env, start: u64, unit: &str) -> Result<Spec, String> {
    let Kind::Native { command, workdir } = &service.kind else {
        return Err("containers are not run by this version".to_owned());
    };
    let home = std::env::var("HOME").map_err(|_| "this login has no home".to_owned())?;
    let argv = match command {
        Command::Words(words) => words.clone(),
        Command::Shell(text) => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()]
        }
    };
    let mut all = Env::default();
    for name in OF_THE_LOGIN {
        if let Ok(value) = std::env::var(name) {
            all.set(name, value);
        }
    }
    let all = all.under(env);
    Ok(Spec {
        start,
        unit: Some(unit.to_owned()),
        argv,
        cwd: workdir.as_deref().map_or_else(|| home.clone(), |dir| below(&home, dir)),
        env: all.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        restart: match service.restart {
            Restart::Always => Policy::Always,
            Restart::OnFailure => Policy::OnFailure,
            Restart::Never => Policy::Never,
        },
        backoff: Backoff::USUAL,
        stop_ms: stop_ms(service),
        log: LogBounds::USUAL,
    })
}

/// A check, run as the service's own command would be, by one who ends all that it leaves.
pub fn check(service: &Service, env: &Env, line: &Command) -> Result<Program, String> {
    let workdir = match &service.kind {
        Kind::Native { workdir, .. } => workdir.clone(),
        Kind::Container(_) => None,
    };
    let kind = Kind::Native { command: line.clone(), workdir };
    let spec = of(&Service { kind, ..service.clone() }, env, 0, "")?;
    let mut command = Program::new(OWN);
    command.arg0("hop-agent").args(["guard", "--"]).args(spec.argv);
    command.env_clear().envs(spec.env).current_dir(spec.cwd);
    Ok(command)
}

/// `~` is the login's home, and so is what every other path begins at.
fn below(home: &str, dir: &str) -> String {
    match dir.strip_prefix("~/") {
        Some(rest) => format!("{home}/{rest}"),
        None if dir == "~" => home.to_owned(),
        None => Path::new(home).join(dir).display().to_string(),
    }
}

/// It came to its end by itself, since this machine started.
pub fn has_ended_here(state: &State) -> bool {
    state.phase.is_final() && state.phase != Phase::Stopped && state.boot == boot()
}

/// Without a manager: a keeper in the background. Limits need one.
pub fn alone(unit: &Unit, absent: Absent) -> Result<(), String> {
    if absent != Absent::NoSystemd {
        return Err(absent.to_string());
    }
    if unit.limits != Limits::default() {
        return Err(format!("it has limits, which need systemd: {absent}"));
    }
    let program = manager::program()?;
    let mut shell = Program::new("/bin/sh");
    shell.args(["-c", "\"$0\" keep \"$1\" >/dev/null 2>&1 &"]).arg(program).arg(unit.dir);
    let ended = child::launch(shell.stdout(Stdio::null()).stderr(Stdio::null()), START_WITHIN);
    match ended {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(_) => Err("its keeper could not be put into the background".to_owned()),
        Err(error) => Err(format!("/bin/sh: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_home() {
        for (dir, path) in
            [("~/app", "/h/app"), ("~", "/h"), ("app/x", "/h/app/x"), ("/srv/app", "/srv/app")]
        {
            assert_eq!(below("/h", dir), path);
        }
    }
}
