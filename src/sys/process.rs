//! Processes: into the background and into sessions of their own, what they inherit and keep to
//! themselves, whose death ends them, and killing them.

use super::poll;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid};
use std::ffi::{CStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Which side of [`daemonize`] this is.
pub enum Side {
    /// The caller; the pipe tells what the daemon reports and ends when the daemon closes it.
    Caller(File),
    /// The daemon; what it writes here its caller reads.
    Daemon(File),
}

/// Continue in a process of its own session, without terminal, child of init.
/// Other threads would not come along: where they can be counted, it refuses with `Unsupported`.
pub fn daemonize() -> io::Result<Side> {
    #[cfg(target_os = "linux")]
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "other threads are running"));
    }
    let (read, write) = poll::pipe()?;
    // SAFETY: this process has one thread (checked, or by the caller's word), so the child inherits
    // no held lock.
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

/// Let the command end when the thread that starts it ends.
#[cfg(target_os = "linux")]
pub fn dying_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: prctl(2) is async-signal-safe and the closure allocates nothing.
    unsafe {
        command
            .pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(io::Error::from))
    }
}

/// This system cannot tie a command's end to its parent's: it ends when its pipes do.
#[cfg(target_os = "macos")]
pub fn dying_with_parent(command: &mut Command) -> &mut Command {
    command
}

/// What the kernel calls this process, where it would be called after a link such as `exe`.
#[cfg(target_os = "linux")]
pub fn take_name(name: &CStr) {
    let _ = nix::sys::prctl::set_name(name);
}

/// This system calls it what its file is called.
#[cfg(target_os = "macos")]
pub fn take_name(_: &CStr) {}

/// No core dumps and no debugger of others of the same user (R99). The limit is the second line:
/// a kernel that dumps for root alone does not look at it.
pub fn keep_memory_private() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is readable for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } < 0 {
        return Err(io::Error::last_os_error());
    }
    deny_debuggers()
}

/// The debuggers alone, for what starts others that may dump.
#[cfg(target_os = "linux")]
pub fn deny_debuggers() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

#[cfg(target_os = "macos")]
pub fn deny_debuggers() -> io::Result<()> {
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

/// What the system's list of users says of a login.
pub struct Login {
    pub name: OsString,
    pub home: OsString,
    pub shell: OsString,
}

/// This process's user, where the list has it.
pub fn login() -> Option<Login> {
    let user = nix::unistd::User::from_uid(Uid::effective()).ok()??;
    let (home, shell) = (user.dir.into_os_string(), user.shell.into_os_string());
    Some(Login { name: user.name.into(), home, shell })
}

/// The group this process acts as.
pub fn gid() -> u32 {
    Gid::effective().as_raw()
}

/// All that this process is in.
pub fn groups() -> Vec<u32> {
    // Of as many as there are on macOS nobody knows better than by the one it acts as.
    #[cfg(target_os = "linux")]
    let more = nix::unistd::getgroups().unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    let more: Vec<Gid> = Vec::new();
    let all: std::collections::BTreeSet<u32> = more.iter().map(|gid| gid.as_raw()).collect();
    all.into_iter().chain([gid()]).collect()
}

/// Set the process's file mode mask; returns the old one. Not for use beside other threads.
pub fn set_umask(mode: u32) -> u32 {
    let old = umask(Mode::from_bits_truncate(mode as libc::mode_t)).bits();
    old as u32
}

/// Close every descriptor above standard error. For the first line of a program that was started
/// with descriptors it did not ask for: nothing in this process may own one of them yet.
#[cfg(target_os = "linux")]
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: takes numbers only; the caller promises that no owner of any of them exists.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// As on Linux, one by one: there is no call for a range.
#[cfg(target_os = "macos")]
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: takes nothing.
    let most = unsafe { libc::getdtablesize() };
    for fd in 3..most {
        // SAFETY: takes a number; the caller promises that no owner of any of them exists.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// As many descriptors as this user may have at a time, up to a bound: what a program is started
/// with suits those that use select(2).
pub fn raise_descriptor_limit() {
    const MOST: libc::rlim_t = 65_536;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is writable for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_cur.max(limit.rlim_max.min(MOST));
        // SAFETY: the limit is readable for the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// Point standard output at /dev/null, so that its reader sees the end.
pub fn stdout_to_null() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    // SAFETY: dup2 takes two numbers; 1 is standard output, which std never closes.
    if unsafe { libc::dup2(null.as_raw_fd(), 1) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whoever started us gave us a socket as standard output: the socket. What is written there from
/// now on goes nowhere.
pub fn take_stdout() -> io::Result<OwnedFd> {
    let taken = io::stdout().as_fd().try_clone_to_owned()?;
    stdout_to_null()?;
    Ok(taken)
}

/// Point standard error at a file; the caller keeps its own descriptor of it.
pub fn stderr_to(file: &std::fs::File) -> io::Result<()> {
    // SAFETY: dup2 takes two numbers; 2 is standard error, which std never closes.
    if unsafe { libc::dup2(file.as_raw_fd(), 2) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Have the kernel kill this process when the thread that started it ends. A parent that ended
/// earlier is not noticed: the caller must look after this call.
#[cfg(target_os = "linux")]
pub fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Whether there is a process of this number, whoever's it is.
pub fn is_alive(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    let asked = kill(Pid::from_raw(pid), None);
    asked != Err(Errno::ESRCH)
}

/// Until a process that was killed is gone: it may have much memory to give back.
pub const REAPED_WITHIN: Duration = Duration::from_secs(2);

/// Kill a process that this one started, or that became its child, and wait until it is gone.
/// At most [`REAPED_WITHIN`]; a process that is not there is gone.
pub fn kill_and_reap(pid: u32) -> io::Result<()> {
    let number =
        i32::try_from(pid).ok().filter(|pid| *pid > 1).ok_or(io::ErrorKind::InvalidInput)?;
    let pid = Pid::from_raw(number);
    match kill(pid, Signal::SIGKILL) {
        Err(Errno::ESRCH) => return Ok(()),
        other => other?,
    }
    let end = Instant::now() + REAPED_WITHIN;
    while Instant::now() < end {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            Ok(_) | Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(io::ErrorKind::TimedOut.into())
}
