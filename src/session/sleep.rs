//! Notices that the machine slept, by two clocks. It is given the time.

use std::time::Duration;

/// What the boot clock may gain on the other one without anybody having slept.
const JUMP: Duration = Duration::from_secs(1);

/// Notices that the machine slept: the boot clock went on and the other did not.
pub struct Sleep {
    ahead: Duration,
}

impl Sleep {
    pub fn new(boot: Duration, awake: Duration) -> Sleep {
        Sleep { ahead: boot.saturating_sub(awake) }
    }

    /// How long it slept since the last look, if it did.
    pub fn look(&mut self, boot: Duration, awake: Duration) -> Option<Duration> {
        let ahead = boot.saturating_sub(awake);
        let slept = ahead.saturating_sub(self.ahead);
        self.ahead = ahead;
        (slept >= JUMP).then_some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn sleep_is_what_one_clock_gains() {
        let mut sleep = Sleep::new(ms(5000), ms(4000));
        assert_eq!(sleep.look(ms(9000), ms(8000)), None);
        assert_eq!(sleep.look(ms(70_500), ms(9500)), Some(ms(60_000)));
        assert_eq!(sleep.look(ms(71_000), ms(10_000)), None);
        assert_eq!(sleep.look(ms(71_900), ms(10_000)), None, "a little is no sleep");
    }
}
