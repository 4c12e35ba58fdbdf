//! What a service takes, at which ports it listens, and what one that failed said last: looked at
//! in the files of the kernel and of its keeper when somebody asks.
//!
//! Bounds: 32768 processes are looked at, 1024 of one service, 4096 descriptors of one process.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::cgroup::Cgroup;
use crate::agent::keeper::log::Voice;
use crate::agent::keeper::reader::{Next, Reader, Start};
use crate::rpc::types::details::{Details, LAST_LINES, PORTS};
use crate::rpc::types::services::{ServiceState, ServiceView};
use crate::sys::process_stat::Stat;
use crate::sys::{bounded, listeners, socket_owner};

const PROCESSES: usize = 32 * 1024;
const OF_ONE: usize = 1024;
const DESCRIPTORS: usize = 4096;
/// The keeper's own lines are among them.
const LOOKED_BACK: u32 = 40;
const LINE_CHARS: usize = 200;

/// What is looked at once for all services of an answer, when it is wanted.
#[derive(Default)]
pub struct Look {
    processes: OnceCell<BTreeMap<u32, Stat>>,
    /// Of each network, by the kernel's name of it.
    listening: RefCell<BTreeMap<PathBuf, Rc<Listening>>>,
}

/// The ports of sockets that listen, by their inodes.
type Listening = BTreeMap<u64, u16>;

impl Look {
    /// Of the network that a process is in: another one's takes the kernel 10 ms.
    fn listening(&self, pid: u32) -> Rc<Listening> {
        let network = fs::read_link(format!("/proc/{pid}/ns/net"));
        let network = network.unwrap_or_else(|_| PathBuf::from(pid.to_string()));
        let mut all = self.listening.borrow_mut();
        let read = || {
            let all = listeners::of(&pid.to_string()).into_iter().flatten();
            Rc::new(all.map(|one| (one.inode, one.port)).collect())
        };
        all.entry(network).or_insert_with(read).clone()
    }

    fn all(&self) -> &BTreeMap<u32, Stat> {
        let look = || {
            let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.take(PROCESSES).filter_map(|pid| Some((pid, Stat::of(pid)?))).collect()
        };
        self.processes.get_or_init(look)
    }

    /// Those of a service without a unit: of the session of its first process, and what descends
    /// from those.
    fn of(&self, first: u32) -> Vec<u32> {
        let all = self.all();
        let of_session = all.iter().filter(|(pid, stat)| **pid == first || stat.session == first);
        let mut found: Vec<u32> = of_session.map(|(pid, _)| *pid).collect();
        let mut known: BTreeSet<u32> = found.iter().copied().collect();
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            let children = all.iter().filter(|(_, stat)| stat.parent == parent);
            found.extend(children.map(|(pid, _)| *pid).filter(|pid| known.insert(*pid)));
            at += 1;
        }
        found
    }
}

pub fn of(view: &ServiceView, unit: &str, dir: &Path, look: &Look) -> Details {
    let mut details = Details::default();
    if let Some(pid) = view.pid {
        let unit = format!("{unit}.service");
        let group = Some(Cgroup::of(pid, &unit)).filter(|group| group.is_of(&unit));
        let mut members =
            group.as_ref().map_or_else(|| look.of(pid), |group| group.processes(&unit));
        members.truncate(OF_ONE);
        details.cpu_ms = group.as_ref().and_then(group_cpu_ms).or_else(|| cpu_ms(&members));
        details.memory_bytes = group.as_ref().and_then(group_memory).or_else(|| {
            let all = members.iter().filter_map(|pid| memory(*pid));
            all.reduce(u64::saturating_add)
        });
        details.ports = ports(pid, &members, look);
    }
    if matches!(view.state, ServiceState::Failed | ServiceState::GaveUp | ServiceState::Waiting) {
        details.last_lines = last_lines(dir);
    }
    details
}

fn cpu_ms(members: &[u32]) -> Option<u64> {
    let all = members.iter().filter_map(|pid| Some(Stat::of(*pid)?.cpu_ms));
    all.reduce(u64::saturating_add)
}

