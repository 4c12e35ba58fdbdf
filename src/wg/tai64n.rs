//! Handshake timestamps: TAI64N, whitened and strictly increasing (R03, R25, R28).

use super::time::{Now, Time, Wall};

pub const TAI64N_LEN: usize = 12;
/// TAI label of the Unix epoch: 2^62 + 10 s.
const EPOCH: u64 = (1 << 62) + 10;
/// Low bits of the nanoseconds that are not told to anybody: 16.8 ms.
const WHITENED: u32 = (1 << 24) - 1;
/// A wall clock before this (2023-01-01, Unix seconds) was not set yet; the first right time after
/// it is no leap.
const UNSET_BEFORE_S: u64 = 1_672_531_200;
/// No clock shows more Unix seconds than this (some 34,000 years); it leaves room to step above.
const SECS_MAX: u64 = 1 << 40;
/// Seconds that the wall clock may gain on the boot clock between two timestamps.
const LEAP_MAX_S: u64 = 3600;

/// A timestamp as it goes over the wire. Its byte order is its time order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tai64n(pub [u8; TAI64N_LEN]);

impl Tai64n {
    fn new(secs: u64, nanos: u32) -> Tai64n {
        let mut b = [0; TAI64N_LEN];
        b[..8].copy_from_slice(&EPOCH.saturating_add(secs).to_be_bytes());
        b[8..].copy_from_slice(&nanos.to_be_bytes());
        Tai64n(b)
    }
}

/// Issues our own timestamps: each strictly above the one before, whatever the clock does.
///
/// A wall clock that leaps ahead of the boot clock is not followed: a timestamp from the future
/// would make the key pair useless once the clock is right again (CVE-2021-46873). Nothing is lost
/// by that, since a peer only asks for timestamps that grow.
#[derive(Default)]
pub struct Issuer {
    last: Option<(u64, u32)>,
    /// When a timestamp was last issued, by the boot clock and by the wall clock as we take it.
    anchor: Option<(Time, Wall)>,
}

impl Issuer {
    /// The timestamp for `now`. When the wall clock stands still or went back, the smallest step
    /// above the last one is taken.
    pub fn issue(&mut self, now: Now) -> Tai64n {
        let wall = self.believed(now);
        self.anchor = Some((now.boot, wall));
        let mut stamp = (wall.secs.min(SECS_MAX), wall.nanos.min(999_999_999) & !WHITENED);
        if let Some(last) = self.last.filter(|last| stamp <= *last) {
            stamp = (last.0, last.1 + WHITENED + 1);
            if stamp.1 > 999_999_999 {
                stamp = (last.0.saturating_add(1), 0);
            }
        }
        self.last = Some(stamp);
        Tai64n::new(stamp.0, stamp.1)
    }

    /// The last timestamp issued, to be kept over a restart.
    pub fn mark(&self) -> Option<Wall> {
        self.last.map(|(secs, nanos)| Wall { secs, nanos })
    }

    /// From now on only timestamps above `mark` (R28).
    pub fn resume(&mut self, mark: Wall) {
        let mark = (mark.secs.min(SECS_MAX), mark.nanos.min(999_999_999) & !WHITENED);
        self.last = self.last.max(Some(mark));
    }

    /// The wall clock, unless it has leapt further ahead than an hour since the last timestamp.
    fn believed(&self, now: Now) -> Wall {
        let Some((boot, wall)) = self.anchor.filter(|(_, w)| w.secs >= UNSET_BEFORE_S) else {
            return now.wall;
        };
        let passed = now.boot.since(boot);
        let nanos = wall.nanos.min(999_999_999) + passed.subsec_nanos();
        let secs = wall.secs.saturating_add(passed.as_secs());
        let expected = Wall {
            secs: secs.saturating_add(u64::from(nanos / 1_000_000_000)),
            nanos: nanos % 1_000_000_000,
        };
        let leapt = now.wall.secs > expected.secs.saturating_add(LEAP_MAX_S);
        if leapt { expected } else { now.wall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(secs: u64, nanos: u32) -> Now {
        Now { boot: Time::ZERO, wall: Wall { secs, nanos } }
    }

    #[test]
    fn layout_is_big_endian_with_the_tai_offset() {
        let t = Issuer::default().issue(wall(0, 0));
        assert_eq!(t.0, [0x40, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0]);
    }

    #[test]
    fn nanoseconds_are_floored_to_two_to_the_24() {
        // R28
        let t = Issuer::default().issue(wall(1, 0x0123_4567));
        assert_eq!(t.0[8..], [0x01, 0, 0, 0]);
    }

    #[test]
    fn strictly_increasing_when_the_clock_stands_goes_back_or_jumps() {
        // R28
        let mut i = Issuer::default();
        let mut last = Tai64n::default();
        let clock = [5, 5, 5, 3, 1_000_000_000, 4, 6, 0, u64::MAX, u64::MAX - 20, 7];
        for secs in clock.into_iter().flat_map(|s| [s; 80]) {
            let t = i.issue(wall(secs, 999_999_999));
            assert!(t > last, "{t:?} after {last:?}");
            last = t;
        }
        let mut i = Issuer::default();
        for secs in [u64::MAX, u64::MAX, 0] {
            i.issue(wall(secs, u32::MAX));
        }
    }

    #[test]
    fn a_leap_into_the_future_is_not_followed_and_an_ordinary_correction_is() {
        // R28, CVE-2021-46873
        let mut i = Issuer::default();
        let at = |boot_s: u64, wall_s: u64| Now {
            boot: Time::from_nanos(boot_s * 1_000_000_000),
            wall: Wall { secs: wall_s, nanos: 0 },
        };
        let start = 1_700_000_000;
        let years = 30 * 365 * 86_400;
        i.issue(at(100, start));
        let leapt = i.issue(at(110, start + 10 + years));
        assert!(leapt < Tai64n::new(start + 60, 0), "as if the clock had not leapt");
        let back = i.issue(at(120, start + 20));
        assert!(back > leapt && back < Tai64n::new(start + 60, 0));
        assert_eq!(i.issue(at(130, start + 1800)), Tai64n::new(start + 1800, 0));
        // A night's suspend moves both clocks.
        assert_eq!(i.issue(at(40_130, start + 41_800)), Tai64n::new(start + 41_800, 0));
    }

    #[test]
    fn a_kept_mark_is_never_undercut() {
        // R28: restarted with a clock that went back.
        let mut before = Issuer::default();
        let last = before.issue(wall(1_000_000, 0));
        let mut after = Issuer::default();
        after.resume(before.mark().unwrap());
        assert!(after.issue(wall(5, 0)) > last);
        after.resume(Wall { secs: 1, nanos: 0 });
        assert!(after.issue(wall(5, 0)) > last, "an older mark changes nothing");
    }
}
