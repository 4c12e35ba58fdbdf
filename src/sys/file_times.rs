//! The times of a file, a directory or a link itself.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Seconds and nanoseconds since 1970.
pub type Moment = (i64, i64);

/// When it was read and when it was changed. No link is followed in the last part of the path.
pub fn set(path: &Path, read: Moment, changed: Moment) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let time = |(seconds, nanos): Moment| libc::timespec {
        tv_sec: seconds as libc::time_t,
        tv_nsec: nanos as libc::c_long,
    };
    let times = [time(read), time(changed)];
    let how = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path ends with a zero, and the two times are readable for the call.
    match unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