fn group_cpu_ms(group: &Cgroup) -> Option<u64> {
    let old = || group.value("cpuacct", "none", "cpuacct.usage")?.parse::<u64>().ok();
    let new = group.number("cpu", "cpu.stat", "usage_usec");
    new.map(|us| us / 1000).or_else(|| old().map(|ns| ns / 1_000_000))
}

/// Without what the kernel keeps of files that it could read again.
fn group_memory(group: &Cgroup) -> Option<u64> {
    let all = group.value("memory", "memory.current", "memory.usage_in_bytes")?;
    let files = |name| group.number("memory", "memory.stat", name);
    let files = files("total_inactive_file").or_else(|| files("inactive_file"));
    Some(all.parse::<u64>().ok()?.saturating_sub(files.unwrap_or(0)))
}

fn memory(pid: u32) -> Option<u64> {
    let text = bounded::text(format!("/proc/{pid}/status")).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Those sockets of these processes that listen.
fn ports(pid: u32, members: &[u32], look: &Look) -> Vec<u16> {
    let mut sockets = BTreeSet::new();
    for pid in members {
        sockets.extend(socket_owner::sockets(*pid, DESCRIPTORS));
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let listening = look.listening(pid);
    let ports: BTreeSet<u16> =
        sockets.iter().filter_map(|inode| listening.get(inode).copied()).collect();
    ports.into_iter().take(PORTS).collect()
}

fn last_lines(dir: &Path) -> Vec<String> {
    let mut reader = Reader::open(dir, Start::Last(LOOKED_BACK));
    let mut all = Vec::new();
    // No more than there were: a log may grow as it is read.
    for _ in 0..LOOKED_BACK {
        match reader.next_line() {
            Ok(Next::Line(line)) if line.voice != Voice::Keeper => {
                let text = String::from_utf8_lossy(&line.text);
                all.push(text.chars().take(LINE_CHARS).collect());
            }
            Ok(Next::Line(_) | Next::Skipped) => {}
            Ok(Next::End) | Err(_) => break,
        }
    }
    all.split_off(all.len().saturating_sub(LAST_LINES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let own = std::process::id();
        let look = Look::default();
        let members = look.of(own);
        assert!(members.contains(&own) && !members.contains(&1));
        assert!(cpu_ms(&members).is_some());
        assert!(ports(own, &members, &look).contains(&port));
        drop(socket);
        let listens = |look: &Look| look.listening(own).values().any(|known| *known == port);
        assert!(listens(&look) && !listens(&Look::default()), "it is looked once");
        assert!(memory(own).unwrap() > 1024 * 1024);
    }

    #[test]
    fn a_group_of_either_kind_is_read() {
        let trees = std::env::temp_dir().join(format!("hopbox-details-{}", std::process::id()));
        let put = |file: &str, text: &str| {
            let path = trees.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("a/u.service/cpu.stat", "usage_usec 5000\nuser_usec 1\n");
        put("a/u.service/memory.current", "9000\n");
        put("a/u.service/memory.stat", "file 7\ninactive_file 1000\n");
        let new = Cgroup::at(&trees, "0::/a/u.service\n");
        assert_eq!((group_cpu_ms(&new), group_memory(&new)), (Some(5), Some(8000)));
        put("cpuacct/a/cpuacct.usage", "7000000\n");
        put("memory/a/memory.usage_in_bytes", "5000\n");
        put("memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 1000\n");
        let old = Cgroup::at(&trees, "4:memory:/a\n2:cpu,cpuacct:/a\n0::/x\n");
        assert_eq!((group_cpu_ms(&old), group_memory(&old)), (Some(7), Some(4000)));
        let none = Cgroup::at(&trees, "0::/none\n");
        assert_eq!((group_cpu_ms(&none), group_memory(&none)), (None, None));
        fs::remove_dir_all(&trees).unwrap();
    }
}
