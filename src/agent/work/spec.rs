//! What a service is to its keeper: the manifest's words with what a login's shell would have.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use super::bridge::install;
use super::container::Recipe;
use super::manager::{self, Absent, Unit};
use super::ports::mapped;
use crate::agent::keeper::process::boot;
use crate::agent::keeper::spec::{Backoff, LogBounds, Proxy, Restart as Policy, Spec};
use crate::agent::keeper::state::{Phase, State};
use crate::sys::child;
use crate::workspace::env::Env;
use crate::workspace::manifest::{Command, Kind, Limits, Restart, Service};

/// What a shell of the login has, as this process was told it by its unit.
const OF_THE_LOGIN: [&str; 6] = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG"];
/// The file of the program that runs, also where another has taken its place.
const OWN: &str = "/proc/self/exe";
/// For an engine to do what it was asked for.
const ENGINE_MS: u32 = 25_000;
/// Whoever puts a program into the background is done at once.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Of a keeper. An engine ends a container in the service's own time, and has some for itself.
pub fn stop_ms(service: &Service) -> u32 {
    let more = if is_container(service) { ENGINE_MS } else { 0 };
    let own = u32::try_from(service.stop_timeout.as_millis()).unwrap_or(u32::MAX);
    own.saturating_add(more).min(3_600_000)
}

pub fn is_container(service: &Service) -> bool {
    matches!(service.kind, Kind::Container(_))
}

/// What the unit limits: of a container that is its engine's to do.
pub fn unit_limits(service: &Service) -> Limits {
    if is_container(service) { Limits::default() } else { service.limits }
}

pub fn of(
    service: &Service,
    env: &Env,
    start: u64,
    unit: &str,
    dir: &Path,
) -> Result<Spec, String> {
    let home = std::env::var("HOME").map_err(|_| "this login has no home".to_owned())?;
    let contain = |more: &[&str]| -> Result<Vec<String>, String> {
        let program = manager::program()?.display().to_string();
        let words = [&["contain"], more].concat();
        let words = words.into_iter().map(str::to_owned);
        Ok([program].into_iter().chain(words).chain([dir.display().to_string()]).collect())
    };
    let (argv, cwd, proxy) = match &service.kind {
        Kind::Native { command, workdir } => (words(command), workdir, None),
        Kind::Container(_) => (contain(&[])?, &None, Some(Proxy { end: contain(&["--end"])? })),
    };
    let own = |name: &str| Some((OsString::from(name), std::env::var_os(name)?));
    let mut login: Vec<_> = OF_THE_LOGIN.into_iter().filter_map(own).collect();
    install::over(&mut login);
    let mut all = Env::default();
    for (name, value) in login {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
            all.set(name, value);
        }
    }
    let is_its = |port: u16| service.ports.iter().any(|its| its.published == port);
    let all = all.under(&mapped::variables(is_its));
    // A container's variables are in its recipe.
    let all = if proxy.is_some() { all } else { all.under(env) };
    Ok(Spec {
        start,
        unit: Some(unit.to_owned()),
        argv,
        proxy,
        cwd: cwd.as_deref().map_or_else(|| home.clone(), |dir| below(&home, dir)),
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

/// A check, run as the service's own command would be, by one who ends all that it leaves; inside
/// of a container.
pub fn check(service: &Service, env: &Env, line: &Command, dir: &Path) -> Result<Program, String> {
    let Kind::Native { workdir, .. } = &service.kind else {
        let recipe = Recipe::load(dir).transpose()?.ok_or("it was never started")?;
        return Ok(recipe.inside(&words(line)));
    };
    let kind = Kind::Native { command: line.clone(), workdir: workdir.clone() };
    let spec = of(&Service { kind, ..service.clone() }, env, 0, "", dir)?;
    let mut command = Program::new(OWN);
    command.arg0("hop-agent").args(["guard", "--"]).args(spec.argv);
    command.env_clear().envs(spec.env).current_dir(spec.cwd);
    Ok(command)
}

fn words(command: &Command) -> Vec<String> {
    match command {
        Command::Words(words) => words.clone(),
        Command::Shell(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
    }
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
