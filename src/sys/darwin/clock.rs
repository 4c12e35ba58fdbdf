//! Boot clock (runs on during sleep), wall clock, and a timer on the boot clock.

use nix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const NANOS_PER_S: u64 = 1_000_000_000;
/// sys/event.h: the timer goes on while the machine sleeps.
const NOTE_MACH_CONTINUOUS_TIME: u32 = 0x80;

fn nanos(clock: libc::clockid_t) -> u64 {
    clock_gettime(ClockId::from_raw(clock)).map_or(0, |t| {
        let secs = u64::try_from(t.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(t.tv_nsec()).unwrap_or(0);
        secs.saturating_mul(NANOS_PER_S).saturating_add(nanos)
    })
}

/// Nanoseconds since boot, time asleep included. 0 if the clock cannot be read.
pub fn boot_nanos() -> u64 {
    nanos(libc::CLOCK_MONOTONIC_RAW)
}

/// The same in milliseconds.
pub fn boot_ms() -> u64 {
    boot_nanos() / 1_000_000
}

/// Nanoseconds of the clock that stops during sleep. What the boot clock gains on it was slept.
pub fn awake_nanos() -> u64 {
    nanos(libc::CLOCK_UPTIME_RAW)
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
/// during sleep: a queue of kernel events with one timer in it.
pub struct BootTimer(OwnedFd);

impl BootTimer {
    pub fn new() -> io::Result<BootTimer> {
        // SAFETY: takes nothing.
        let fd = unsafe { libc::kqueue() };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, owned by nobody else. Queues are not inherited by children.
        Ok(BootTimer(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Fire once at `boot_ns`; at once if that is past. Replaces an earlier setting.
    pub fn set(&self, boot_ns: u64) -> io::Result<()> {
        let left = boot_ns.saturating_sub(boot_nanos()).clamp(1, i64::MAX as u64);
        self.change(libc::EV_ADD | libc::EV_ONESHOT, left as isize)
    }

    pub fn clear(&self) -> io::Result<()> {
        match self.change(libc::EV_DELETE, 0) {
            // It has fired, or was never set.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }

    /// Make the descriptor unreadable again after it fired.
    pub fn drain(&self) {
        let mut event = timer(0, 0);
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let none = std::ptr::null();
        let queue = self.0.as_raw_fd();
        // SAFETY: there is room for the one event asked for, and no change is passed.
        unsafe { libc::kevent(queue, none, 0, &raw mut event, 1, &raw const now) };
    }

    fn change(&self, flags: u16, nanos: isize) -> io::Result<()> {
        let change = timer(flags, nanos);
        let (none, at_once) = (std::ptr::null_mut(), std::ptr::null());
        let queue = self.0.as_raw_fd();
        // SAFETY: one change is passed and read; there is no room for events, so none is written.
        let result = unsafe { libc::kevent(queue, &raw const change, 1, none, 0, at_once) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn timer(flags: u16, data: isize) -> libc::kevent {
    let fflags = libc::NOTE_NSECONDS | NOTE_MACH_CONTINUOUS_TIME;
    let udata = std::ptr::null_mut();
    libc::kevent { ident: 1, filter: libc::EVFILT_TIMER, flags, fflags, data, udata }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
