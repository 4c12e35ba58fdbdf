//! Reasons for which a packet, or a connection, goes no further, and how often each was one.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Drop {
    /// No whole packet, or a checksum is wrong.
    Malformed,
    /// IPv6 where that has no address.
    NotIpv4,
    /// For another address than ours.
    NotOurs,
    /// From ours, or from none that can be answered.
    BadSource,
    /// A part of a packet: the tunnel's packets fit.
    Fragment,
    /// Neither TCP nor an echo request, or IPv6 with extension headers. UDP is told that the port
    /// is closed.
    Protocol,
    /// A connection to a port at which nobody listens whose ports these are: it was reset.
    Refused,
    /// A connection for which there was no place: it was reset.
    NoPlace,
    /// The beginning of a connection that has begun already.
    Again,
}

const NAMES: [(Drop, &str); 9] = [
    (Drop::Malformed, "stack_malformed"),
    (Drop::NotIpv4, "stack_not_ipv4"),
    (Drop::NotOurs, "stack_not_ours"),
    (Drop::BadSource, "stack_bad_source"),
    (Drop::Fragment, "stack_fragment"),
    (Drop::Protocol, "stack_protocol"),
    (Drop::Refused, "stack_refused"),
    (Drop::NoPlace, "stack_no_place"),
    (Drop::Again, "stack_again"),
];

/// One counter a reason, for any thread.
#[derive(Default)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    pub fn count(&self, why: Drop) {
        if let Some(count) = self.0.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().zip(&self.0).map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place() {
        let counters = Counters::default();
        for (n, (why, name)) in NAMES.iter().enumerate() {
            (0..=n).for_each(|_| counters.count(*why));
            assert_eq!(counters.all().nth(n), Some((*name, n as u64 + 1)));
        }
    }
}
