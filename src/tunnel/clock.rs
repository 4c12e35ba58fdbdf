//! The two clocks the protocol is given, and the timer that wakes the loop at a deadline.
//!
//! Boot clock for every age and deadline, so that suspended time counts (R63); wall clock for
//! handshake timestamps only.

use crate::sys::clock::{self, BootTimer};
use crate::wg::{Now, Time, Wall};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub(super) struct Clock {
    timer: BootTimer,
    /// When the timer will fire; None when it is off.
    armed: Option<Time>,
}

impl Clock {
    pub fn new() -> io::Result<Clock> {
        Ok(Clock { timer: BootTimer::new()?, armed: None })
    }

    pub fn now(&self) -> Now {
        let (secs, nanos) = clock::wall();
        Now { boot: Time::from_nanos(clock::boot_nanos()), wall: Wall { secs, nanos } }
    }

    /// Wake at `deadline` or earlier. A timer that is armed for an earlier moment stays: one early
    /// wake-up costs less than a system call for each packet that moves a deadline.
    pub fn arm(&mut self, deadline: Option<Time>) {
        let sooner = match (deadline, self.armed) {
            (Some(d), Some(a)) => d < a,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let (true, Some(d)) = (sooner, deadline) {
            // Setting a timer that exists to a valid time does not fail; if it did, the next turn
            // tries again.
            self.armed = self.timer.set(d.as_nanos()).is_ok().then_some(d);
        }
    }

    /// The timer fired.
    pub fn fired(&mut self) {
        self.timer.drain();
        self.armed = None;
    }
}

impl AsFd for Clock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, wait_one};
    use std::time::Duration;

    #[test]
    fn an_earlier_deadline_replaces_a_later_one_only() {
        let mut c = Clock::new().expect("timer");
        let start = c.now().boot;
        let (soon, late) =
            (start.after(Duration::from_millis(15)), start.after(Duration::from_secs(60)));
        c.arm(Some(late));
        c.arm(Some(soon));
        c.arm(Some(late));
        c.arm(None);
        assert_eq!(c.armed, Some(soon));
        assert!(wait_one(c.as_fd(), Interest::READ, Some(Duration::from_secs(2))).expect("poll"));
        assert!(c.now().boot >= soon);
        c.fired();
        assert_eq!(c.armed, None);
    }
}
