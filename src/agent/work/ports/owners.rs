//! Which of this login's processes has a socket: found once, by its number among what processes
//! have open, and then only looked at whether it is there still.
//!
//! Bounds: 32768 processes, 32768 descriptors of each; one whose process is not found is looked for
//! again after 1 s, four times that the next time, and so on up to ten minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::checkouts::Checkouts;
use super::owner;
use crate::rpc::types::ports::Owner;
use crate::rpc::types::services::ServiceName;
use crate::sys::process_stat::Stat;
use crate::sys::{process, socket_owner};

const PROCESSES: usize = 32 * 1024;
const DESCRIPTORS: usize = 32 * 1024;
const GENERATIONS: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// One look at 8,000 descriptors takes 40 ms.
const LAST_PAUSE: Duration = Duration::from_secs(600);

/// Sockets by the kernel's numbers of them.
pub type Inodes = BTreeSet<u64>;

#[derive(Default)]
pub struct Owners {
    sockets: BTreeMap<u64, Found>,
    processes: BTreeMap<u32, Known>,
    checkouts: Checkouts,
}

enum Found {
    Process(u32),
    /// None of ours, as far as can be seen.
    Nobody {
        again: Instant,
        pause: Duration,
    },
}

struct Known {
    /// Clock ticks since the machine started: it is this one and no other.
    start: u64,
    service: Option<ServiceName>,
    is_ours: bool,
    dir: Option<PathBuf>,
    owner: Owner,
}

impl Known {
    fn of(pid: u32) -> Option<Known> {
        let start = Stat::of(pid)?.start;
        let (service, is_ours) = (owner::service(pid), owner::is_ours(pid));
        let dir = owner::dir(pid);
        let owner = owner::of(pid, dir.as_deref(), service.as_ref());
        Some(Known { start, service, is_ours, dir, owner })
    }

    /// False if it has gone.
    fn look(&mut self, pid: u32) -> bool {
        let is_there = Stat::of(pid).is_some_and(|now| now.start == self.start && !now.is_over);
        if is_there {
            self.dir = owner::dir(pid);
            self.owner = owner::of(pid, self.dir.as_deref(), self.service.as_ref());
        }
        is_there
    }
}

impl Owners {
    /// These are the sockets that there are.
    pub fn look(&mut self, inodes: &Inodes, now: Instant) {
        self.processes.retain(|pid, known| known.look(*pid));
        let processes = &self.processes;
        self.sockets.retain(|inode, found| {
            let is_known = match found {
                Found::Process(pid) => processes.contains_key(pid),
                Found::Nobody { .. } => true,
            };
            is_known && inodes.contains(inode)
        });
        let is_wanted = |inode: &u64| match self.sockets.get(inode) {
            None => true,
            Some(Found::Nobody { again, .. }) => *again <= now,
            Some(Found::Process(_)) => false,
        };
        let wanted: Inodes = inodes.iter().copied().filter(is_wanted).collect();
        if !wanted.is_empty() {
            self.find(&wanted, now);
        }
        let used: BTreeSet<u32> = self.sockets.values().filter_map(Found::pid).collect();
        self.processes.retain(|pid, _| used.contains(pid));
        let place = |(pid, known): (&u32, &'_ Known)| Some((*pid, known.dir.clone()?));
        let places: Vec<_> = self.processes.iter().filter_map(place).collect();
        self.checkouts.look(places.iter().map(|(pid, dir)| (*pid, dir.as_path())));
    }

    fn find(&mut self, wanted: &Inodes, now: Instant) {
        let holders = holders(wanted);
        for inode in wanted {
            let pid = holders.get(inode).copied().filter(|pid| {
                let known = self.processes.contains_key(pid);
                known || Known::of(*pid).map(|new| self.processes.insert(*pid, new)).is_some()
            });
            let before = self.sockets.get(inode);
            let found = pid.map_or_else(|| Found::nobody(before, now), Found::Process);
            self.sockets.insert(*inode, found);
        }
    }

    fn known(&self, inode: u64) -> Option<&Known> {
        self.processes.get(&self.sockets.get(&inode)?.pid()?)
    }

    pub fn owner(&self, inode: u64) -> Option<Owner> {
        let known = self.known(inode)?;
        let (pid, dir) = (known.owner.pid?, known.dir.as_deref());
        let checkout = dir.and_then(|dir| self.checkouts.of(pid, dir));
        Some(owner::with_checkout(&known.owner, checkout))
    }

    /// When its process began.
    pub fn start(&self, inode: u64) -> Option<u64> {
        Some(self.known(inode)?.start)
    }

    /// It is a socket of this program itself.
    pub fn is_ours(&self, inode: u64) -> bool {
        self.known(inode).is_some_and(|known| known.is_ours)
    }
}

impl Found {
    fn pid(&self) -> Option<u32> {
        match self {
            Found::Process(pid) => Some(*pid),
            Found::Nobody { .. } => None,
        }
    }

