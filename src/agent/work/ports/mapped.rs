//! Where laptops answer for ports of this server, as each of them has told last. Kept in memory
//! alone: a laptop tells it again.
//!
//! Bound: 64 laptops.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rpc::types::ports::Mapped;

const LAPTOPS: usize = 64;

/// Of each laptop, by its key; who told last is the last.
static TOLD: Mutex<Vec<(String, Mapped)>> = Mutex::new(Vec::new());

fn told_so_far() -> MutexGuard<'static, Vec<(String, Mapped)>> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn told(laptop: &str, mapped: Mapped) {
    let mut all = told_so_far();
    all.retain(|(known, _)| known != laptop);
    if all.len() >= LAPTOPS {
        all.remove(0);
    }
    all.push((laptop.to_owned(), mapped));
}

/// Each port once: as the laptop has it that told of it last.
pub fn all() -> Mapped {
    let all = told_so_far();
    let mut known = BTreeSet::new();
    let ports = all.iter().rev().flat_map(|(_, mapped)| &mapped.ports);
    Mapped { ports: ports.filter(|(server, _)| known.insert(*server)).copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_told_last_is_heard() {
        let of = |ports: &[(u16, u16)]| Mapped { ports: ports.to_vec() };
        told("a", of(&[(80, 1080), (81, 1081)]));
        told("b", of(&[(80, 2080)]));
        assert_eq!(all(), of(&[(80, 2080), (81, 1081)]));
        told("a", of(&[(80, 3080)]));
        assert_eq!(all(), of(&[(80, 3080)]));
        (0..2 * LAPTOPS).for_each(|n| told(&n.to_string(), Mapped::default()));
        assert_eq!(told_so_far().len(), LAPTOPS);
        assert_eq!(all(), Mapped::default());
    }
}
