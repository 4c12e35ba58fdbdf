//! Cryptokey routing (R75, R77, R80): which peer owns an address.
//!
//! One sorted map a family, keyed by prefix length and masked bits, and the set of lengths in use.
//! A lookup tries those lengths from the longest down: one map access each, and a device rarely
//! has more than two or three.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::index::PeerId;

/// Prefix → peer, for both families. A prefix belongs to one peer at most.
#[derive(Default)]
pub struct Router {
    v4: Table,
    v6: Table,
}

#[derive(Default)]
struct Table {
    owners: BTreeMap<(u8, u128), PeerId>,
    /// How many prefixes there are of each length that occurs.
    lengths: BTreeMap<u8, usize>,
}

impl Router {
    /// Gives `addr`/`len` to `peer`, taking it from whoever had it (R80). Bits beyond `len` are
    /// ignored. `len` beyond the family's width is refused by `false`.
    pub fn insert(&mut self, addr: IpAddr, len: u8, peer: PeerId) -> bool {
        let Some(bits) = masked(addr, len) else { return false };
        self.table_mut(addr).insert(len, bits, peer);
        true
    }

    /// Takes `addr`/`len` from `peer`, if it is the owner.
    pub fn remove(&mut self, addr: IpAddr, len: u8, peer: PeerId) {
        let Some(bits) = masked(addr, len) else { return };
        let table = self.table_mut(addr);
        if table.owners.get(&(len, bits)) == Some(&peer) {
            table.owners.remove(&(len, bits));
            table.forget_length(len);
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
            IpAddr::V4(a) => self.v4.lookup(v4_bits(a)),
            IpAddr::V6(a) => self.v6.lookup(a.to_bits()),
        }
    }

    /// The prefixes of `peer`: IPv4 first, shortest first.
    pub fn prefixes(&self, peer: PeerId) -> Vec<(IpAddr, u8)> {
        let of = |t: &Table| -> Vec<(u8, u128)> {
            t.owners.iter().filter(|(_, p)| **p == peer).map(|(k, _)| *k).collect()
        };
        let v4 = of(&self.v4)
            .into_iter()
            .map(|(len, bits)| (IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)), len));
        let v6 = of(&self.v6)
            .into_iter()
            .map(|(len, bits)| (IpAddr::V6(Ipv6Addr::from_bits(bits)), len));
        v4.chain(v6).collect()
    }

    /// Number of prefixes of both families.
    pub fn len(&self) -> usize {
        self.v4.owners.len() + self.v6.owners.len()
    }

    fn table_mut(&mut self, addr: IpAddr) -> &mut Table {
        match addr {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }
}

impl Table {
    fn insert(&mut self, len: u8, bits: u128, peer: PeerId) {
        if self.owners.insert((len, bits), peer).is_none() {
            *self.lengths.entry(len).or_default() += 1;
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
        let gone: Vec<_> =
            self.owners.iter().filter(|(_, p)| **p == peer).map(|(k, _)| *k).collect();
        for key in gone {
            self.owners.remove(&key);
            self.forget_length(key.0);
        }
    }

    fn lookup(&self, bits: u128) -> Option<PeerId> {
        self.lengths
            .keys()
            .rev()
            .find_map(|&len| self.owners.get(&(len, bits & mask(len))).copied())
    }
}

/// IPv4 bits stand at the top, so that one mask serves both families.
fn v4_bits(a: Ipv4Addr) -> u128 {
    u128::from(a.to_bits()) << 96
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

fn masked(addr: IpAddr, len: u8) -> Option<u128> {
    let (bits, width) = match addr {
        IpAddr::V4(a) => (v4_bits(a), 32),
        IpAddr::V6(a) => (a.to_bits(), 128),
    };
    (len <= width).then(|| bits & mask(len))
}

#[cfg(test)]
mod tests;
