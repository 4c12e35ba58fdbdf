//! When to try to reach the VPS anew, after the network changed, the machine slept or the agent
//! fell silent. It is given the time, and does nothing itself.

use std::time::Duration;

/// From one attempt to the next, while the network is new; the last one stays.
const PAUSES_MS: [u64; 5] = [250, 500, 1000, 2000, 5000];
/// Attempts are at least this far apart, however often the network changes.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// When to try to reach the VPS anew. Idle until something says that it may be out of reach.
#[derive(Debug, Default)]
pub struct Recovery {
    attempts: Option<Attempts>,
    last: Option<Duration>,
}

/// Moments of the boot clock, and how often it was tried.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    since: Duration,
    made: usize,
    next: Duration,
}

impl Recovery {
    /// The network changed, or the machine slept: attempts start over, at once.
    pub fn disturbed(&mut self, now: Duration) {
        let next = self.last.map_or(now, |last| (last + LEAST_PAUSE).max(now));
        self.attempts = Some(Attempts { since: now, made: 0, next });
    }

    /// The agent did not answer, and nobody knows why: as after the last of several attempts.
    pub fn missed(&mut self, now: Duration) {
        if self.attempts.is_none() {
            let next = self.last.map_or(now, |last| (last + pause(usize::MAX)).max(now));
            self.attempts = Some(Attempts { since: now, made: PAUSES_MS.len(), next });
        }
    }

    /// The agent answered a question that was put at `asked`: good unless that was before the
    /// latest trouble.
    pub fn answered(&mut self, asked: Duration) {
        if self.attempts.is_some_and(|attempts| asked >= attempts.since) {
            self.attempts = None;
        }
    }

    pub fn is_trying(&self) -> bool {
        self.attempts.is_some()
    }

    pub fn due(&self) -> Option<Duration> {
        self.attempts.map(|attempts| attempts.next)
    }

    /// Whether to try now.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let Some(attempts) = self.attempts.as_mut().filter(|attempts| now >= attempts.next) else {
            return false;
        };
        self.last = Some(now);
        attempts.next = now + pause(attempts.made);
        attempts.made = attempts.made.saturating_add(1);
        true
    }
}

fn pause(attempts: usize) -> Duration {
    let last = PAUSES_MS.len() - 1;
    Duration::from_millis(PAUSES_MS.get(attempts.min(last)).copied().unwrap_or(5000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// When attempts are made until `end`, without any answer.
    fn attempts(recovery: &mut Recovery, end: Duration) -> Vec<u64> {
        let mut made = Vec::new();
        while let Some(due) = recovery.due().filter(|due| *due <= end) {
            assert!(recovery.take_due(due) && !recovery.take_due(due));
            made.push(due.as_millis() as u64);
        }
        made
    }

    #[test]
    fn a_change_is_tried_at_once_then_ever_more_slowly() {
        let mut recovery = Recovery::default();
        assert_eq!(recovery.due(), None);
        recovery.disturbed(ms(1000));
        let made = attempts(&mut recovery, ms(20_000));
        assert_eq!(made, [1000, 1250, 1750, 2750, 4750, 9750, 14_750, 19_750]);
        recovery.disturbed(ms(19_800));
        assert_eq!(recovery.due(), Some(ms(20_000)), "not sooner than 250 ms after the last");
        assert_eq!(attempts(&mut recovery, ms(20_300)), [20_000, 20_250]);
    }

    #[test]
    fn only_an_answer_to_a_later_question_ends_it() {
        let mut recovery = Recovery::default();
        recovery.disturbed(ms(1000));
        recovery.answered(ms(999));
        assert!(recovery.is_trying());
        recovery.answered(ms(1000));
        assert!(!recovery.is_trying() && !recovery.take_due(ms(5000)));
    }

    #[test]
    fn a_silent_agent_is_tried_every_five_seconds() {
        let mut recovery = Recovery::default();
        recovery.missed(ms(8000));
        assert_eq!(attempts(&mut recovery, ms(10_000)), [8000]);
        recovery.missed(ms(10_500));
        assert_eq!(attempts(&mut recovery, ms(24_000)), [13_000, 18_000, 23_000]);
        recovery.answered(ms(24_000));
        recovery.missed(ms(25_000));
        assert_eq!(recovery.due(), Some(ms(28_000)), "flapping does not make it faster");
    }
}
