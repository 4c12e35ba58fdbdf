//! ConnMonitor: whether the agent answers through the tunnel, by a question every 5 s.
//!
//! [`Monitor`] decides and is given the time, so that its numbers are tested on a virtual clock;
//! [`Prober`] asks, each question in a thread of its own because it may take its whole limit.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits;
use crate::base::task::Tasks;
use crate::rpc::client::{CallError, Client, Health};
use crate::sys::clock;

/// From one question to the next.
pub const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Unanswered questions in a row that mean unreachable.
pub const FAILURES: u32 = 2;
/// Questions that may be out at the same time.
const OUT_AT_ONCE: usize = 3;

/// A moment on the boot clock (which runs on during sleep) and on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub boot: Duration,
    /// Seconds since 1970.
    pub wall_s: u64,
}

impl Moment {
    pub fn now() -> Moment {
        Moment { boot: Duration::from_nanos(clock::boot_nanos()), wall_s: clock::wall().0 }
    }
}

/// The agent became unreachable, or is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Down,
    Back { down_s: u64 },
}

impl Change {
    /// What the user reads; `at` is the hour, minute and second there.
    pub fn message(self, at: &str) -> String {
        match self {
            Change::Down => format!("[{at}] Agent unreachable — waiting for reconnection..."),
            Change::Back { down_s } => {
                format!("[{at}] Agent reconnected (was down for {down_s}s)")
            }
        }
    }
}

/// Counts answers and silences.
pub struct Monitor {
    next: Duration,
    failures: u32,
    down_since: Option<Moment>,
    last_healthy: Moment,
}

impl Monitor {
    /// The agent has just answered.
    pub fn new(now: Moment) -> Monitor {
        Monitor { next: now.boot + CHECK_EVERY, failures: 0, down_since: None, last_healthy: now }
    }

    pub fn is_connected(&self) -> bool {
        self.down_since.is_none()
    }

    pub fn down_since(&self) -> Option<Moment> {
        self.down_since
    }

    pub fn last_healthy(&self) -> Moment {
        self.last_healthy
    }

    /// When the next question is due, on the boot clock.
    pub fn due(&self) -> Duration {
        self.next
    }

    /// Whether to ask now. Questions that were slept through are not made up for.
    pub fn take_due(&mut self, now: Moment) -> bool {
        let due = now.boot >= self.next;
        if due {
            self.next = now.boot + CHECK_EVERY;
        }
        due
    }

    /// How a question ended. One out of turn, asked because somebody wants to know, may show that
    /// the agent is there; its silence does not count.
    pub fn heard(&mut self, now: Moment, in_turn: bool, healthy: bool) -> Option<Change> {
        if healthy {
            self.failures = 0;
            self.last_healthy = now;
            let since = self.down_since.take()?;
            return Some(Change::Back { down_s: now.boot.saturating_sub(since.boot).as_secs() });
        }
        self.failures = self.failures.saturating_add(u32::from(in_turn));
        if self.failures < FAILURES || self.down_since.is_some() {
            return None;
        }
        self.down_since = Some(now);
        Some(Change::Down)
    }
}

/// One question's end.
#[derive(Debug)]
pub struct Probed {
    pub in_turn: bool,
    pub began: Instant,
    pub took: Duration,
    pub outcome: Result<Health, CallError>,
}

/// Asks the agent; readable when an answer or a silence is to be fetched.
pub struct Prober {
    client: Arc<Client>,
    questions: Tasks<Probed>,
}

impl Prober {
    pub fn new(client: Client) -> io::Result<Prober> {
        Ok(Prober { client: Arc::new(client), questions: Tasks::new("probe", OUT_AT_ONCE)? })
    }

    /// Sends a question on its way, unless there are enough of them.
    pub fn ask(&mut self, in_turn: bool) {
        let client = self.client.clone();
        // One that cannot be sent is a silence that the next one will hear.
        let _ = self.questions.start(move || {
            let began = Instant::now();
            let outcome = client.health(limits::ANSWER);
            Probed { in_turn, began, took: began.elapsed(), outcome }
        });
    }

