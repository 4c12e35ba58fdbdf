//! systemd as it runs units for this login: the system's own for root, the login's for others,
//! which is there without a session where somebody lets it linger. A service is one transient unit,
//! whose main process is its keeper; the manager makes it, outside of the agent's own.
//!
//! What it says it has done is looked at: an exit status of 0 tells of a job, not of a process, and
//! a limit that is accepted may be set nowhere.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use crate::base::own_program;
use crate::sys::child::{self, Done, Limits as Bounds};
use crate::sys::process;
use crate::workspace::manifest::Limits;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const BOUNDS: Bounds = Bounds::brief(30);
/// After the last moment of the keeper's own.
const STOP_MORE_MS: u64 = 25_000;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Names of logins that have a manager without a session.
const LINGER: &str = "/var/lib/systemd/linger";
/// `enable-linger` is done before the manager is there.
const SOON: Duration = Duration::from_secs(20);

pub enum Manager {
    System,
    /// The directory of the login's manager.
    Login(PathBuf),
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The machine was started by another.
    NoSystemd,
    /// It has no manager for this login, which nobody lets linger.
    NoLogin,
}

impl fmt::Display for Absent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Absent::NoSystemd => "this machine was not started by systemd",
            Absent::NoLogin => {
                "systemd has no manager for this login without a session; what lets it have one: \
                 sudo loginctl enable-linger"
            }
        })
    }
}

/// A service's unit, as it is to be.
pub struct Unit<'a> {
    pub name: &'a str,
    /// Of the service, for its keeper.
    pub dir: &'a Path,
    pub stop_ms: u32,
    pub limits: Limits,
    /// What it runs stands for something outside: it is asked by its keeper alone.
    pub is_proxy: bool,
}

/// What becomes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs, or is on its way to that or from there.
    Busy,
    None,
}

/// Whether what a login started goes on without a session of its.
pub fn lingers(login: &OsStr) -> bool {
    Path::new(LINGER).join(login).exists()
}

