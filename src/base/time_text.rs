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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_durations() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
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
