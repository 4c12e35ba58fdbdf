//! A moment in the user's time zone, as localtime(3) knows it.

/// A date, a time, and how far that zone is east of Greenwich.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub east_s: i64,
}

/// `None` for a moment in seconds since 1970 that the system's calendar does not have.
pub fn at(secs: u64) -> Option<Local> {
    // libc names time_t as deprecated for musl, which has made it wider.
    let at = secs.try_into().ok()?;
    // SAFETY: a `tm` of zeros is valid: numbers, and a pointer that may be null.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of their types; the call keeps neither.
    if unsafe { libc::localtime_r(&raw const at, &raw mut parts) }.is_null() {
        return None;
    }
    let small = |n: i32| u8::try_from(n).ok();
    Some(Local {
        year: i64::from(parts.tm_year) + 1900,
        month: small(parts.tm_mon + 1)?,
        day: small(parts.tm_mday)?,
        hour: small(parts.tm_hour)?,
        minute: small(parts.tm_min)?,
        second: small(parts.tm_sec)?,
        #[allow(clippy::useless_conversion)] // 32 bits on some systems
        east_s: parts.tm_gmtoff.into(),
    })
}
