//! Who may have how many connections at a time, and who makes room when there are too many:
//! whoever has made no progress for the longest, so that a request that is on its way is the last
//! to go. Pure: numbers and moments in, a decision out.
//!
//! | from | connections at a time | of these, with more than a head |
//! |---|---|---|
//! | the address of a peer that the service knows | 96 for each, whoever else asks | 80 |
//! | this machine: its own address, loopback | 8 for each address, 24 for all of them | 6 |
//! | anywhere else | none, not a byte of an answer | |
//!
//! 384 in all: peers share what the others leave, and the one with the most gives way. What is
//! answered from its head alone, as `/health` is, has the difference to itself: bodies, methods,
//! answers and streams never have all the slots of anybody.
//!
//! Must not know: sockets, HTTP.

use std::net::Ipv4Addr;
use std::time::Instant;

pub const TOTAL: usize = 384;
pub const PEER: usize = 96;
pub const HERE: usize = 8;
pub const ALL_HERE: usize = 24;
/// Slots of each source that are left to whoever has sent no more than a head.
const PEER_HEADS: usize = 16;
const HERE_HEADS: usize = 2;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Peer(Ipv4Addr),
    Here(Ipv4Addr),
}

impl Source {
    /// `None` for whom there is no slot. `own` is the service's address.
    pub fn of(from: Ipv4Addr, own: Ipv4Addr, is_peer: bool) -> Option<Source> {
        match from {
            _ if is_peer => Some(Source::Peer(from)),
            _ if from == own || from.is_loopback() => Some(Source::Here(from)),
            _ => None,
        }
    }

    fn is_here(self) -> bool {
        matches!(self, Source::Here(_))
    }
}

/// What is known of a connection that has a slot.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub id: u64,
    pub source: Source,
    /// When it last got further.
    pub moved: Instant,
    /// What has sent more than a head.
    pub past_head: bool,
    /// What is being worked on does not make room.
    pub stays: bool,
}

/// What is to be done about one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Free,
    /// Once this one has been closed.
    InPlaceOf(u64),
    None,
}

/// A slot for one more connection from `source` among those that there are.
pub fn slot(held: &[Held], source: Source) -> Slot {
    let count = |those: &dyn Fn(&Held) -> bool| held.iter().filter(|one| those(one)).count();
    let same = |one: &Held| one.source == source;
    let here = |one: &Held| one.source.is_here();
    let limit = if source.is_here() { HERE } else { PEER };
    if count(&same) >= limit {
        return stillest(held, &same);
    }
    if source.is_here() && count(&here) >= ALL_HERE {
        return of_the_greediest(held, &here);
    }
    if held.len() >= TOTAL {
        return of_the_greediest(held, &|_| true);
    }
    Slot::Free
}

/// The same for one of them that has sent its head, and wants more than an answer to that.
pub fn slot_past_head(held: &[Held], source: Source) -> Slot {
    let limit = if source.is_here() { HERE - HERE_HEADS } else { PEER - PEER_HEADS };
    let those = |one: &Held| one.source == source && one.past_head;
    if held.iter().filter(|one| those(one)).count() < limit {
        return Slot::Free;
    }
    stillest(held, &those)
}

/// Among `those`, of the source that has the most of them.
fn of_the_greediest(held: &[Held], those: &dyn Fn(&Held) -> bool) -> Slot {
    let share = |one: &Held| held.iter().filter(|other| other.source == one.source).count();
    let most = held.iter().filter(|one| those(one)).map(share).max();
    stillest(held, &|one| those(one) && Some(share(one)) == most)
}

fn stillest(held: &[Held], those: &dyn Fn(&Held) -> bool) -> Slot {
    let may_go = held.iter().filter(|one| !one.stays && those(one));
    may_go.min_by_key(|one| (one.moved, one.id)).map_or(Slot::None, |one| Slot::InPlaceOf(one.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

    fn peer(n: u8) -> Source {
        Source::Peer(Ipv4Addr::new(10, 10, 0, n))
    }

    fn here(n: u8) -> Source {
        Source::Here(Ipv4Addr::new(127, 0, 0, n))
    }

    /// The later, the further in the list.
    fn held(sources: &[Source]) -> Vec<Held> {
        let began = Instant::now();
        let one = |(n, source): (usize, &Source)| Held {
            id: n as u64,
            source: *source,
            moved: began + Duration::from_millis(n as u64),
            past_head: false,
            stays: false,
        };
        sources.iter().enumerate().map(one).collect()
    }

    #[test]
    fn who_has_a_slot_at_all() {
        let source = |text: &str, is_peer| Source::of(text.parse().unwrap(), OWN, is_peer);
        assert_eq!(source("10.10.0.1", true), Some(peer(1)));
        assert_eq!(source("10.10.0.2", false), Some(Source::Here(OWN)));
        assert_eq!(source("127.9.9.9", false).map(Source::is_here), Some(true));
        // A container, the LAN, another network of the tunnel's, an address of this machine's.
        for text in ["172.17.0.2", "192.0.2.7", "10.10.0.3", "10.10.1.1", "0.0.0.0"] {
            assert_eq!(source(text, false), None, "{text}");
        }
    }

    #[test]
    fn nobody_takes_anothers_slots() {
        let mut all: Vec<Source> = (0..ALL_HERE as u8).map(|n| here(n % 250)).collect();
        let full = held(&all);
        assert_eq!(slot(&full, here(251)), Slot::InPlaceOf(0), "the one that waits longest");
        assert_eq!(slot(&full, peer(1)), Slot::Free);
        all.extend([peer(1); PEER]);
        let full = held(&all);
        assert_eq!(slot(&full, peer(1)), Slot::InPlaceOf(ALL_HERE as u64));
        assert_eq!(slot(&full, peer(3)), Slot::Free);
        let eight = held(&[here(1); HERE]);
        assert_eq!(slot(&eight, here(1)), Slot::InPlaceOf(0));
        assert_eq!(slot(&eight, here(2)), Slot::Free);
    }

    #[test]
    fn the_one_with_the_most_makes_room_and_work_goes_on() {
        let mut all = vec![peer(1); PEER];
        for n in 3..6 {
            all.extend([peer(n); PEER - 1]);
        }
        all.extend([peer(9); 3]);
        let mut full = held(&all);
        assert_eq!(full.len(), TOTAL);
        assert_eq!(slot(&full, peer(7)), Slot::InPlaceOf(0));
        for one in full.iter_mut().take(PEER - 1) {
            one.stays = true;
        }
        assert_eq!(slot(&full, peer(7)), Slot::InPlaceOf(PEER as u64 - 1));
        full.iter_mut().for_each(|one| one.stays = true);
        assert_eq!(slot(&full, peer(7)), Slot::None);
    }

    #[test]
    fn heads_have_slots_that_nothing_else_takes() {
        for (source, most, limit) in [(peer(1), PEER, 80), (here(1), HERE, 6)] {
            let mut full = held(&vec![source; most]);
            assert_eq!(slot_past_head(&full, source), Slot::Free);
            full.iter_mut().take(limit).for_each(|one| one.past_head = true);
            assert_eq!(slot_past_head(&full, source), Slot::InPlaceOf(0));
            assert_eq!(slot_past_head(&full, peer(2)), Slot::Free, "another's");
            full.iter_mut().take(limit).for_each(|one| one.stays = true);
            assert_eq!(slot_past_head(&full, source), Slot::None);
            // One more head still finds a slot.
            assert_eq!(slot(&full, source), Slot::InPlaceOf(limit as u64));
        }
    }
}
