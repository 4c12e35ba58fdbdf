//! Load by handshakes, and token buckets: one a source for handshakes under it (R39, R42), and one
//! for the ICMP errors that we make ourselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::consts::*;
use super::time::Time;

/// Sources that were silent for this long are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(1);

/// A bucket that refills with time. Full at first.
#[derive(Clone, Copy)]
pub struct Bucket {
    credit: Duration,
    last: Time,
}

impl Bucket {
    /// A bucket that holds `burst` tokens at `per_second`.
    pub fn full(now: Time, per_second: u64, burst: u64) -> Bucket {
        Bucket { credit: cost(per_second).saturating_mul(burst as u32), last: now }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Time, per_second: u64, burst: u64) -> bool {
        let cost = cost(per_second);
        let max = cost.saturating_mul(burst as u32);
        self.credit = self.credit.saturating_add(now.since(self.last)).min(max);
        self.last = now;
        match self.credit.checked_sub(cost) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

fn cost(per_second: u64) -> Duration {
    Duration::from_nanos(1_000_000_000 / per_second.max(1))
}

/// Whether more handshakes wait than are served, and who may have theirs all the same: 20 a second
/// and source, bursts of 5; a source is an IPv4 address or an IPv6 /64.
#[derive(Default)]
pub struct Load {
    until: Time,
    sources: BTreeMap<u128, Bucket>,
    swept: Time,
}

impl Load {
    /// So many wait now (R38).
    pub fn note_queued(&mut self, now: Time, queued: usize) {
        if queued >= LOADED_AT {
            self.until = now.after(LOADED_FOR);
        }
    }

    pub fn is_high(&self, now: Time) -> bool {
        now < self.until
    }

    /// May this source have its handshake served? A full table refuses sources it does not know.
    pub fn allow(&mut self, now: Time, from: IpAddr) -> bool {
        if now.since(self.swept) >= FORGET_AFTER {
            self.sources.retain(|_, b| now.since(b.last) < FORGET_AFTER);
            self.swept = now;
        }
        let key = source(from);
        if !self.sources.contains_key(&key) && self.sources.len() >= LIMITER_ENTRIES {
            return false;
        }
        self.sources
            .entry(key)
            .or_insert_with(|| Bucket::full(now, LIMIT_PER_SECOND, LIMIT_BURST))
            .take(now, LIMIT_PER_SECOND, LIMIT_BURST)
    }
}

/// IPv4 sources sit in a range of their own (::/64 is no source that anybody has).
fn source(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits() & !u128::from(u64::MAX) | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Time {
        Time::from_nanos(10_000_000_000 + ms * MS)
    }

    #[test]
    fn five_at_once_then_one_every_50_ms() {
        // R39; the kernel's table of timed bursts, in our words.
        let mut l = Load::default();
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..5 {
            assert!(l.allow(at(0), a));
        }
        assert!(!l.allow(at(0), a));
        assert!(!l.allow(at(49), a));
        assert!(l.allow(at(51), a));
        assert!(!l.allow(at(51), a));
        assert!(l.allow(at(101), a));
        assert!(!l.allow(at(101), a));
        for _ in 0..5 {
            assert!(l.allow(at(2000), a));
        }
        assert!(!l.allow(at(2000), a));
    }

    #[test]
    fn ipv6_neighbours_share_a_bucket_and_ipv4_does_not() {
        let mut l = Load::default();
        for i in 0..5 {
            assert!(l.allow(at(0), format!("2001:db8::{i}").parse().unwrap()));
        }
        assert!(!l.allow(at(0), "2001:db8::ffff:1:2:3".parse().unwrap()));
        assert!(l.allow(at(0), "2001:db8:0:1::1".parse().unwrap()));
        for i in 0..50 {
            assert!(l.allow(at(0), format!("192.0.2.{i}").parse().unwrap()));
        }
    }

    #[test]
    fn a_full_table_refuses_strangers_and_empties_with_time() {
        // R42
        let mut l = Load::default();
        for i in 0..LIMITER_ENTRIES as u32 {
            assert!(l.allow(at(0), IpAddr::from(i.to_be_bytes())));
        }
        let stranger: IpAddr = "203.0.113.1".parse().unwrap();
        assert!(!l.allow(at(0), stranger));
        assert!(l.allow(at(0), "0.0.0.7".parse().unwrap()), "known sources go on");
        assert!(l.allow(at(1500), stranger));
        assert_eq!(l.sources.len(), 1);
    }

    #[test]
    fn a_clock_that_goes_back_neither_panics_nor_refills() {
        let mut l = Load::default();
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        while l.allow(at(5000), a) {}
        assert!(!l.allow(at(0), a));
        assert!(!l.allow(Time::ZERO, a));
    }
}