    fn nobody(before: Option<&Found>, now: Instant) -> Found {
        let pause = match before {
            Some(Found::Nobody { pause, .. }) => (*pause * 4).min(LAST_PAUSE),
            _ => FIRST_PAUSE,
        };
        Found::Nobody { again: now + pause, pause }
    }
}

/// A process for each socket, as far as one has it: of those that have inherited it, the one that
/// the others come from.
fn holders(wanted: &Inodes) -> BTreeMap<u64, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = pids.take(PROCESSES).collect();
    // What has begun to listen has most often just begun.
    pids.sort_unstable_by(|one, other| other.cmp(one));
    let uid = process::uid();
    let mut found = BTreeMap::new();
    for pid in pids {
        if found.len() == wanted.len() {
            break;
        }
        if fs::metadata(format!("/proc/{pid}")).is_ok_and(|process| process.uid() == uid) {
            for inode in sockets(pid).filter(|inode| wanted.contains(inode)) {
                found.entry(inode).or_insert(pid);
            }
        }
    }
    found.into_iter().map(|(inode, pid)| (inode, eldest(inode, pid))).collect()
}

fn sockets(pid: u32) -> impl Iterator<Item = u64> {
    socket_owner::sockets(pid, DESCRIPTORS)
}

fn eldest(inode: u64, mut pid: u32) -> u32 {
    for _ in 0..GENERATIONS {
        match Stat::of(pid).map(|stat| stat.parent) {
            Some(parent) if sockets(parent).any(|its| its == inode) => pid = parent,
            _ => break,
        }
    }
    pid
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    fn inode(socket: &TcpListener) -> u64 {
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let text = link.to_str().unwrap().to_owned();
        text.strip_prefix("socket:[").unwrap().strip_suffix(']').unwrap().parse().unwrap()
    }

    #[test]
    fn a_socket_is_whose_it_is_also_when_others_inherit_it_and_when_they_are_left() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode(&socket);
        // A child that has it, too, from a shell that the test is not.
        let its = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::from(its)).spawn().unwrap();
        let all = Inodes::from([inode, 1]);
        assert_eq!(holders(&all), BTreeMap::from([(inode, std::process::id())]));
        let (mut owners, now) = (Owners::default(), Instant::now());
        owners.look(&all, now);
        assert!(owners.is_ours(inode) && owners.owner(1).is_none());
        assert_eq!(owners.owner(inode).unwrap().pid, Some(std::process::id()));
        drop(socket);
        // As if the one who had it had gone.
        owners.processes.clear();
        owners.look(&all, now);
        let owner = owners.owner(inode).unwrap();
        assert_eq!((owner.pid, owner.program.as_deref()), (Some(child.id()), Some("sleep")));
        assert!(!owners.is_ours(inode));
        child.kill().unwrap();
        child.wait().unwrap();
        owners.look(&Inodes::new(), now);
        assert!(owners.sockets.is_empty() && owners.processes.is_empty());
    }

    #[test]
    fn who_is_not_found_is_looked_for_less_and_less() {
        let (mut owners, mut now) = (Owners::default(), Instant::now());
        let all = Inodes::from([1]);
        for pause_s in [1, 4, 16, 64, 256, 600, 600] {
            owners.look(&all, now);
            let Some(&Found::Nobody { again, .. }) = owners.sockets.get(&1) else { panic!() };
            assert_eq!(again, now + Duration::from_secs(pause_s));
            owners.look(&all, now + Duration::from_millis(500));
            now = again;
        }
    }
}
