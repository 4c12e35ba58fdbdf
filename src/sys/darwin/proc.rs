//! Processes: into the background, into a session of their own, and what they keep to themselves.

use super::poll;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Uid};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Which side of [`daemonize`] this is.
pub enum Side {
    /// The caller; the pipe tells what the daemon reports and ends when the daemon closes it.
    Caller(File),
    /// The daemon; what it writes here its caller reads.
    Daemon(File),
}

/// Continue in a process of its own session, without terminal, child of launchd. Call while there
/// is one thread: others would not come along.
pub fn daemonize() -> io::Result<Side> {
    let (read, write) = poll::pipe()?;
    // SAFETY: by the caller's word this process has one thread, so the child inherits no held lock.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            Ok(Side::Caller(File::from(read)))
        }
        ForkResult::Child => {
            drop(read);
            let _ = nix::unistd::setsid();
            // The second fork gives up being session leader, so no terminal can be acquired.
            // SAFETY: as above.
            match unsafe { nix::unistd::fork() } {
                Ok(ForkResult::Child) => Ok(Side::Daemon(File::from(write))),
                // SAFETY: ends this process at once, without the exit handlers of the caller.
                _ => unsafe { libc::_exit(0) },
            }
        }
    }
}

/// Point standard input, output and error at /dev/null, so that nobody waits for them to close.
pub fn close_stdio() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for target in 0..=2 {
        // SAFETY: dup2 takes two numbers; 0 to 2 are the standard streams, which std never owns.
        if unsafe { libc::dup2(null.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Let the command run in its own session: no terminal, no signals from the caller's.
pub fn in_new_session(command: &mut Command) -> &mut Command {
    // SAFETY: setsid(2) is async-signal-safe and the closure allocates nothing.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) }
}

/// This system cannot tie a command's end to its parent's: it ends when its pipes do.
pub fn dying_with_parent(command: &mut Command) -> &mut Command {
    command
}

/// No core dumps and no debugger of the same user (R99).
pub fn keep_memory_private() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is readable for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this request takes no memory.
    let denied = unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) };
    if denied < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

pub fn uid() -> u32 {
    Uid::effective().as_raw()
}

/// Set the process's file mode mask; returns the old one. Not for use beside other threads.
pub fn set_umask(mode: u32) -> u32 {
    umask(Mode::from_bits_truncate(mode as libc::mode_t)).bits().into()
}
