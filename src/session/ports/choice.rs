//! At which number a port of the server's answers here.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::door::{Cannot, Door};
use super::ledger::Ledger;
use super::view::WhyNot;
use crate::sys::listener;
use crate::sys::listeners::{self, Listener};
use crate::sys::socket_owner::{self, Owner};

/// Numbers that are tried above the one that is taken.
const TRIES: usize = 4096;
/// The program of the user's own forwardings.
const SSH: &str = "ssh";

/// Where a port is now.
#[derive(Default)]
pub struct Place {
    pub door: Option<Door>,
    pub why_not: Option<WhyNot>,
}

impl Place {
    fn nowhere(why: WhyNot) -> Place {
        Place { door: None, why_not: Some(why) }
    }
}

/// What is known besides the ledger.
pub struct Choice<'a> {
    pub ledger: &'a Ledger,
    /// Whether this number is, or will be, that of another port.
    pub is_anothers: &'a dyn Fn(u16) -> bool,
    pub owners: &'a Owners,
}

impl Choice<'_> {
    /// Nowhere, as its user wants it.
    pub fn unwanted(&self, port: u16) -> Option<Place> {
        let entry = self.ledger.of(port);
        let is_off = !self.ledger.is_auto() && !entry.is_pinned;
        let why = if entry.is_excluded { Some(WhyNot::Excluded) } else { None };
        why.or(is_off.then_some(WhyNot::Off)).map(Place::nowhere)
    }

    /// The number that it should have, if it can be had.
    pub fn first(&self, port: u16) -> Option<Place> {
        let entry = self.ledger.of(port);
        let meant = entry.local.unwrap_or(port);
        let moved = || match entry.is_pinned {
            true => WhyNot::Pinned,
            false if port < listener::first_unprivileged() => WhyNot::Privileged,
            false => self.owners.why(port),
        };
        match Door::open(meant) {
            Ok(door) => Some(Place { door: Some(door), why_not: (meant != port).then(moved) }),
            // A number that the user chose is no other.
            Err(cannot) if entry.is_pinned => Some(Place::nowhere(self.why(&cannot, meant))),
            Err(_) => None,
        }
    }

    /// Another one, for those that have not got theirs.
    pub fn next(&self, port: u16) -> Place {
        let why = match Door::open(port) {
            // It became free just now.
            Ok(door) => return Place { door: Some(door), ..Place::default() },
            Err(cannot) => self.why(&cannot, port),
        };
        if matches!(why, WhyNot::SshForward { .. }) {
            return Place::nowhere(why);
        }
        let remembered: BTreeSet<u16> = self.ledger.numbers_but(port).collect();
        for number in above(port, listener::first_unprivileged()) {
            if (self.is_anothers)(number) || remembered.contains(&number) {
                continue;
            }
            match Door::open(number) {
                Ok(door) => return Place { door: Some(door), why_not: Some(why) },
                Err(Cannot::Taken | Cannot::Privileged) => {}
                Err(Cannot::Failed(_)) => break,
            }
        }
        Place::nowhere(WhyNot::Full)
    }

    fn why(&self, cannot: &Cannot, number: u16) -> WhyNot {
        match cannot {
            Cannot::Privileged => WhyNot::Privileged,
            Cannot::Failed(_) => WhyNot::Full,
            Cannot::Taken => {
                let (by, owner) = (self.owners.named(number), self.owners.of(number));
                match owner.is_some_and(|it| it.program == SSH) {
                    true => WhyNot::SshForward { by },
                    false => WhyNot::Taken { by },
                }
            }
        }
    }
}

/// The numbers above one, from the first on that every user may have.
fn above(port: u16, first: u16) -> impl Iterator<Item = u16> {
    (port.saturating_add(1).max(first)..=u16::MAX).filter(move |it| *it != port).take(TRIES)
}

/// Who listens at which number here, as far as we may know; looked at once, if at all.
#[derive(Default)]
pub struct Owners {
    listeners: OnceCell<Vec<Listener>>,
    owners: OnceCell<BTreeMap<u64, Owner>>,
}

