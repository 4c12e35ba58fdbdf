//! The network namespaces and mounts that a thread may have to itself.

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A namespace kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Net,
    Mount,
    User,
    Pid,
}

impl Space {
    fn flag(self) -> CloneFlags {
        match self {
            Space::Net => CloneFlags::CLONE_NEWNET,
            Space::Mount => CloneFlags::CLONE_NEWNS,
            Space::User => CloneFlags::CLONE_NEWUSER,
            Space::Pid => CloneFlags::CLONE_NEWPID,
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

/// A character device node such as /dev/net/tun (10, 200).
pub fn make_char_device(path: &Path, mode: u32, major: u64, minor: u64) -> io::Result<()> {
    Ok(mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(mode), makedev(major, minor))?)
}
