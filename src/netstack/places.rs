//! Who may have how many connections at a time, and who makes room when there are too many. Pure:
//! numbers and moments in, a decision out.
//!
//! One address has at most 256 of the 384; beyond that, its own that has stood still for the
//! longest, a minute at least, makes room. When all are taken, the address with the most gives way
//! to one that has fewer: a connection that stands still first.

use std::net::IpAddr;
use std::time::Duration;

pub const ALL: usize = 384;
pub const EACH: usize = 256;
const STILL: Duration = Duration::from_secs(60);

/// A connection that has a place.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub from: IpAddr,
    /// When bytes last went through it.
    pub moved: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Free,
    /// Once this one, by its number in the list, has been closed.
    InPlaceOf(usize),
    None,
}

/// A place for one more of `from` among those that there are.
pub fn place(held: &[Held], from: IpAddr, now: Duration) -> Place {
    let of = |from: IpAddr| held.iter().filter(|one| one.from == from).count();
    let own = of(from);
    if own >= EACH {
        return still(held, from, now);
    }
    if held.len() < ALL {
        return Place::Free;
    }
    match held.iter().map(|one| (of(one.from), one.from)).max() {
        Some((most, greedy)) if most > own + 1 => match stillest(held, greedy) {
            Some((n, _)) => Place::InPlaceOf(n),
            None => Place::None,
        },
        _ => still(held, from, now),
    }
}

fn still(held: &[Held], from: IpAddr, now: Duration) -> Place {
    match stillest(held, from) {
        Some((n, moved)) if now.saturating_sub(moved) >= STILL => Place::InPlaceOf(n),
        _ => Place::None,
    }
}

fn stillest(held: &[Held], from: IpAddr) -> Option<(usize, Duration)> {
    let own = held.iter().enumerate().filter(|(_, one)| one.from == from);
    own.map(|(n, one)| (n, one.moved)).min_by_key(|(n, moved)| (*moved, *n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> IpAddr {
        IpAddr::from([10, 10, 0, n])
    }

    /// So many of each, one a second, all by the same moment.
    fn held(of: &[(u8, usize)]) -> Vec<Held> {
        let all = of.iter().flat_map(|(n, many)| std::iter::repeat_n(peer(*n), *many));
        let moved = |n| Duration::from_secs(1000 + n as u64);
        all.enumerate().map(|(n, from)| Held { from, moved: moved(n) }).collect()
    }

    #[test]
    fn nobody_takes_all_the_places() {
        let soon = Duration::from_secs(1000);
        let one = held(&[(1, EACH)]);
        assert_eq!(place(&one, peer(1), soon), Place::None, "all of them move");
        let later = Duration::from_secs(1060);
        assert_eq!(place(&one, peer(1), later), Place::InPlaceOf(0));
        assert_eq!(place(&one, peer(3), soon), Place::Free);
        let full = held(&[(3, ALL - EACH), (1, EACH)]);
        assert_eq!(place(&full, peer(4), soon), Place::InPlaceOf(ALL - EACH), "of the greediest");
        assert_eq!(place(&full, peer(3), soon), Place::InPlaceOf(ALL - EACH));
        let even = held(&[(1, ALL / 2), (3, ALL / 2)]);
        assert_eq!(place(&even, peer(1), soon), Place::None, "nobody has more");
        assert_eq!(place(&even, peer(1), Duration::from_secs(2000)), Place::InPlaceOf(0));
        assert_eq!(place(&even, peer(9), soon), Place::InPlaceOf(ALL / 2), "places are kept");
    }
}