impl Manager {
    pub fn find() -> Result<Manager, Absent> {
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(Absent::NoSystemd);
        }
        if process::is_root() {
            return Ok(Manager::System);
        }
        let runtime = PathBuf::from(format!("/run/user/{}", process::uid()));
        match ["systemd/private", "bus"].iter().any(|socket| runtime.join(socket).exists()) {
            true => Ok(Manager::Login(runtime)),
            false => Err(Absent::NoLogin),
        }
    }

    /// The same, where one that lingers may only just be starting.
    pub fn find_soon() -> Result<Manager, Absent> {
        match process::login().is_some_and(|login| lingers(&login.name)) {
            true => Manager::find_within(SOON),
            false => Manager::find(),
        }
    }

    /// The same, soon after a boot.
    pub fn find_within(limit: Duration) -> Result<Manager, Absent> {
        let end = Instant::now() + limit;
        loop {
            match Manager::find() {
                Err(Absent::NoLogin) if Instant::now() < end => thread::sleep(LOOK_EVERY),
                found => return found,
            }
        }
    }

    fn run(&self, program: &str, words: &[String]) -> Result<Done, String> {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
        if let Manager::Login(runtime) = self {
            // A system service without a session is told neither.
            command.env("XDG_RUNTIME_DIR", runtime).arg("--user");
        }
        let done = child::run(command.args(words), BOUNDS);
        done.map_err(|broken| format!("{program}: {broken}"))
    }

    /// Starts it; that its keeper runs is for the caller to see.
    pub fn start(&self, unit: &Unit) -> Result<(), String> {
        let program = program()?;
        let mut words: Vec<String> =
            ["--quiet", "--collect", "--description=a hopbox service"].map(str::to_owned).into();
        words.push(format!("--unit={}.service", unit.name));
        words.extend(properties(unit).into_iter().map(|property| format!("--property={property}")));
        words.extend(["--".to_owned(), program.display().to_string(), "keep".to_owned()]);
        words.push(unit.dir.display().to_string());
        let done = self.run("systemd-run", &words)?;
        match done.status.success() {
            true => Ok(()),
            false => Err(format!("systemd-run: {}", done.complaint())),
        }
    }

    pub fn activity(&self, name: &str) -> Result<Activity, String> {
        let words = ["show", "--property=ActiveState", "--value"].map(str::to_owned);
        let words = [&words[..], &[format!("{name}.service")]].concat();
        let done = self.run("systemctl", &words)?;
        match (done.status.success(), done.text().trim()) {
            (true, "inactive" | "failed") => Ok(Activity::None),
            (true, _) => Ok(Activity::Busy),
            (false, _) => Err(format!("systemctl show: {}", done.complaint())),
        }
    }

    /// Whatever its keeper does. One that is not there is stopped.
    pub fn stop(&self, name: &str) -> Result<(), String> {
        self.run("systemctl", &["stop".to_owned(), format!("{name}.service")])?;
        let end = Instant::now() + Duration::from_millis(STOP_MORE_MS);
        while self.activity(name)? == Activity::Busy {
            if Instant::now() >= end {
                return Err(format!("systemd does not stop {name}"));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// This program; after an upgrade, which leaves the one that runs without a file, the one that has
/// taken its place.
pub fn program() -> Result<PathBuf, String> {
    own_program::own().map(in_its_place).map_err(|failure| failure.why)
}

fn in_its_place(program: PathBuf) -> PathBuf {
    match program.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(place) if !program.exists() => PathBuf::from(place),
        _ => program,
    }
}

fn properties(unit: &Unit) -> Vec<String> {
    let stop_s = (u64::from(unit.stop_ms) + STOP_MORE_MS).div_ceil(1000);
    let mut all = [
        "Type=exec",
        "Restart=on-failure",
        "RestartSec=100ms",
        // A specification that cannot be read does not become better by starting again.
        "RestartPreventExitStatus=2",
        "StartLimitIntervalSec=0",
        // The keeper sees what the kernel ends, and what follows is by the service's policy.
        "OOMPolicy=continue",
    ]
    .map(str::to_owned)
    .to_vec();
    // With a keeper that is killed goes what it started; but podman never recovers a container
    // whose own keeper was killed with it, so that the next keeper has to end that one.
    let kill = if unit.is_proxy { "process" } else { "control-group" };
    all.push(format!("KillMode={kill}"));
    all.push(format!("TimeoutStopSec={stop_s}"));
    let Limits { memory_bytes, cpu_percent, pids } = unit.limits;
    if let Some(bytes) = memory_bytes {
        all.extend([format!("MemoryMax={bytes}"), "MemorySwapMax=0".to_owned()]);
    }
    all.extend(cpu_percent.map(|percent| format!("CPUQuota={percent}%")));
    all.extend(pids.map(|pids| format!("TasksMax={pids}")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_started_where_it_was() {
        let dir = std::env::temp_dir().join(format!("hopbox-place-{}", std::process::id()));
        let named = dir.join("agent (deleted)");
        assert_eq!(in_its_place(named.clone()), dir.join("agent"));
        assert_eq!(in_its_place(dir.join("agent")), dir.join("agent"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(&named, "").unwrap();
        assert_eq!(in_its_place(named.clone()), named, "a name that somebody chose");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_units_limits_are_what_was_asked_for_and_no_more() {
        let dir = Path::new("/x");
        let limits = Limits { memory_bytes: Some(5), cpu_percent: Some(150), pids: Some(7) };
        let of =
            |limits| properties(&Unit { name: "u", dir, stop_ms: 1500, limits, is_proxy: false });
        let all = of(limits);
        for wanted in
            ["MemoryMax=5", "MemorySwapMax=0", "CPUQuota=150%", "TasksMax=7", "TimeoutStopSec=27"]
        {
            assert!(all.iter().any(|property| property == wanted), "{wanted}: {all:?}");
        }
        let none = of(Limits::default());
        let is_limit = |property: &String| {
            ["Memory", "CPU", "Tasks"].iter().any(|word| property.starts_with(word))
        };
        assert!(!none.iter().any(is_limit), "{none:?}");
    }
}
