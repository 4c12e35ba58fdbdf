//! How often something is put back that another program takes away again. Pure. Must not know:
//! what it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most repairs of one thing within `WHILE`; then it is left alone for `REST`.
pub const REPAIRS_MAX: usize = 10;
pub const WHILE: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(300);

/// Of everything that was put back of late since when, and how often; there is at most one of each
/// lease, and of the names.
#[derive(Debug, Default)]
pub struct Patience(BTreeMap<String, (Instant, usize)>);

impl Patience {
    /// Whether it may be put back once more.
    pub fn lasts(&mut self, what: &str, now: Instant) -> bool {
        self.forget(now);
        !self.is_over(what)
    }

    /// What is over and rested.
    pub fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (since, repairs)| {
            now.duration_since(*since) < if *repairs < REPAIRS_MAX { WHILE } else { REST }
        });
    }

    /// It was put back.
    pub fn spend(&mut self, what: &str, now: Instant) {
        self.0.entry(what.to_string()).or_insert((now, 0)).1 += 1;
    }

    /// Whether it is left alone.
    pub fn is_over(&self, what: &str) -> bool {
        self.0.get(what).is_some_and(|(_, repairs)| *repairs >= REPAIRS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_ends_and_begins_again_after_a_rest() {
        let (mut patience, begun) = (Patience::default(), Instant::now());
        for n in 0..REPAIRS_MAX {
            let now = begun + Duration::from_secs(n as u64);
            assert!(patience.lasts("a", now));
            patience.spend("a", now);
        }
        assert!(!patience.lasts("a", begun + WHILE) && patience.is_over("a"));
        assert!(patience.lasts("b", begun));
        assert!(patience.lasts("a", begun + REST) && !patience.is_over("a"));
        // Now and then is no fight.
        for n in 0..100 {
            let now = begun + REST + WHILE * n;
            assert!(patience.lasts("c", now));
            patience.spend("c", now);
        }
    }
}
