//! Boot clock (runs on during suspend), wall clock, and a timer on the boot clock.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

const NANOS_PER_S: u64 = 1_000_000_000;

/// 0 if the clock cannot be read.
fn nanos(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |t| {
        let secs = u64::try_from(t.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(t.tv_nsec()).unwrap_or(0);
        secs.saturating_mul(NANOS_PER_S).saturating_add(nanos)
    })
}

/// Nanoseconds since boot, suspended time included. 0 if the clock cannot be read.
pub fn boot_nanos() -> u64 {
    nanos(ClockId::CLOCK_BOOTTIME)
}

/// The same in milliseconds.
pub fn boot_ms() -> u64 {
    boot_nanos() / 1_000_000
}

/// Nanoseconds of the clock that stops during suspend. What the boot clock gains on it was slept.
pub fn awake_nanos() -> u64 {
    nanos(ClockId::CLOCK_MONOTONIC)
}

/// Seconds and nanoseconds since the Unix epoch; zero for times before it.
pub fn wall() -> (u64, u32) {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or((0, 0), |t| {
        (u64::try_from(t.tv_sec()).unwrap_or(0), u32::try_from(t.tv_nsec()).unwrap_or(0))
    })
}

/// Milliseconds since the Unix epoch; zero for times before it.
pub fn wall_ms() -> u64 {
    let (secs, nanos) = wall();
    secs.saturating_mul(1000).saturating_add(u64::from(nanos / 1_000_000))
}

/// A descriptor that becomes readable at a moment of the boot clock, also if that moment passed
/// during suspend: `Instant` and poll timeouts both stop there (rust-lang #87906).
pub struct BootTimer(TimerFd);

impl BootTimer {
    pub fn new() -> io::Result<BootTimer> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(BootTimer(TimerFd::new(TimerClock::CLOCK_BOOTTIME, flags)?))
    }

    /// Fire once at `boot_ns`; at once if that is past. Replaces an earlier setting.
    pub fn set(&self, boot_ns: u64) -> io::Result<()> {
        // Zero would disarm, and the kernel refuses seconds beyond i64.
        let ns = boot_ns.clamp(1, i64::MAX as u64);
        let at = TimeSpec::new((ns / NANOS_PER_S) as i64, (ns % NANOS_PER_S) as i64);
        Ok(self.0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }

    pub fn clear(&self) -> io::Result<()> {
        Ok(self.0.unset()?)
    }

    /// Make the descriptor unreadable again after it fired.
    pub fn drain(&self) {
        // Fails with EAGAIN when it has not fired: nothing to drain then.
        let _ = self.0.wait();
    }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{self, Interest};
    use std::time::Duration;

    #[test]
    fn fires_at_its_moment_and_once() {
        let t = BootTimer::new().expect("timerfd");
        let start = boot_nanos();
        t.set(start + 20_000_000).expect("set");
        assert!(
            poll::wait_one(t.as_fd(), Interest::READ, Some(Duration::from_secs(2))).expect("poll")
        );
        assert!(boot_nanos() >= start + 20_000_000);
        t.drain();
        assert!(!poll::wait_one(t.as_fd(), Interest::READ, Some(Duration::ZERO)).expect("poll"));
        t.set(1).expect("a past moment fires at once");
        assert!(
            poll::wait_one(t.as_fd(), Interest::READ, Some(Duration::from_secs(2))).expect("poll")
        );
    }
}
