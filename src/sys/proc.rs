//! Processes, namespaces and mounts.

use super::poll;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Uid};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Which side of [`daemonize`] this is.
pub enum Side {
    /// The caller; the pipe tells what the daemon reports and ends when the daemon closes it.
    Caller(File),
    /// The daemon; what it writes here its caller reads.
    Daemon(File),
}

/// Continue in a process of its own session, without terminal, child of init.
/// Refuses with `Unsupported` when other threads exist: they would not come along.
pub fn daemonize() -> io::Result<Side> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "other threads are running"));
    }
    let (read, write) = poll::pipe()?;
    // SAFETY: this process has one thread (checked above), so the child inherits no held lock.
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
pub fn dying_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: prctl(2) is async-signal-safe and the closure allocates nothing.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGTERM).map_err(io::Error::from)) }
}

/// No core dumps and no ptrace by others of the same user (R99). The second line for the first of
/// these is the limit, which a kernel that dumps for root alone does not look at.
pub fn keep_memory_private() -> io::Result<()> {
    prctl::set_dumpable(false)?;
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is readable for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

pub fn uid() -> u32 {
    Uid::effective().as_raw()
}

/// Set the process's file mode mask; returns the old one. Not for use beside other threads.
pub fn set_umask(mode: u32) -> u32 {
    umask(Mode::from_bits_truncate(mode)).bits()
}

/// A namespace kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Net,
    Mount,
    User,
    Pid,
    Uts,
    Ipc,
}

impl Space {
    fn flag(self) -> CloneFlags {
        match self {
            Space::Net => CloneFlags::CLONE_NEWNET,
            Space::Mount => CloneFlags::CLONE_NEWNS,
            Space::User => CloneFlags::CLONE_NEWUSER,
            Space::Pid => CloneFlags::CLONE_NEWPID,
            Space::Uts => CloneFlags::CLONE_NEWUTS,
            Space::Ipc => CloneFlags::CLONE_NEWIPC,
        }
    }
}

/// Give the calling thread new namespaces (`User` needs a process with one thread).
pub fn unshare(spaces: &[Space]) -> io::Result<()> {
    let flags = spaces.iter().fold(CloneFlags::empty(), |f, s| f | s.flag());
    Ok(nix::sched::unshare(flags)?)
}

/// Move the calling thread into the namespace behind `fd`, which must be of that kind.
pub fn setns(fd: impl AsFd, kind: Space) -> io::Result<()> {
    Ok(nix::sched::setns(fd, kind.flag())?)
}

/// The calling thread's namespace of that kind, to return to by [`setns`].
pub fn current_space(kind: Space) -> io::Result<OwnedFd> {
    let name = match kind {
        Space::Net => "net",
        Space::Mount => "mnt",
        Space::User => "user",
        Space::Pid => "pid",
        Space::Uts => "uts",
        Space::Ipc => "ipc",
    };
    Ok(File::open(format!("/proc/thread-self/ns/{name}"))?.into())
}

/// From now on no mount made here shows up elsewhere. The mount namespace must be this process's
/// own already.
pub fn make_private_recursive() -> io::Result<()> {
    match make_private("/") {
        // In a chroot the root directory is no mount, and the mount that holds it has no name here.
        Err(nix::errno::Errno::EINVAL) => {
            make_root_a_mount()?;
            Ok(make_private("/")?)
        }
        done => Ok(done?),
    }
}

fn make_private(path: &str) -> nix::Result<()> {
    let none = None::<&Path>;
    mount(none, path, none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
}

/// Binds the root directory over /proc, which is a mount of its own and can be made private, and
/// makes the copy this process's root. The copy has its own /proc.
fn make_root_a_mount() -> io::Result<()> {
    make_private("/proc")?;
    mount_bind(Path::new("/"), Path::new("/proc"))?;
    make_private("/proc")?;
    nix::unistd::chdir("/proc")?;
    nix::unistd::chroot(".")?;
    Ok(nix::unistd::chdir("/")?)
}

pub fn mount_bind(from: &Path, to: &Path) -> io::Result<()> {
    Ok(mount(Some(from), to, None::<&Path>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&Path>)?)
}

/// An empty directory in memory, with mode bits such as 0o755.
pub fn mount_tmpfs(path: &Path, mode: u32) -> io::Result<()> {
    let options = format!("mode={mode:o}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))?)
}

pub fn mount_proc(path: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), path, Some("proc"), flags, None::<&Path>)?)
}

/// Detach a mount now; it ends when its last user does.
pub fn unmount(path: &Path) -> io::Result<()> {
    Ok(umount2(path, MntFlags::MNT_DETACH)?)
}

/// A character device node such as /dev/net/tun (10, 200).
pub fn make_char_device(path: &Path, mode: u32, major: u64, minor: u64) -> io::Result<()> {
    Ok(mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(mode), makedev(major, minor))?)
}
