//! Time as a value. The protocol never asks for the time; the shell hands it in.

use std::time::Duration;

/// A moment on the boot clock, in nanoseconds: it runs on during suspend (R63).
/// All arithmetic saturates, so that a clock that jumps can never panic or wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Time = Time(0);
    pub const MAX: Time = Time(u64::MAX);

    pub const fn from_nanos(ns: u64) -> Time {
        Time(ns)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `d` later, at most [`Time::MAX`].
    pub fn after(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock time since the Unix epoch. Used for handshake timestamps and for telling a user when
/// the last handshake was, never for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wall {
    pub secs: u64,
    /// Below 1,000,000,000.
    pub nanos: u32,
}

/// Both clocks, read at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    pub boot: Time,
    pub wall: Wall,
}
