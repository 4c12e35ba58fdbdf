//! Groups of processes with limits, for users whose own manager cannot set them: a slice for each
//! user, in it one for each of its applications, which has the limits, and in that scopes of the
//! processes that it gave. All of them are units of the manager, since a group made by hand loses
//! its limits whenever the manager looks at what it needs; and what they are called says whose they
//! are. What is not in the kernel's own files afterwards is an error. Must not know: who waits.

use crate::proto::{Args, Code, OpError, required};
use crate::server::firewall::rule::app;
use crate::server::manager::{self, Property};
use crate::server::program::Turn;
use crate::server::rows;
use crate::sys;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

const TREE: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// Most processes that are given at once.
const PIDS_MAX: usize = 64;
const PID_MAX: u64 = 1 << 22;
/// Longest file of the kernel that is read, in bytes.
const FILE_MAX: u64 = 64 * 1024;
/// A memory limit is kept in whole pages.
const PAGE_BYTES: u64 = 64 * 1024;
const PERIOD_US: u64 = 100_000;
pub const LIMITS: &[&str] = &["app_name", "memory_max", "cpu_percent", "pids_max"];
pub const PIDS: &[&str] = &["app_name", "pids"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Slice,
    Limit { app: String, memory: Option<u64>, cpu_percent: Option<u64>, pids: Option<u64> },
    Attach { app: String, pids: Vec<u32> },
    Remove(String),
    Look(String),
}

impl Wish {
    pub fn read(op: &str, a: &Args) -> Result<Wish, OpError> {
        let app = || app(a);
        Ok(match op {
            "cgroup.ensure_slice" => Wish::Slice,
            "cgroup.set_limits" => {
                let memory = a.int("memory_max", 1 << 20, 1 << 50)?;
                let (cpu_percent, pids) =
                    (a.int("cpu_percent", 1, 102_400)?, a.int("pids_max", 1, PID_MAX)?);
                required("memory_max", memory.or(cpu_percent).or(pids))?;
                Wish::Limit { app: app()?, memory, cpu_percent, pids }
            }
            "cgroup.attach_pids" => Wish::Attach { app: app()?, pids: pids(a)? },
            "cgroup.remove" => Wish::Remove(app()?),
            "cgroup.read" => Wish::Look(app()?),
            _ => return Err(OpError::new(Code::UnknownOp, "there is no such operation")),
        })
    }
}

fn pids(a: &Args) -> Result<Vec<u32>, OpError> {
    let number = |pid: &Value| pid.as_u64().filter(|pid| (1..=PID_MAX).contains(pid));
    let pids = a.0.get("pids").and_then(Value::as_array).filter(|pids| pids.len() <= PIDS_MAX);
    let pids: Option<Vec<u64>> = pids.and_then(|pids| pids.iter().map(number).collect());
    match pids {
        Some(pids) if !pids.is_empty() => Ok(pids.into_iter().map(|pid| pid as u32).collect()),
        _ => Err(OpError::field("pids", format!("pids are 1 to {PIDS_MAX} numbers of processes"))),
    }
}

pub fn run(wish: &Wish, uid: u32, turn: Turn) -> Result<Value, OpError> {
    manager::check()?;
    check()?;
    let own = format!("hopbox-u{uid}.slice");
    match wish {
        Wish::Slice => {
            ensure(&own, &[], turn)?;
            let path = PathBuf::from(TREE).join("hopbox.slice").join(own);
            // The manager answers before it is made.
            match manager::until(turn.soon(), || path.is_dir()) {
                true => Ok(json!({"slice_path": path, "controllers": CONTROLLERS})),
                false => Err(OpError::kernel("the group does not begin")),
            }
        }
        Wish::Limit { app, .. } => Group::of(uid, app).limit(wish, turn),
        Wish::Attach { app, pids } => Group::of(uid, app).attach(uid, pids, turn),
        Wish::Remove(app) => Group::of(uid, app).remove(uid, turn),
        Wish::Look(app) => Group::of(uid, app).look(),
    }
}

/// Refuses loudly what this machine cannot enforce.
fn check() -> Result<(), OpError> {
    let refuse = |why: &str| Err(OpError::new(Code::NotSupported, why));
    let Some(there) = read(&PathBuf::from(TREE).join("cgroup.controllers")) else {
        return refuse("limits need cgroups of version 2 alone, which this machine does not have");
    };
    let missing = CONTROLLERS.iter().find(|one| !there.split_whitespace().any(|has| has == **one));
    missing.map_or(Ok(()), |one| refuse(&format!("the kernel has no controller {one}")))
}

