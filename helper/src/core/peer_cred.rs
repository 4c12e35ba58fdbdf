//! Who is at the other end of a connection, by what the kernel recorded at connect().
//!
//! Nothing here is about process ids: they are reused. A lookup that fails means "not
//! admitted". Must not know: the protocol, leases.

use crate::sys;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

/// "No user" in chown and friends, the user that unmapped ids of a user namespace show as unless
/// root has chosen another, the same in 16 bits, and the user "nobody" of macOS, -2.
const NOBODIES: [u32; 4] = [u32::MAX, 65_534, 65_535, u32::MAX - 1];
/// What the kernel shows unmapped users as.
const OVERFLOW: &str = "/proc/sys/kernel/overflowuid";

/// Whether a number stands for no user in particular. Whoever is shown as it is a stranger.
pub fn is_nobody(uid: u32) -> bool {
    // Read once: the sandbox takes the file away. Where it cannot be read the default counts.
    static CHOSEN: OnceLock<Option<u32>> = OnceLock::new();
    let read = || std::fs::read_to_string(OVERFLOW).ok()?.trim().parse().ok();
    NOBODIES.contains(&uid) || *CHOSEN.get_or_init(read) == Some(uid)
}

/// Whom root admits.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    pub allow_uids: Vec<u32>,
    /// Serve callers in other network namespaces, too.
    pub allow_netns: bool,
    /// Number of the group `hopbox`, where there is one.
    pub group: Option<u32>,
}

/// Who asks for something on which connection, and then may hold it. Without any it is the helper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub conn: u64,
    pub uid: u32,
    pub gid: u32,
    /// To be told, and nothing else: process numbers are used again.
    pub pid: u32,
}

impl Caller {
    /// Root may touch every object, others their own.
    pub fn owns(self, uid: u32) -> bool {
        self.uid == 0 || self.uid == uid
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
    groups: Vec<u32>,
    /// The peer's network namespace, where the kernel tells.
    netns: Option<u64>,
}

impl Peer {
    /// Looks the peer of an accepted socket up; `None` when any part cannot be told.
    pub fn of(socket: BorrowedFd) -> Option<Peer> {
        let (pid, uid, gid) = sys::peer_ids(socket).ok()?;
        let mut groups = sys::peer_groups(socket).ok()?;
        groups.push(gid);
        let netns = sys::netns_cookie(socket).ok()?;
        Some(Peer { uid, gid, pid, groups, netns })
    }

    pub fn who(&self, conn: u64) -> Caller {
        Caller { conn, uid: self.uid, gid: self.gid, pid: self.pid }
    }

    /// May talk to this helper at all.
    pub fn admitted(&self, admission: &Admission) -> bool {
        if is_nobody(self.uid) {
            return false;
        }
        let member = admission.group.is_some_and(|group| self.groups.contains(&group));
        self.uid == 0 || member || admission.allow_uids.contains(&self.uid)
    }

    /// May ask for devices and names: it lives in the network that they would appear in.
    /// Where the kernel has no way to tell (before 5.14), everybody does; where it has one, a
    /// look-up that fails is another network.
    pub fn same_network(&self, own: Option<u64>, admission: &Admission) -> bool {
        self.netns == own || admission.allow_netns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { uid, gid: uid, pid: 1, groups: groups.to_vec(), netns: Some(1) }
    }

    #[test]
    fn admission_is_by_uid_or_group_and_never_for_nobody() {
        let admission = Admission {
            allow_uids: NOBODIES.into_iter().chain([1000]).collect(),
            group: Some(990),
            ..Admission::default()
        };
        assert!(peer(0, &[]).admitted(&Admission::default()));
        assert!(peer(1000, &[]).admitted(&admission));
        assert!(peer(1001, &[5, 990]).admitted(&admission));
        assert!(!peer(1001, &[0, 991]).admitted(&admission));
        assert!(!peer(1000, &[990]).admitted(&Admission::default()));
        for nobody in NOBODIES {
            assert!(!peer(nobody, &[990]).admitted(&admission));
        }
    }

    #[test]
    fn another_network_needs_leave_and_so_does_one_that_is_not_told() {
        let (strict, lax) =
            (Admission::default(), Admission { allow_netns: true, ..Admission::default() });
        let here = peer(0, &[]);
        assert!(here.same_network(Some(1), &strict));
        for other in [Some(2), None] {
            assert!(!here.same_network(other, &strict) && here.same_network(other, &lax));
        }
        let unknown = Peer { netns: None, ..here };
        assert!(!unknown.same_network(Some(2), &strict) && unknown.same_network(Some(2), &lax));
        assert!(unknown.same_network(None, &strict), "a kernel that knows of no network");
    }
}
