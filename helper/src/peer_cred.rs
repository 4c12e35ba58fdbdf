//! Who is at the other end of a connection, by what the kernel recorded at connect().
//!
//! Nothing here is about process ids: they are reused. A lookup that fails means "not
//! admitted". Must not know: the protocol, leases.

use crate::config::Config;
use crate::sys;
use std::os::fd::BorrowedFd;

/// "No user" in chown and friends, and the user that unmapped ids of a user namespace show as.
const NO_UID: u32 = u32::MAX;
const OVERFLOW_UID: u32 = 65_534;
/// The user "nobody" of macOS, -2.
const NOBODY: u32 = u32::MAX - 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    /// For the audit log and nothing else: process numbers are used again.
    pub pid: u32,
    groups: Vec<u32>,
    /// The peer's network namespace, where the kernel tells.
    netns: Option<u64>,
}

impl Peer {
    /// Looks the peer of an accepted socket up; `None` when any part cannot be told.
    pub fn of(socket: BorrowedFd) -> Option<Peer> {
        let (pid, uid, gid) = sys::peer_ids(socket).ok()?;
        let mut groups = sys::peer_groups(socket).unwrap_or_default();
        groups.push(gid);
        Some(Peer { uid, gid, pid, groups, netns: sys::netns_cookie(socket) })
    }

    /// May talk to this helper at all.
    pub fn admitted(&self, config: &Config) -> bool {
        if [NO_UID, OVERFLOW_UID, NOBODY].contains(&self.uid) {
            return false;
        }
        let member = config.group.is_some_and(|group| self.groups.contains(&group));
        self.uid == 0 || member || config.allow_uids.contains(&self.uid)
    }

    /// May ask for devices and names: it lives in the network that they would appear in.
    /// Where the kernel does not tell (before 5.14), everybody does.
    pub fn same_network(&self, own: Option<u64>, config: &Config) -> bool {
        match (self.netns, own) {
            (Some(theirs), Some(own)) => theirs == own || config.allow_netns,
            _ => true,
        }
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
        let config = Config {
            allow_uids: vec![1000, NO_UID, NOBODY],
            group: Some(990),
            ..Config::default()
        };
        assert!(peer(0, &[]).admitted(&Config::default()));
        assert!(peer(1000, &[]).admitted(&config));
        assert!(peer(1001, &[5, 990]).admitted(&config));
        assert!(!peer(1001, &[0, 991]).admitted(&config));
        assert!(!peer(1000, &[990]).admitted(&Config::default()));
        for nobody in [NO_UID, OVERFLOW_UID, NOBODY] {
            assert!(!peer(nobody, &[990]).admitted(&config));
        }
    }

    #[test]
    fn another_network_needs_leave_and_an_unknown_one_does_not() {
        let (strict, lax) = (Config::default(), Config { allow_netns: true, ..Config::default() });
        let here = peer(0, &[]);
        assert!(here.same_network(Some(1), &strict) && here.same_network(None, &strict));
        assert!(!here.same_network(Some(2), &strict) && here.same_network(Some(2), &lax));
        assert!(Peer { netns: None, ..here }.same_network(Some(2), &strict));
    }
}
