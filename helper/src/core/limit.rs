//! How fast a user may ask, and how often it is told of one that is not let in.
//!
//! Root is not limited: it can stop the helper anyway. Must not know: what is asked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// One request per interval in the long run, and this many at once.
pub const REQUESTS_PER_S: u32 = 20;
pub const BURST: u32 = 40;
pub const INTERVAL: Duration = Duration::from_millis(1000 / REQUESTS_PER_S as u64);
/// Most users that are kept in mind. Who is not, has asked for nothing of late.
const USERS_MAX: usize = 1024;

/// Per user the moment at which all that was asked for would have been fair (GCRA).
#[derive(Debug)]
pub struct Rates {
    fair: HashMap<u32, Instant>,
    burst: u32,
    interval: Duration,
}

impl Rates {
    pub fn new(burst: u32, interval: Duration) -> Rates {
        Rates { fair: HashMap::new(), burst, interval }
    }

    /// Counts one request; false when it is one too many, and then it does not count.
    pub fn take(&mut self, uid: u32, now: Instant) -> bool {
        if uid == 0 {
            return true;
        }
        if self.fair.len() >= USERS_MAX {
            self.fair.retain(|_, fair| *fair > now);
        }
        if self.fair.len() >= USERS_MAX && !self.fair.contains_key(&uid) {
            return false;
        }
        let fair = self.fair.entry(uid).or_insert(now);
        let from = (*fair).max(now);
        if from.duration_since(now) > self.interval * (self.burst - 1) {
            return false;
        }
        *fair = from + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_user_for_itself() {
        let (mut rates, start) = (Rates::new(BURST, INTERVAL), Instant::now());
        let asked = |rates: &mut Rates, uid, now| (0..100).filter(|_| rates.take(uid, now)).count();
        assert_eq!(asked(&mut rates, 1000, start), BURST as usize);
        assert_eq!(asked(&mut rates, 1001, start), BURST as usize);
        assert_eq!(asked(&mut rates, 0, start), 100);
        let later = start + Duration::from_secs(1);
        assert_eq!(asked(&mut rates, 1000, later), REQUESTS_PER_S as usize);
        assert_eq!(asked(&mut rates, 1000, start + Duration::from_secs(60)), BURST as usize);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut rates, start) = (Rates::new(BURST, INTERVAL), Instant::now());
        assert_eq!((1..5000).filter(|uid| rates.take(*uid, start)).count(), USERS_MAX);
        assert!(rates.fair.len() <= USERS_MAX);
        assert!(rates.take(9999, start + INTERVAL * 2), "the old are forgotten");
    }
}