fn ensure(unit: &str, properties: &[Property], turn: Turn) -> Result<(), OpError> {
    match manager::property(unit, "ActiveState", turn)?.as_str() {
        "active" if properties.is_empty() => Ok(()),
        "active" => manager::set(unit, properties, turn),
        _ => manager::start(unit, properties, turn),
    }
}

/// An application of a user.
struct Group {
    /// Without an ending.
    name: String,
    slice: String,
    dir: PathBuf,
}

impl Group {
    fn of(uid: u32, app: &str) -> Group {
        // Each "-" of a slice's name is a step down; no application has a "_".
        let name = format!("hopbox-u{uid}-{}", app.replace('-', "_"));
        let slice = format!("{name}.slice");
        let parent = PathBuf::from(TREE).join("hopbox.slice").join(format!("hopbox-u{uid}.slice"));
        Group { dir: parent.join(&slice), name, slice }
    }

    fn value(&self, file: &str) -> Option<String> {
        read(&self.dir.join(file)).map(|text| text.trim().to_owned())
    }

    fn limit(&self, wish: &Wish, turn: Turn) -> Result<Value, OpError> {
        let Wish::Limit { memory, cpu_percent, pids, .. } = wish else { return self.look() };
        let number = |name, value: u64| (name, "t", vec![value.to_string()]);
        let mut properties: Vec<Property> = Vec::new();
        if let Some(bytes) = memory {
            properties.extend([number("MemoryMax", *bytes), number("MemorySwapMax", 0)]);
        }
        properties.extend(cpu_percent.map(|cpu| number("CPUQuotaPerSecUSec", cpu * 10_000)));
        properties.extend(cpu_percent.map(|_| number("CPUQuotaPeriodUSec", PERIOD_US)));
        properties.extend(pids.map(|pids| number("TasksMax", pids)));
        ensure(&self.slice, &properties, turn)?;
        let is = |file: &str, wanted: String| self.value(file) == Some(wanted);
        let memory_is = |bytes: u64| {
            let found = self.value("memory.max").and_then(|found| found.parse::<u64>().ok());
            let near = found.is_some_and(|found| found <= bytes && bytes - found < PAGE_BYTES);
            // Where nothing is swapped there is no such file.
            near && self.value("memory.swap.max").is_none_or(|swap| swap == "0")
        };
        let cpu_is = |cpu: u64| is("cpu.max", format!("{} {PERIOD_US}", cpu * PERIOD_US / 100));
        let there = || {
            memory.is_none_or(memory_is)
                && cpu_percent.is_none_or(cpu_is)
                && pids.is_none_or(|pids| is("pids.max", pids.to_string()))
        };
        if manager::until(turn.soon(), there) {
            return self.look();
        }
        Err(OpError::kernel("the kernel does not have these limits"))
    }

    fn attach(&self, uid: u32, pids: &[u32], turn: Turn) -> Result<Value, OpError> {
        if !self.dir.exists() {
            return Err(OpError::conflict("it has no limits yet: cgroup.set_limits comes first"));
        }
        let held = pids.iter().map(|pid| hold(*pid, uid)).collect::<Result<Vec<OwnedFd>, _>>()?;
        let scope = format!("{}-{}.scope", self.name, rows::draw()?);
        let mut list = vec![pids.len().to_string()];
        list.extend(pids.iter().map(u32::to_string));
        let properties = [
            ("Slice", "s", vec![self.slice.clone()]),
            ("PIDs", "au", list),
            ("CollectMode", "s", vec!["inactive-or-failed".to_owned()]),
            ("TimeoutStopUSec", "t", vec!["3000000".to_owned()]),
        ];
        manager::start(&scope, &properties, turn)?;
        let file = self.dir.join(&scope).join("cgroup.procs");
        let inside = || read(&file).unwrap_or_default();
        let has = |pid: &u32| inside().lines().any(|line| line.parse() == Ok(*pid));
        let ended = |held: &OwnedFd| sys::is_readable(held.as_fd());
        let all = || pids.iter().zip(&held).all(|(pid, held)| has(pid) || ended(held));
        if !manager::until(turn.soon(), all) {
            return Err(OpError::kernel("the manager did not move the processes"));
        }
        // A number that was held all the time was no other process's.
        let (lost, moved): (Vec<_>, Vec<_>) = pids.iter().zip(&held).partition(|(_, h)| ended(h));
        for (pid, _) in lost.iter().filter(|(pid, _)| has(pid) && owner(**pid) != Some(uid)) {
            self.give_back(**pid, turn)?;
        }
        let numbers = |list: Vec<(&u32, &OwnedFd)>| list.iter().map(|(pid, _)| **pid).collect();
        let [attached, failed]: [Vec<u32>; 2] = [numbers(moved), numbers(lost)];
        Ok(json!({"attached": attached, "failed": failed, "scope": scope}))
    }