    /// Whether a question is out.
    pub fn is_asking(&self) -> bool {
        self.questions.is_working()
    }

    pub fn take(&mut self) -> Option<Probed> {
        self.questions.take()
    }
}

impl AsFd for Prober {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.questions.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 14:31:00 on some day, and so many seconds later.
    fn at(s: f64) -> Moment {
        let wall_s = 1_800_000_000 - 1_800_000_000 % 86_400 + 14 * 3600 + 31 * 60;
        Moment { boot: Duration::from_secs_f64(1000.0 + s), wall_s: wall_s + s as u64 }
    }

    /// The seconds at which the monitor asks until `end`, each answered as `healthy` says, and
    /// what it tells.
    fn course(end: f64, healthy: impl Fn(f64) -> bool) -> (Vec<f64>, Vec<(f64, Change)>) {
        let mut monitor = Monitor::new(at(0.0));
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        loop {
            let due = (monitor.due() - Duration::from_secs(1000)).as_secs_f64();
            if due > end {
                return (asked, told);
            }
            assert!(!monitor.take_due(at(due - 0.001)) && monitor.take_due(at(due)));
            asked.push(due);
            let answered = if healthy(due) { due } else { due + limits::ANSWER.as_secs_f64() };
            told.extend(monitor.heard(at(answered), true, healthy(due)).map(|c| (answered, c)));
        }
    }

    #[test]
    fn asks_every_five_seconds_and_says_nothing_while_all_is_well() {
        let (asked, told) = course(60.0, |_| true);
        assert_eq!(asked, (1..=12).map(|n| f64::from(n) * 5.0).collect::<Vec<_>>());
        assert_eq!(told, []);
    }

    #[test]
    fn two_silences_of_three_seconds_are_unreachable_and_one_is_not() {
        assert_eq!(course(60.0, |s| s != 20.0).1, []);
        assert_eq!(course(60.0, |s| s != 20.0 && s != 30.0).1, [], "not in a row");
        let (_, told) = course(80.0, |s| !(20.0..65.0).contains(&s));
        assert_eq!(told, [(28.0, Change::Down), (65.0, Change::Back { down_s: 37 })]);
    }

    #[test]
    fn the_words_are_those_of_the_manual() {
        let mut monitor = Monitor::new(at(0.0));
        assert_eq!(monitor.heard(at(60.0), true, false), None);
        let down = monitor.heard(at(65.0), true, false).unwrap();
        let text = down.message("14:32:05");
        assert_eq!(text, "[14:32:05] Agent unreachable — waiting for reconnection...");
        assert!(!monitor.is_connected());
        assert_eq!(monitor.heard(at(75.0), true, false), None, "said once");
        let back = monitor.heard(at(107.4), true, true).unwrap();
        assert_eq!(back.message("14:32:47"), "[14:32:47] Agent reconnected (was down for 42s)");
        assert_eq!((monitor.is_connected(), monitor.last_healthy()), (true, at(107.4)));
    }

    #[test]
    fn a_question_out_of_turn_can_only_bring_good_news() {
        let mut monitor = Monitor::new(at(0.0));
        for s in 1..20 {
            assert_eq!(monitor.heard(at(f64::from(s)), false, false), None);
        }
        assert_eq!(monitor.heard(at(20.0), true, false), None);
        assert_eq!(monitor.heard(at(25.0), true, false), Some(Change::Down));
        assert_eq!(monitor.heard(at(26.0), false, true), Some(Change::Back { down_s: 1 }));
    }

    #[test]
    fn what_was_slept_through_is_asked_once() {
        let mut monitor = Monitor::new(at(0.0));
        assert!(monitor.take_due(at(8.0 * 3600.0)));
        assert!(!monitor.take_due(at(8.0 * 3600.0)));
        assert_eq!(monitor.due(), at(8.0 * 3600.0 + 5.0).boot);
    }
}
