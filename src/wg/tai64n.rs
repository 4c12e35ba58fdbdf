//! Handshake timestamps: TAI64N, whitened and strictly increasing (R03, R25, R28).

use super::time::Wall;

pub const TAI64N_LEN: usize = 12;
/// TAI label of the Unix epoch: 2^62 + 10 s.
const EPOCH: u64 = (1 << 62) + 10;
/// Low bits of the nanoseconds that are not told to anybody: 16.8 ms.
const WHITENED: u32 = (1 << 24) - 1;

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
#[derive(Default)]
pub struct Issuer {
    last: Option<(u64, u32)>,
}

impl Issuer {
    /// The timestamp for `wall`. When the clock stands still or went back, the smallest step above
    /// the last one is taken, so that a jump into the future costs no more than the jump itself.
    pub fn issue(&mut self, wall: Wall) -> Tai64n {
        let mut stamp = (wall.secs, wall.nanos.min(999_999_999) & !WHITENED);
        if let Some(last) = self.last
            && stamp <= last
        {
            stamp = (last.0, last.1 + WHITENED + 1);
            if stamp.1 > 999_999_999 {
                stamp = (last.0.saturating_add(1), 0);
            }
        }
        self.last = Some(stamp);
        Tai64n::new(stamp.0, stamp.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(secs: u64, nanos: u32) -> Wall {
        Wall { secs, nanos }
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
        for secs in clock.into_iter().take(8).flat_map(|s| [s; 80]) {
            let t = i.issue(wall(secs, 999_999_999));
            assert!(t > last, "{t:?} after {last:?}");
            last = t;
        }
        for secs in clock {
            i.issue(wall(secs, u32::MAX));
        }
    }
}