    /// Another's, who got the number of one that has just ended: to where its parent is.
    fn give_back(&self, pid: u32, turn: Turn) -> Result<(), OpError> {
        let parent = field(pid, "PPid:").unwrap_or_default();
        let group = read(&PathBuf::from(format!("/proc/{parent}/cgroup"))).unwrap_or_default();
        let (unit, below) = unit_of(&group);
        manager::adopt(unit, below, pid, turn)
    }

    fn remove(&self, uid: u32, turn: Turn) -> Result<Value, OpError> {
        if !self.dir.exists() {
            return Ok(json!({"removed": false}));
        }
        if let Some(pid) = self.pids().into_iter().find(|pid| owner(*pid).is_some_and(|o| o != uid))
        {
            let why = format!("process {pid} in it is another user's, and would end with it");
            return Err(OpError::new(Code::PermissionDenied, why));
        }
        manager::stop(&self.slice, turn)?;
        match manager::until(turn.soon(), || !self.dir.exists()) {
            true => Ok(json!({"removed": true})),
            false => Err(OpError::kernel("the group does not end")),
        }
    }

    /// Of the scopes in it.
    fn pids(&self) -> Vec<u32> {
        let dirs = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let lists = dirs.filter_map(|dir| read(&dir.path().join("cgroup.procs")));
        lists
            .flat_map(|list| list.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>())
            .collect()
    }

    fn look(&self) -> Result<Value, OpError> {
        if !self.dir.exists() {
            return Err(OpError::conflict("there is no such group"));
        }
        let events = self.value("memory.events").unwrap_or_default();
        let killed =
            events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok());
        Ok(json!({
            "cgroup_path": self.dir, "memory_max": self.value("memory.max"),
            "memory_swap_max": self.value("memory.swap.max"), "cpu_max": self.value("cpu.max"),
            "pids_max": self.value("pids.max"), "memory_current": self.value("memory.current"),
            "pids_current": self.value("pids.current"), "oom_kill": killed, "pids": self.pids(),
        }))
    }
}

/// The unit of the machine's manager that a process is in, as the kernel tells it, and where below
/// that: a user's manager has units of its own, which this one does not know.
fn unit_of(group: &str) -> (&str, &str) {
    let path = group.trim().trim_start_matches("0::");
    let is_unit = |name: &&str| name.ends_with(".service") || name.ends_with(".scope");
    let unit = path.split('/').find(is_unit).unwrap_or("init.scope");
    (unit, path.split_once(unit).map_or("", |(_, below)| below))
}

/// A process of this user and this machine, by a descriptor that tells it from every later one of
/// its number.
fn hold(pid: u32, uid: u32) -> Result<OwnedFd, OpError> {
    let gone = |_| OpError::conflict(format!("there is no process {pid}"));
    let held = sys::pidfd(pid).map_err(gone)?;
    let denied =
        |why: &str| Err(OpError::new(Code::PermissionDenied, format!("process {pid} is {why}")));
    match owner(pid) {
        Some(found) if found == uid => {}
        _ => return denied("another user's"),
    }
    // One number for each namespace that it is in, from ours on.
    if field(pid, "NSpid:").is_none_or(|numbers| numbers.split_whitespace().count() != 1) {
        return denied("in a container");
    }
    if sys::is_readable(held.as_fd()) {
        return Err(OpError::conflict(format!("process {pid} has ended")));
    }
    Ok(held)
}

/// Its real user.
fn owner(pid: u32) -> Option<u32> {
    field(pid, "Uid:")?.split_whitespace().next()?.parse().ok()
}

fn field(pid: u32, name: &str) -> Option<String> {
    let status = read(&PathBuf::from(format!("/proc/{pid}/status")))?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

fn read(path: &PathBuf) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_given_back_to_a_unit_that_the_manager_knows() {
        for (group, unit, below) in [
            ("0::/system.slice/ssh.service\n", "ssh.service", ""),
            ("0::/user.slice/user-7.slice/session-3.scope", "session-3.scope", ""),
            (
                "0::/user.slice/user-7.slice/user@7.service/app.slice/a.service",
                "user@7.service",
                "/app.slice/a.service",
            ),
            ("0::/machine.slice/a.scope/payload", "a.scope", "/payload"),
            ("0::/init.scope", "init.scope", ""),
            ("0::/", "init.scope", ""),
            ("", "init.scope", ""),
        ] {
            assert_eq!(unit_of(group), (unit, below), "{group}");
        }
    }
}
