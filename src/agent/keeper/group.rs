//! Everything that a service has started, whatever it has done to get away: the processes of its
//! unit's group; where there is no unit, what descends from this process and what has the service's
//! mark in its environment. Reads, and signals; makes no group and writes into none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::process::{Process, boot};
use crate::sys::bounded;
use crate::sys::children::Ending;
use crate::sys::process_stat::Stat;

/// In the environment of what is started.
pub const MARK: &str = "HOPBOX_SERVICE_DIR";
/// As the kernel bounds it, and more than what is looked for.
const ENVIRON_BYTES: u64 = 4 * 1024 * 1024;
const GROUPS: &str = "/sys/fs/cgroup";

pub enum Group {
    /// The directories of one group, one for each tree of groups that has its processes.
    Unit(PathBuf),
    /// `MARK=value`, and a zero byte.
    Marked(Vec<u8>),
}

impl Group {
    /// `unit`: its name, if this process is to be in its group. A group of any other name has other
    /// processes in it, too.
    pub fn find(unit: Option<&str>, mark: &str) -> Group {
        let marked = || Group::Marked(format!("{MARK}={mark}\0").into_bytes());
        let Some(unit) = unit else { return marked() };
        let named = bounded::text("/proc/self/cgroup").unwrap_or_default();
        own_groups(&named, unit)
            .into_iter()
            .find(|dir| has_us(dir))
            .map_or_else(marked, Group::Unit)
    }

    pub fn is_unit(&self) -> bool {
        matches!(self, Group::Unit(_))
    }

    /// All but this process, and but those that only wait to be reaped.
    pub fn members(&self) -> Vec<Process> {
        let pids = match self {
            Group::Unit(dir) => {
                let mut pids = Vec::new();
                list(dir, &mut pids);
                pids
            }
            Group::Marked(mark) => marked(mark),
        };
        let boot = boot();
        let member = |pid: u32| {
            let stat = Stat::of(pid).filter(|stat| !stat.is_over)?;
            Some(Process { pid, start: stat.start, boot: boot.clone() })
        };
        let others = pids.into_iter().filter(|pid| *pid > 1 && *pid != std::process::id());
        others.filter_map(member).collect()
    }

    /// A signal to each; how many were there.
    pub fn end(&self, ending: Ending) -> usize {
        let members = self.members();
        for member in &members {
            member.end(ending);
        }
        members.len()
    }
}

/// The processes of a unit's group and of those below; `named` is what the kernel tells of the
/// groups of one that is in the unit's own.
pub fn of_unit(named: &str, unit: &str) -> Vec<u32> {
    let mut pids = Vec::new();
    if let Some(dir) = own_groups(named, unit).iter().find(|dir| dir.is_dir()) {
        list(dir, &mut pids);
    }
    pids
}

/// Where this process's group may be found, if it is the unit's own. systemd of the second kind has
/// one tree, one of both kinds has its processes in two, the old kind in one of another name.
fn own_groups(named: &str, unit: &str) -> Vec<PathBuf> {
    let path_in = |line: &str, tree: &str| {
        let path = line.strip_prefix(tree)?.strip_prefix('/')?;
        (!unit.is_empty() && path.rsplit('/').next() == Some(unit)).then(|| path.to_owned())
    };
    let lines = || named.lines().map(|line| line.split_once(':').map_or("", |(_, rest)| rest));
    let mut found = Vec::new();
    for (tree, places) in [(":", &["", "unified"][..]), ("name=systemd:", &["systemd"])] {
        for path in lines().filter_map(|line| path_in(line, tree)) {
            found.extend(places.iter().map(|place| Path::new(GROUPS).join(place).join(&path)));
        }
    }
    found
}

fn has_us(dir: &Path) -> bool {
    processes(dir).contains(&std::process::id())
}

fn processes(dir: &Path) -> Vec<u32> {
    let text = bounded::text(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Those of groups below, too: a service may have made some.
fn list(dir: &Path, pids: &mut Vec<u32>) {
    pids.extend(processes(dir));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), pids);
        }
    }
}

/// The children of this process, theirs, and who has the mark.
fn marked(mark: &[u8]) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: BTreeMap<u32, u32> =
        pids.filter_map(|pid| Some((pid, Stat::of(pid)?.parent))).collect();
    let own = std::process::id();
    // A line of parents is no longer than there are processes.
    let descends = |pid: u32| {
        let parents = std::iter::successors(Some(pid), |pid| all.get(pid).copied());
        parents.take(all.len() + 1).skip(1).any(|parent| parent == own)
    };
    let is_ours = |pid: &u32| descends(*pid) || has_mark(*pid, mark);
    all.keys().copied().filter(is_ours).collect()
}

fn has_mark(pid: u32, mark: &[u8]) -> bool {
    let environ = bounded::read(format!("/proc/{pid}/environ"), ENVIRON_BYTES).unwrap_or_default();
    environ.split_inclusive(|byte| *byte == 0).any(|entry| entry == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_another_name_is_not_the_units_own() {
        let unified = "0::/user.slice/user@2001.service/app.slice/hopbox-a-b.service\n";
        let at = |text: &str, unit: &str| own_groups(text, unit);
        assert_eq!(at(unified, "hopbox-a-b.service").len(), 2);
        for other in ["hopbox-a.service", "b.service", "app.slice", ""] {
            assert!(at(unified, other).is_empty(), "{other}");
        }
        assert!(at("0::/\n", "").is_empty() && at("0::/x", "").is_empty());
        let both = "9:name=systemd:/a/u.service\n8:pids:/a/u.service\n0::/a/u.service\n";
        let found: Vec<_> = at(both, "u.service");
        let places = ["", "unified/", "systemd/"];
        let expected = places.map(|place| Path::new(GROUPS).join(format!("{place}a/u.service")));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_hides_is_found_by_its_mark_and_others_are_not() {
        use std::os::unix::process::CommandExt;
        use std::process::{Command, Stdio};
        let mark = format!("/x/{}", std::process::id());
        let start = |mark: &str| {
            let mut command = Command::new("sleep");
            command.arg("60").env(MARK, mark).process_group(0).stdout(Stdio::null());
            command.spawn().unwrap()
        };
        // Children of ours in any case: by descent both are found.
        let (mut ours, mut other) = (start(&mark), start(&format!("{mark}0")));
        let full = format!("{MARK}={mark}\0").into_bytes();
        // A start returns before the kernel shows the new program's environment.
        let begun = std::time::Instant::now();
        while !has_mark(ours.id(), &full) && begun.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        assert!(has_mark(ours.id(), &full) && !has_mark(other.id(), &full));
        assert!(marked(&full).contains(&other.id()), "a child of this process");
        let members = Group::find(None, &mark).members();
        assert!(members.iter().any(|member| member.pid == ours.id()));
        assert!(!members.iter().any(|member| member.pid == std::process::id()));
        for child in [&mut ours, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
