//! Which process has a socket, as far as this user may look: what /proc tells. Elsewhere than on
//! Linux it tells nothing.

use std::collections::BTreeMap;
use std::fs;

use super::bounded;

/// Most processes that are looked at, and most descriptors of one.
const PROCESSES: usize = 50_000;
const DESCRIPTORS: usize = 4096;
const NAME_BYTES: u64 = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// As the kernel has it: any 15 bytes that the process chose.
    pub program: String,
}

/// For each of these sockets, by their inodes, a process that has it; one look at all processes.
pub fn owners(inodes: &[u64]) -> BTreeMap<u64, Owner> {
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().take(PROCESSES);
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if found.len() >= inodes.len() {
            break;
        }
        for socket in sockets(pid, DESCRIPTORS).filter(|socket| inodes.contains(socket)) {
            found.entry(socket).or_insert_with(|| Owner { pid, program: program(pid) });
        }
    }
    found
}

fn program(pid: u32) -> String {
    let name = bounded::read(format!("/proc/{pid}/comm"), NAME_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

/// The sockets of a process, by their inodes, among so many of its descriptors.
pub fn sockets(pid: u32, descriptors: usize) -> impl Iterator<Item = u64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = open.take(descriptors).filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter_map(|target| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::listeners;
    use std::net::TcpListener;

    #[test]
    fn who_has_a_socket_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = listeners::all().unwrap().into_iter().find(|one| one.port == port).unwrap();
        let owners = owners(&[found.inode, u64::MAX]);
        assert_eq!(owners.len(), 1);
        assert_eq!(owners[&found.inode].pid, std::process::id());
    }
}
