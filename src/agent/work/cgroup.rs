//! The kernel's files for the group that a process is in: in the one tree of all controllers, or in
//! that of the controller's own.

use std::path::{Path, PathBuf};

use crate::agent::keeper::group;
use crate::sys::bounded;

const TREES: &str = "/sys/fs/cgroup";

pub struct Cgroup {
    trees: PathBuf,
    /// As `/proc/PID/cgroup` names it.
    names: String,
}

impl Cgroup {
    /// That of the unit where the process is in it, whatever groups it made below; else its own.
    pub fn of(pid: u32, unit: &str) -> Cgroup {
        let names = bounded::text(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Cgroup::at(Path::new(TREES), &up_to(&names, unit))
    }

    pub fn at(trees: &Path, names: &str) -> Cgroup {
        Cgroup { trees: trees.to_owned(), names: names.to_owned() }
    }

    pub fn is_of(&self, unit: &str) -> bool {
        lines(&self.names).any(|(_, group)| group.rsplit('/').next() == Some(unit))
    }

    /// All processes of the unit that it is of.
    pub fn processes(&self, unit: &str) -> Vec<u32> {
        group::of_unit(&self.names, unit)
    }

    /// What a file says: `new` in the one tree, `old` in the controller's.
    pub fn value(&self, controller: &str, new: &str, old: &str) -> Option<String> {
        let read = |tree: &str, group: &str, file: &str| {
            let path = self.trees.join(tree).join(group.trim_start_matches('/')).join(file);
            bounded::text(path).ok().map(|text| text.trim().to_owned())
        };
        lines(&self.names).find_map(|(tree, group)| match tree {
            "" => read("", group, new),
            tree => {
                let is_it = tree.split(',').any(|name| name == controller);
                is_it.then(|| read(controller, group, old)).flatten()
            }
        })
    }

    /// A line of a file of many: `name value`.
    pub fn number(&self, controller: &str, file: &str, name: &str) -> Option<u64> {
        let text = self.value(controller, file, file)?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(found, _)| *found == name)?.1.trim().parse().ok()
    }
}

/// The same without what is below the unit.
fn up_to(names: &str, unit: &str) -> String {
    let cut = |line: &str| {
        let at = line.find(&format!("/{unit}/")).map(|at| at + 1 + unit.len());
        format!("{}\n", at.and_then(|at| line.get(..at)).unwrap_or(line))
    };
    names.lines().map(cut).collect()
}

fn lines(names: &str) -> impl Iterator<Item = (&str, &str)> {
    names.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_above_the_groups_that_a_service_made() {
        let at = |names: &str| {
            let cut = up_to(names, "u.service");
            (Cgroup::at(Path::new(TREES), &cut).is_of("u.service"), cut)
        };
        let both = "3:pids:/x/u.service\n0::/x/u.service\n";
        assert_eq!(at("3:pids:/x/u.service/sub\n0::/x/u.service/a/b\n"), (true, both.to_owned()));
        assert_eq!(at(both), (true, both.to_owned()));
        for other in ["0::/x/au.service\n", "0::/u.service.d/a\n", "0::/\n", ""] {
            assert_eq!(at(other), (false, other.to_owned()));
        }
    }
}
