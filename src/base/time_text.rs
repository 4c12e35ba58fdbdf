//! Times as people read them.

use std::time::Duration;

use crate::sys::local_time::{self, Local};

/// A duration as a person reads it: `0.8 ms`, `14 ms`, `2.1 s`.
pub fn took(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// Seconds in their largest unit.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Seconds since 1970 as `2026-01-31 23:59:59 +0100`, where the user is.
pub fn local(secs: u64) -> String {
    local_time::at(secs).map_or_else(|| utc(secs), |at| in_zone(&at))
}

/// The same without the zone.
pub fn date_time(secs: u64) -> String {
    let whole = local(secs);
    whole.rsplit_once(' ').map_or(whole.clone(), |(date_time, _)| date_time.to_owned())
}

fn in_zone(at: &Local) -> String {
    let Local { year, month, day, hour, minute, second, east_s } = at;
    let sign = if *east_s < 0 { '-' } else { '+' };
    let (hours, minutes) = (east_s.abs() / 3600, east_s.abs() / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} \
         {sign}{hours:02}{minutes:02}"
    )
}

/// The time of day there.
pub fn hms(secs: u64) -> String {
    let at = local_time::at(secs);
    at.map_or_else(String::new, |Local { hour, minute, second, .. }| {
        format!("{hour:02}:{minute:02}:{second:02}")
    })
}

/// Seconds since 1970 as `2026-01-31T23:59:59Z`.
pub fn utc(secs: u64) -> String {
    let (days, second) = (secs / 86_400, secs % 86_400);
    // Years of 365.2425 days beginning on the first of March, so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970 of `2026-12-31T23:59:59.123+01:00`, as JSON of others has it.
pub fn seconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i64>().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let marks = [4, 7, 10, 13, 16].map(|at| text.as_bytes().get(at).copied());
    if marks != [b'-', b'-', b'T', b':', b':'].map(Some) || !(1..=12).contains(&month) {
        return None;
    }
    let zone =
        text.get(19..)?.trim_start_matches(|char: char| char == '.' || char.is_ascii_digit());
    let east_s = match zone.as_bytes().first()? {
        b'Z' => 0,
        sign => {
            let at = text.len() - zone.len();
            let east = number(at + 1, at + 3)? * 3600 + number(at + 4, at + 6)? * 60;
            if *sign == b'-' { -east } else { east }
        }
    };
    // As in `utc`.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + day_of_era - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second - east_s).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_durations() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
        for at in [0, 951_782_400, 951_868_800, 1_798_761_599, 4_102_444_800] {
            assert_eq!(seconds(&utc(at)), Some(at));
        }
        assert_eq!(seconds("1970-01-02T00:59:30.987654321+01:00"), Some(86_400 - 30));
        assert_eq!(seconds("1970-01-01T00:00:00-03:30"), Some(12_600));
        let bad = ["", "1970-01-01", "1969-12-31T23:59:59Z", "1970-13-01T00:00:00Z"];
        for bad in bad.into_iter().chain(["1970-01-01T00:00:00", "1970-01-01T00:00:00+1", "é970"])
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        let spans = [0, 119, 120, 7_200, 172_800].map(span);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
        let at = Local { year: 2026, month: 1, day: 2, hour: 3, minute: 4, second: 5, east_s: 0 };
        assert_eq!(in_zone(&at), "2026-01-02 03:04:05 +0000");
        assert_eq!(in_zone(&Local { east_s: 20_700, ..at }), "2026-01-02 03:04:05 +0545");
        assert_eq!(in_zone(&Local { east_s: -12_600, ..at }), "2026-01-02 03:04:05 -0330");
        assert_eq!(took(Duration::from_micros(830)), "0.8 ms");
        assert_eq!(took(Duration::from_millis(14)), "14 ms");
        assert_eq!(took(Duration::from_millis(2100)), "2.1 s");
    }
}
