//! Who may have how many connections of the API at a time, and who makes room when there are too
//! many: whoever has made no progress for the longest, so that a request that is on its way is
//! the last to go. Pure: numbers and moments in, a decision out.
//!
//! | from | connections at a time |
//! |---|---|
//! | the tunnel address of a laptop that the agent knows | 96 for each, whoever else asks |
//! | this machine: the agent's own address, loopback | 8 for each address, 24 for all of them |
//! | anywhere else | none, not a byte of an answer |
//!
//! 384 in all: laptops share what the others leave, and the one with the most gives way.
//!
//! Must not know: sockets, HTTP.

use std::net::Ipv4Addr;
use std::time::Instant;

pub const TOTAL: usize = 384;
pub const LAPTOP: usize = 96;
pub const HERE: usize = 8;
pub const ALL_HERE: usize = 24;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Laptop(Ipv4Addr),
    Here(Ipv4Addr),
}

impl Source {
    /// `None` for whom there is no place. `own` is the agent's address.
    pub fn of(from: Ipv4Addr, own: Ipv4Addr, is_laptop: bool) -> Option<Source> {
        match from {
            _ if is_laptop => Some(Source::Laptop(from)),
            _ if from == own || from.is_loopback() => Some(Source::Here(from)),
            _ => None,
        }
    }

    fn is_here(self) -> bool {
        matches!(self, Source::Here(_))
    }
}

/// What is known of a connection that has a place.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub id: u64,
    pub source: Source,
    /// When it last got further.
    pub moved: Instant,
    /// A laptop's call that is being worked on does not make room.
    pub stays: bool,
}

/// What is to be done about one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    There,
    /// Once this one has been closed.
    InPlaceOf(u64),
    None,
}

/// Room for one more connection from `source` among those that there are.
pub fn room(held: &[Held], source: Source) -> Room {
    let count = |those: &dyn Fn(&Held) -> bool| held.iter().filter(|one| those(one)).count();
    let same = |one: &Held| one.source == source;
    let here = |one: &Held| one.source.is_here();
    let limit = if source.is_here() { HERE } else { LAPTOP };
    if count(&same) >= limit {
        return stillest(held, &same);
    }
    if source.is_here() && count(&here) >= ALL_HERE {
        return of_the_greediest(held, &here);
    }
    if held.len() >= TOTAL {
        return of_the_greediest(held, &|_| true);
    }
    Room::There
}

/// Among `those`, of the source that has the most of them.
fn of_the_greediest(held: &[Held], those: &dyn Fn(&Held) -> bool) -> Room {
    let share = |one: &Held| held.iter().filter(|other| other.source == one.source).count();
    let most = held.iter().filter(|one| those(one)).map(share).max();
    stillest(held, &|one| those(one) && Some(share(one)) == most)
}

fn stillest(held: &[Held], those: &dyn Fn(&Held) -> bool) -> Room {
    let may_go = held.iter().filter(|one| !one.stays && those(one));
    may_go.min_by_key(|one| (one.moved, one.id)).map_or(Room::None, |one| Room::InPlaceOf(one.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

    fn laptop(n: u8) -> Source {
        Source::Laptop(Ipv4Addr::new(10, 10, 0, n))
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
            stays: false,
        };
        sources.iter().enumerate().map(one).collect()
    }

    #[test]
    fn who_has_a_place_at_all() {
        let source = |text: &str, is_laptop| Source::of(text.parse().unwrap(), OWN, is_laptop);
        assert_eq!(source("10.10.0.1", true), Some(laptop(1)));
        assert_eq!(source("10.10.0.2", false), Some(Source::Here(OWN)));
        assert_eq!(source("127.9.9.9", false).map(Source::is_here), Some(true));
        // A container, the LAN, another network of the tunnel's, an address of this machine's.
        for text in ["172.17.0.2", "192.0.2.7", "10.10.0.3", "10.10.1.1", "0.0.0.0"] {
            assert_eq!(source(text, false), None, "{text}");
        }
    }

    #[test]
    fn nobody_takes_anothers_places() {
        let mut all: Vec<Source> = (0..ALL_HERE as u8).map(|n| here(n % 250)).collect();
        let full = held(&all);
        assert_eq!(room(&full, here(251)), Room::InPlaceOf(0), "the one that waits longest");
        assert_eq!(room(&full, laptop(1)), Room::There);
        all.extend([laptop(1); LAPTOP]);
        let full = held(&all);
        assert_eq!(room(&full, laptop(1)), Room::InPlaceOf(ALL_HERE as u64));
        assert_eq!(room(&full, laptop(3)), Room::There);
        let eight = held(&[here(1); HERE]);
        assert_eq!(room(&eight, here(1)), Room::InPlaceOf(0));
        assert_eq!(room(&eight, here(2)), Room::There);
    }

    #[test]
    fn the_one_with_the_most_makes_room_and_work_goes_on() {
        let mut all = vec![laptop(1); LAPTOP];
        for n in 3..6 {
            all.extend([laptop(n); LAPTOP - 1]);
        }
        all.extend([laptop(9); 3]);
        let mut full = held(&all);
        assert_eq!(full.len(), TOTAL);
        assert_eq!(room(&full, laptop(7)), Room::InPlaceOf(0));
        for one in full.iter_mut().take(LAPTOP - 1) {
            one.stays = true;
        }
        assert_eq!(room(&full, laptop(7)), Room::InPlaceOf(LAPTOP as u64 - 1));
        full.iter_mut().for_each(|one| one.stays = true);
        assert_eq!(room(&full, laptop(7)), Room::None);
    }
}