impl Owners {
    /// Why a port is not at its own number that was moved, now or another day.
    pub fn why(&self, port: u16) -> WhyNot {
        match self.has(port) {
            true => WhyNot::Taken { by: self.named(port) },
            false => WhyNot::Kept,
        }
    }

    /// Whether somebody listens there.
    pub fn has(&self, number: u16) -> bool {
        self.at(number).next().is_some()
    }

    fn listeners(&self) -> &[Listener] {
        let is_here = |one: &Listener| one.ip.is_loopback() || one.ip.is_unspecified();
        let all = || listeners::all().into_iter().flatten().filter(is_here).collect();
        self.listeners.get_or_init(all)
    }

    fn at(&self, number: u16) -> impl Iterator<Item = &Listener> {
        self.listeners().iter().filter(move |one| one.port == number)
    }

    fn of(&self, number: u16) -> Option<&Owner> {
        let inodes = || self.listeners().iter().map(|one| one.inode).collect::<Vec<_>>();
        let owners = self.owners.get_or_init(|| socket_owner::owners(&inodes()));
        self.at(number).find_map(|one| owners.get(&one.inode))
    }

    /// Its program and process. That of another host's mirror lets nobody look.
    fn named(&self, number: u16) -> Option<String> {
        self.of(number).map(|owner| format!("{} (pid {})", owner.program, owner.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::paths::Paths;
    use std::net::TcpListener;

    #[test]
    fn the_numbers_above_begin_where_users_may_have_them() {
        assert_eq!(above(80, 1024).next(), Some(1024));
        assert_eq!(above(80, 0).next(), Some(81));
        assert_eq!(above(5173, 1024).take(2).collect::<Vec<_>>(), [5174, 5175]);
        assert_eq!(above(65_535, 1024).next(), None);
        assert_eq!(above(65_534, 1024).collect::<Vec<_>>(), [65_535]);
        assert_eq!(above(1, 1).count(), TRIES);
    }

    #[test]
    fn a_number_that_is_taken_gives_way_to_the_next_free_one_above() {
        let dir = std::env::temp_dir().join(format!("hopbox-choice-{}", std::process::id()));
        let (mut ledger, _) = Ledger::open(&Paths::below(&dir), "mybox");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let skipped = port.wrapping_add(1);
        let is_anothers = |number| number == skipped;
        let owners = Owners::default();
        let choice = Choice { ledger: &ledger, is_anothers: &is_anothers, owners: &owners };
        assert!(choice.first(port).is_none());
        let place = choice.next(port);
        let number = place.door.as_ref().unwrap().number;
        assert!(number > port && number != skipped, "{number}");
        if cfg!(target_os = "linux") {
            let me = format!("(pid {})", std::process::id());
            let Some(WhyNot::Taken { by: Some(by) }) = &place.why_not else { panic!("whose?") };
            assert!(by.ends_with(&me), "{by}");
        }
        // Remembered, where it is free again; also when its own is.
        drop((place, taken));
        ledger.moved(port, number);
        let owners = Owners::default();
        let choice = Choice { ledger: &ledger, is_anothers: &is_anothers, owners: &owners };
        let place = choice.first(port).unwrap();
        assert_eq!(place.why_not, Some(WhyNot::Kept));
        assert_eq!(place.door.unwrap().number, number);
        // Pinned to one that is taken it is nowhere.
        let taken = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let taken = taken.unwrap();
        let pinned = taken.local_addr().unwrap().port();
        ledger.change(port, |entry| (entry.local, entry.is_pinned) = (Some(pinned), true));
        let owners = Owners::default();
        let choice = Choice { ledger: &ledger, is_anothers: &is_anothers, owners: &owners };
        let place = choice.first(port).unwrap();
        assert!(place.door.is_none() && matches!(place.why_not, Some(WhyNot::Taken { .. })));
        ledger.change(port, |entry| entry.is_excluded = true);
        let owners = Owners::default();
        let choice = Choice { ledger: &ledger, is_anothers: &is_anothers, owners: &owners };
        assert_eq!(choice.unwanted(port).unwrap().why_not, Some(WhyNot::Excluded));
    }
}
