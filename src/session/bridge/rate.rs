//! How many wishes of each kind are heard: so many at once, then one in a while. Pure.

use super::policy::{BRIDGES, Bridge};

/// At once, and how long one takes to be good again.
const fn limit(bridge: Bridge) -> (u64, u64) {
    match bridge {
        Bridge::Copy => (20, 500),
        Bridge::Paste => (10, 2_000),
        Bridge::Open => (4, 10_000),
        Bridge::Notify => (5, 10_000),
        Bridge::Ask => (6, 10_000),
        // Connections of one program: a page and its parts.
        Bridge::Browser => (64, 100),
    }
}

/// For each kind the moment at which all are good again.
#[derive(Default)]
pub struct Rate([u64; BRIDGES]);

impl Rate {
    pub fn allows(&mut self, bridge: Bridge, now_ms: u64) -> bool {
        let Some(full_at) = self.0.get_mut(bridge.place()) else { return false };
        let (most, each) = limit(bridge);
        let next = (*full_at).max(now_ms).saturating_add(each);
        let allowed = next <= now_ms.saturating_add(most.saturating_mul(each));
        if allowed {
            *full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_in_a_row_are_few_and_one_kind_takes_nothing_from_another() {
        let mut rate = Rate::default();
        let mut heard = |bridge, now| (0..100).filter(|_| rate.allows(bridge, now)).count();
        assert_eq!(heard(Bridge::Notify, 1_000), 5);
        assert_eq!(heard(Bridge::Notify, 10_999), 0);
        assert_eq!(heard(Bridge::Notify, 11_000), 1);
        assert_eq!(heard(Bridge::Open, 11_000), 4);
        assert_eq!(heard(Bridge::Notify, 10_000_000), 5, "no more are saved up");
    }
}
