//! The service manager, by its own clients: units that last as long as they are needed, started,
//! looked at, changed and ended. What is done there is done by process 1, in the machine's own
//! mounts and groups, whatever this process may itself. Nothing that a user has written is among
//! the words but numbers and names of `[a-z0-9_]`. Must not know: what the units are for.

use crate::proto::{Code, OpError};
use crate::server::program::{Ended, Failed, Program, Turn};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const SYSTEMCTL: Program = Program {
    name: "systemctl",
    paths: &["/usr/bin/systemctl", "/bin/systemctl"],
    package: "systemd",
};
/// It alone passes lists of processes.
const BUSCTL: Program =
    Program { name: "busctl", paths: &["/usr/bin/busctl", "/bin/busctl"], package: "systemd" };
const RUN: Program =
    Program { name: "systemd-run", paths: &["/usr/bin/systemd-run"], package: "systemd" };
/// There while systemd is process 1.
const BOOTED: &str = "/run/systemd/system";
const PAUSE: Duration = Duration::from_millis(5);
const INTERFACE: [&str; 3] =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// A property of a unit: its name, its type of D-Bus, and its value in words.
pub type Property<'a> = (&'a str, &'a str, Vec<String>);

/// What a client of the manager's has written, if it ended well.
fn told(client: &Program, words: &[&str], turn: Turn) -> Result<Vec<u8>, OpError> {
    client.run(words, "", turn).and_then(Ended::good).map_err(kernel)
}

fn kernel(failed: Failed) -> OpError {
    OpError::kernel(match failed {
        Failed::Said(why) => format!("the service manager: {why}"),
        Failed::TooLong => "the service manager says too much".to_owned(),
    })
}

/// Refuses where there is none.
pub fn check() -> Result<(), OpError> {
    let there = Path::new(BOOTED).exists();
    let why = "this machine is not run by systemd, by which this is done";
    if there { Ok(()) } else { Err(OpError::new(Code::NotSupported, why)) }
}

/// Runs a program to its end as a unit of its own, with these settings (`NAME=value`), outside of
/// this one's sandbox, and returns what it wrote. The manager ends it when the turn is over,
/// whoever waits.
pub fn run(unit: &str, settings: &[&str], words: &[&str], turn: Turn) -> Result<Ended, OpError> {
    let left = turn.deadline.saturating_duration_since(Instant::now());
    let limit = format!("--property=RuntimeMaxSec={}ms", left.as_millis().max(1));
    let name = format!("--unit={unit}");
    let settings: Vec<String> = settings.iter().map(|one| format!("--property={one}")).collect();
    let mut all = vec!["--quiet", "--wait", "--pipe", "--collect", &name, &limit];
    all.extend(settings.iter().map(String::as_str));
    all.push("--");
    all.extend(words);
    RUN.run(&all, "", turn).map_err(kernel)
}

/// Starts a unit of the kind that its name says. What it is to be shows a moment later.
pub fn start(unit: &str, properties: &[Property], turn: Turn) -> Result<(), OpError> {
    let mut words = vec![unit.to_owned(), "fail".to_owned()];
    words.extend(list(properties));
    // No units beside it.
    words.push("0".to_owned());
    call("StartTransientUnit", "ssa(sv)a(sa(sv))", &words, turn)
}

/// Changes one that runs, as long as it does.
pub fn set(unit: &str, properties: &[Property], turn: Turn) -> Result<(), OpError> {
    let mut words = vec![unit.to_owned(), "true".to_owned()];
    words.extend(list(properties));
    call("SetUnitProperties", "sba(sv)", &words, turn)
}

/// Moves a process into one that runs, to this place below it.
pub fn adopt(unit: &str, below: &str, pid: u32, turn: Turn) -> Result<(), OpError> {
    let words = [unit.to_owned(), below.to_owned(), "1".to_owned(), pid.to_string()];
    call("AttachProcessesToUnit", "ssau", &words, turn)
}

/// Ends it and all that is in it, or all that `*` stands for; one that is not there is ended.
pub fn stop(unit: &str, turn: Turn) -> Result<(), OpError> {
    if matches!(&*property(unit, "ActiveState", turn)?, "inactive" | "") {
        return Ok(());
    }
    told(&SYSTEMCTL, &["stop", "--", unit], turn).map(drop)
}

/// Of a unit, whether there is one or not.
pub fn property(unit: &str, name: &str, turn: Turn) -> Result<String, OpError> {
    let words = ["show", "--value", "--property", name, "--", unit];
    Ok(String::from_utf8_lossy(&told(&SYSTEMCTL, &words, turn)?).trim().to_owned())
}

/// Has a service go by its files again, as its unit says how. That it has done so is not said.
pub fn reload(unit: &str, turn: Turn) -> Result<(), OpError> {
    told(&SYSTEMCTL, &["reload", "--", unit], turn).map(drop)
}

/// The processes of a unit, each with its command line as the manager writes it.
pub fn processes(unit: &str, turn: Turn) -> Result<Vec<(u32, String)>, OpError> {
    let mut words = vec!["--json=short", "call"];
    words.extend(INTERFACE);
    words.extend(["GetUnitProcesses", "s", unit]);
    let told: Value = serde_json::from_slice(&told(&BUSCTL, &words, turn)?).unwrap_or_default();
    let all = told.pointer("/data/0").and_then(Value::as_array);
    let process = |row: &Value| {
        let pid = row.get(1)?.as_u64().and_then(|pid| u32::try_from(pid).ok())?;
        Some((pid, row.get(2)?.as_str()?.to_owned()))
    };
    Ok(all.into_iter().flatten().filter_map(process).collect())
}

/// Waits until something shows.
pub fn until(turn: Turn, mut shows: impl FnMut() -> bool) -> bool {
    while !shows() {
        if turn.is_over() {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

fn list(properties: &[Property]) -> Vec<String> {
    let mut words = vec![properties.len().to_string()];
    for (name, kind, values) in properties {
        words.extend([(*name).to_owned(), (*kind).to_owned()]);
        words.extend(values.iter().cloned());
    }
    words
}

fn call(method: &str, signature: &str, arguments: &[String], turn: Turn) -> Result<(), OpError> {
    let mut words = vec!["--quiet", "call"];
    words.extend(INTERFACE);
    words.extend([method, signature]);
    words.extend(arguments.iter().map(String::as_str));
    told(&BUSCTL, &words, turn).map(drop)
}
