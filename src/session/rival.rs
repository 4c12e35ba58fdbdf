//! Whether another machine uses this machine's key, as a copied home directory makes it. The server
//! keeps one session for a key: whoever shook hands last has it, and the other one hears nothing
//! but datagrams of a session that it has not got. Those, while the agent is silent, tell it.
//!
//! They carry no proof, so nothing is done but to say so. Pure: it is given time and counts.

use std::time::Duration;

/// The reason under which such datagrams are counted.
pub const STRANGE: &str = "unknown_index";
/// Fewer may be late ones of a session of our own.
const STRANGE_MIN: u64 = 2;
/// The two take the session from each other every 10 s or so: it is over when the agent answers and
/// that has not happened for this long. A silence does not end it: the other one may have won.
const REMEMBERED: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Rival {
    /// The count when the agent was last heard.
    strange: u64,
    seen: Option<Duration>,
}

impl Rival {
    /// The agent answered.
    pub fn answered(&mut self, now: Duration, strange: u64) {
        self.strange = strange;
        self.seen = self.seen.filter(|seen| now.saturating_sub(*seen) < REMEMBERED);
    }

    /// It did not; true when that tells of a rival that was not known.
    pub fn missed(&mut self, now: Duration, strange: u64) -> bool {
        if strange.saturating_sub(self.strange) < STRANGE_MIN {
            return false;
        }
        self.seen.replace(now).is_none()
    }

    /// The key is a new one, which nobody else has; what comes until it is answered is of the old.
    pub fn renewed(&mut self) {
        *self = Rival { strange: u64::MAX, seen: None };
    }

    pub fn is_there(&self) -> bool {
        self.seen.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_datagrams_while_the_agent_is_silent_tell_of_a_rival() {
        let at = Duration::from_secs;
        let mut rival = Rival::default();
        rival.answered(at(0), 40);
        assert!(!rival.missed(at(5), 41) && !rival.is_there(), "one may be late");
        assert!(rival.missed(at(10), 42), "news");
        assert!(!rival.missed(at(15), 43), "known");
        rival.answered(at(20), 43);
        assert!(rival.is_there(), "it takes the session again");
        assert!(!rival.missed(at(60), 43) && rival.is_there(), "it may have won");
        rival.answered(at(65), 43);
        assert!(!rival.is_there(), "over");
        assert!(!rival.missed(at(70), 43) && !rival.is_there(), "a silence of another cause");
        assert!(rival.missed(at(80), 45), "news again");
        rival.renewed();
        assert!(!rival.is_there() && !rival.missed(at(82), 99), "of the old key");
        // A count that began anew.
        rival.answered(at(190), 0);
        assert!(!rival.missed(at(200), 0));
    }
}
