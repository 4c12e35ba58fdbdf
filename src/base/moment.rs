//! A moment in the past as people type it: how long ago, a time of today, or a date and a time,
//! where the user is. And the present one.

use super::time_text::utc;
pub use crate::sys::clock::wall_ms as now_ms;
use crate::sys::local_time;

const DAY_S: u64 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    AgoMs(u64),
    UnixMs(u64),
}

/// What is to be typed, for whoever typed something else.
pub const FORMS: &str = "10m, 2h, 3d, 14:30, 2026-01-31 or \"2026-01-31 14:30\"";

/// `now`: seconds since 1970.
pub fn parse(text: &str, now: u64) -> Option<Moment> {
    let text = text.trim();
    if let Some(ms) = ago(text) {
        return Some(Moment::AgoMs(ms));
    }
    let secs = match text.split_once(['T', ' ']) {
        Some((date, time)) => {
            let (time, is_utc) = time.strip_suffix('Z').map_or((time, false), |time| (time, true));
            let plain = midnight(date)?.checked_add(clock(time.trim())?)?;
            if is_utc { plain } else { from_local(plain) }
        }
        None if text.contains(':') => of_today(clock(text)?, now),
        None => from_local(midnight(text)?),
    };
    secs.checked_mul(1000).map(Moment::UnixMs)
}

fn ago(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => DAY_S,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    digits(number)?.checked_mul(unit)?.checked_mul(1000)
}

fn digits(text: &str) -> Option<u64> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `14:30` or `14:30:15`, in seconds.
fn clock(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(digits);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let fits = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    fits.then_some(hour * 3600 + minute * 60 + second)
}

/// `2026-01-31`, in seconds since 1970 at Greenwich.
fn midnight(text: &str) -> Option<u64> {
    let mut parts = text.split('-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let fits =
        (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || parts.next().is_some() {
        return None;
    }
    // Years that begin on the first of March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let secs = days.checked_sub(719_468)?.checked_mul(DAY_S)?;
    // No 31st of February.
    utc(secs).starts_with(text).then_some(secs)
}

/// What clocks there show as `shown` seconds.
fn from_local(shown: u64) -> u64 {
    let east = |secs: u64| local_time::at(secs).map_or(0, |at| at.east_s);
    let first = shown.saturating_add_signed(-east(shown));
    shown.saturating_add_signed(-east(first))
}

/// The last time that it was so late.
fn of_today(clock: u64, now: u64) -> u64 {
    let shown = local_time::at(now).map_or(now, |at| now.saturating_add_signed(at.east_s));
    let today = from_local(shown - shown % DAY_S + clock);
    if today > now { today.saturating_sub(DAY_S) } else { today }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_a_moment_and_nothing_else_is() {
        let now = 1_769_900_000;
        let at = |text: &str| parse(text, now);
        assert_eq!(at("90s"), Some(Moment::AgoMs(90_000)));
        assert_eq!(at("3d"), Some(Moment::AgoMs(3 * 86_400_000)));
        assert_eq!(at("1970-01-01T00:00:01Z"), Some(Moment::UnixMs(1000)));
        assert_eq!(at("2026-01-31 23:59:59Z"), Some(Moment::UnixMs(1_769_903_999_000)));
        assert_eq!(at("2024-02-29T00:00Z"), Some(Moment::UnixMs(1_709_164_800_000)));
        for bad in [
            "",
            "s",
            "10",
            "-1h",
            "1.5h",
            "1w",
            "ü",
            "25:00",
            "1:60",
            "1:2:3:4",
            "2026-02-30",
            "2026-13-01",
            "26-1-1",
            "1969-01-01",
            "99999999999999999999d",
            "2026-01-31 x",
            ":",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
        // Whatever the zone: what is shown is what was typed.
        for (text, shown) in
            [("2026-01-31 14:30", "2026-01-31 14:30:00"), ("2026-07-01", "2026-07-01 00:00:00")]
        {
            let Some(Moment::UnixMs(ms)) = at(text) else { panic!("{text}") };
            assert!(super::super::time_text::local(ms / 1000).starts_with(shown), "{text}");
        }
        for clock in ["00:00", "23:59", "12:00:01"] {
            let Some(Moment::UnixMs(ms)) = at(clock) else { panic!("{clock}") };
            assert!(ms / 1000 <= now && ms / 1000 + 90_000 > now, "{clock}");
            assert!(super::super::time_text::local(ms / 1000).contains(&format!(" {clock}")));
        }
    }
}
