//! How many descriptors this process may have, and what it starts: a process that needs thousands
//! raises its own limit, and what it starts has the one that it was given itself. Programs that use
//! select(2), or close all that they could have, go wrong or slow with another.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// As it was when this process began, if it was raised.
static GIVEN: OnceLock<libc::rlimit> = OnceLock::new();

/// Up to so many, as far as the hard limit goes; less is no error.
pub fn raise(most: u64) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is writable for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) } < 0 {
        return;
    }
    let more = libc::rlimit { rlim_cur: now.rlim_max.min(most), ..now };
    if more.rlim_cur > now.rlim_cur && GIVEN.set(now).is_ok() {
        let _ = set(&more);
    }
}

/// What is started has the limit that this process was given.
pub fn as_given(command: &mut Command) -> &mut Command {
    let Some(given) = GIVEN.get() else { return command };
    // SAFETY: the closure allocates nothing, and setrlimit(2) is async-signal-safe.
    unsafe { command.pre_exec(move || set(given)) }
}

fn set(limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: the limit is readable for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
