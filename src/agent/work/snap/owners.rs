//! Whose files are: of those of other users, and of groups that this login is not in, a restore by
//! it makes its own, since only root gives files away. restic says nothing of that and ends well.
//!
//! Bounds: 8 users and 8 groups are named.

use std::collections::BTreeSet;

use crate::sys::process;

const NAMED: usize = 8;

/// What this login could not give back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    pub files: u64,
    users: Ids,
    groups: Ids,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ids {
    named: BTreeSet<u32>,
    has_more: bool,
}

impl Ids {
    fn add(&mut self, id: u32) {
        if self.named.len() < NAMED {
            self.named.insert(id);
        } else {
            self.has_more |= !self.named.contains(&id);
        }
    }

    fn said(&self, what: &str) -> Option<String> {
        let ids: Vec<String> = self.named.iter().map(u32::to_string).collect();
        let more = if self.has_more { " and more" } else { "" };
        (!ids.is_empty()).then(|| format!("{what} {}{more}", ids.join(", ")))
    }
}

/// Who restores.
pub struct Login {
    pub uid: u32,
    pub groups: Vec<u32>,
}

impl Login {
    pub fn own() -> Login {
        Login { uid: process::uid(), groups: process::groups() }
    }

    pub fn is_other(&self, uid: u32) -> bool {
        uid != self.uid
    }
}

impl Others {
    pub fn see(&mut self, by: &Login, uid: u32, gid: u32) {
        if by.uid != 0 {
            self.count(by, uid, gid);
        }
    }

    /// Also where `by` is root, whose files may come to somebody who is not.
    pub fn count(&mut self, by: &Login, uid: u32, gid: u32) {
        let (user, group) = (by.is_other(uid), !by.groups.contains(&gid));
        if !(user || group) {
            return;
        }
        self.files += 1;
        if user {
            self.users.add(uid);
        }
        if group {
            self.groups.add(gid);
        }
    }

    pub fn add(&mut self, other: &Others) {
        self.files = self.files.saturating_add(other.files);
        for (ours, theirs) in [(&mut self.users, &other.users), (&mut self.groups, &other.groups)] {
            theirs.named.iter().for_each(|id| ours.add(*id));
            ours.has_more |= theirs.has_more;
        }
    }

    /// Empty where there are none.
    pub fn whose(&self) -> String {
        let whose = [self.users.said("uid"), self.groups.said("gid")];
        whose.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// How many there are, and whose.
    pub fn said(&self) -> Option<String> {
        (self.files > 0)
            .then(|| format!("{} of them belong to others ({})", self.files, self.whose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_files_are_is_said_as_far_as_there_is_room() {
        let login = Login { uid: 1000, groups: vec![1000, 27] };
        let mut others = Others::default();
        for (uid, gid) in [(1000, 1000), (1000, 27)] {
            others.see(&login, uid, gid);
        }
        assert_eq!(others.said(), None);
        others.see(&login, 1000, 70);
        others.see(&login, 999, 1000);
        let said = "2 of them belong to others (uid 999; gid 70)";
        assert_eq!(others.said().as_deref(), Some(said));
        let mut more = Others::default();
        (0..9).for_each(|uid| more.see(&login, uid, 1000));
        assert!(more.said().unwrap().contains("(uid 0, 1, 2, 3, 4, 5, 6, 7 and more)"));
        others.add(&more);
        assert!(others.said().unwrap().starts_with("11 of them"));
        let mut none = Others::default();
        none.see(&Login { uid: 0, groups: vec![0] }, 5, 5);
        assert_eq!((none.said(), none.whose().as_str()), (None, ""), "root gives them back");
        none.count(&Login { uid: 0, groups: vec![0] }, 5, 0);
        assert_eq!((none.files, none.whose().as_str()), (1, "uid 5"), "to a login that is not");
    }
}
