//! Cryptokey routing (R75, R77, R80): which peer owns an address.
//!
//! One sorted map a family, keyed by prefix length and masked bits, and the set of lengths in use.
//! A lookup tries those lengths from the longest down: one map access each, and a device rarely
//! has more than two or three. A second set has the same by peer, so that what concerns one peer
//! takes no longer for the prefixes of all others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::index::PeerId;

/// Prefix → peer, for both families. A prefix belongs to one peer at most.
#[derive(Default)]
pub struct Router {
    v4: Table<u32>,
    v6: Table<u128>,
}

#[derive(Default)]
struct Table<B> {
    owners: BTreeMap<(u8, B), PeerId>,
    /// What is in `owners`, by peer.
    owned: BTreeSet<(PeerId, u8, B)>,
    /// How many prefixes there are of each length that occurs.
    lengths: BTreeMap<u8, usize>,
}

/// An address as a number.
trait Bits: Copy + Ord {
    const ALL: RangeInclusive<Self>;

    /// The first `len` bits; none for a `len` beyond the width, which no prefix has.
    fn masked(self, len: u8) -> Self;
}

impl Bits for u32 {
    const ALL: RangeInclusive<u32> = 0..=u32::MAX;

    fn masked(self, len: u8) -> u32 {
        let rest = u32::BITS.saturating_sub(len.into());
        self & u32::MAX.checked_shl(rest).unwrap_or(0)
    }
}

impl Bits for u128 {
    const ALL: RangeInclusive<u128> = 0..=u128::MAX;

    fn masked(self, len: u8) -> u128 {
        let rest = u128::BITS.saturating_sub(len.into());
        self & u128::MAX.checked_shl(rest).unwrap_or(0)
    }
}

impl Router {
    /// Gives `addr`/`len` to `peer`, taking it from whoever had it (R80). Bits beyond `len` are
    /// ignored. `len` beyond the family's width is refused by `false`.
    pub fn insert(&mut self, addr: IpAddr, len: u8, peer: PeerId) -> bool {
        let fits = len <= width(addr);
        match addr {
            _ if !fits => {}
            IpAddr::V4(a) => self.v4.insert(len, a.to_bits(), peer),
            IpAddr::V6(a) => self.v6.insert(len, a.to_bits(), peer),
        }
        fits
    }

    /// Takes `addr`/`len` from `peer`, if it is the owner.
    pub fn remove(&mut self, addr: IpAddr, len: u8, peer: PeerId) {
        match addr {
            _ if len > width(addr) => {}
            IpAddr::V4(a) => self.v4.remove(len, a.to_bits(), peer),
            IpAddr::V6(a) => self.v6.remove(len, a.to_bits(), peer),
        }
    }

    /// Removes every prefix of `peer` (R96).
    pub fn remove_peer(&mut self, peer: PeerId) {
        self.v4.remove_peer(peer);
        self.v6.remove_peer(peer);
    }

    /// The owner of the longest prefix that covers `addr`.
    pub fn peer_for(&self, addr: IpAddr) -> Option<PeerId> {
        match addr {
            IpAddr::V4(a) => self.v4.lookup(a.to_bits()),
            IpAddr::V6(a) => self.v6.lookup(a.to_bits()),
        }
    }

    /// The prefixes of `peer`: IPv4 first, shortest first.
    pub fn prefixes(&self, peer: PeerId) -> Vec<(IpAddr, u8)> {
        let v4 = self.v4.of(peer).map(|(len, bits)| (Ipv4Addr::from_bits(bits).into(), len));
        let v6 = self.v6.of(peer).map(|(len, bits)| (Ipv6Addr::from_bits(bits).into(), len));
        v4.chain(v6).collect()
    }

    /// Number of prefixes of both families.
    pub fn len(&self) -> usize {
        self.v4.owners.len() + self.v6.owners.len()
    }
}

impl<B: Bits> Table<B> {
    fn insert(&mut self, len: u8, bits: B, peer: PeerId) {
        let bits = bits.masked(len);
        match self.owners.insert((len, bits), peer) {
            Some(last) => drop(self.owned.remove(&(last, len, bits))),
            None => *self.lengths.entry(len).or_default() += 1,
        }
        self.owned.insert((peer, len, bits));
    }

    fn remove(&mut self, len: u8, bits: B, peer: PeerId) {
        let bits = bits.masked(len);
        if self.owned.remove(&(peer, len, bits)) {
            self.owners.remove(&(len, bits));
            self.forget_length(len);
        }
    }

    fn forget_length(&mut self, len: u8) {
        if let Some(n) = self.lengths.get_mut(&len) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.lengths.remove(&len);
            }
        }
    }

    fn remove_peer(&mut self, peer: PeerId) {
        for (len, bits) in self.of(peer).collect::<Vec<_>>() {
            self.remove(len, bits, peer);
        }
    }

    /// Length and bits of what `peer` owns.
    fn of(&self, peer: PeerId) -> impl Iterator<Item = (u8, B)> + '_ {
        let (least, most) = (*B::ALL.start(), *B::ALL.end());
        let all = (peer, u8::MIN, least)..=(peer, u8::MAX, most);
        self.owned.range(all).map(|&(_, len, bits)| (len, bits))
    }

    fn lookup(&self, bits: B) -> Option<PeerId> {
        let mut longest_first = self.lengths.keys().rev();
        longest_first.find_map(|&len| self.owners.get(&(len, bits.masked(len))).copied())
    }
}

fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests;
