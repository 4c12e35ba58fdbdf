//! All that this process has started, and all that they have: whoever lost its parent among them
//! has become a child of ours ([`adopt_orphans`]), so that nothing leaves this tree by forking
//! twice or by a session of its own.
//!
//! A number is given again. One is signalled through a descriptor of its process (pidfd), made
//! before it is looked at once more that it is the one that was found.

use std::io;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

#[cfg(target_os = "linux")]
use super::children;
use super::process_stat::Stat;
use super::signal::Kind;

/// One of them: number, parent, and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    parent: i32,
    began: u64,
    is_zombie: bool,
}

/// Those that lose their parent become children of this process instead of the first one's.
#[cfg(target_os = "linux")]
pub fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

#[cfg(not(target_os = "linux"))]
pub fn adopt_orphans() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// A child that has ended, with its number; it is gone then.
pub fn reap() -> Option<(u32, End)> {
    loop {
        let (pid, end) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, End::Code((code & 0xff) as u8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, End::Signal(signal as i32 as u8)),
            Ok(WaitStatus::StillAlive) => return None,
            Ok(_) | Err(Errno::EINTR) => continue,
            // A signal that nix has no name for, or no child is left.
            Err(_) => return None,
        };
        return u32::try_from(pid.as_raw()).ok().map(|pid| (pid, end));
    }
}

/// All that live now, whoever they belong to.
pub fn all() -> Vec<Process> {
    let ours = Pid::this().as_raw();
    let every: Vec<Process> = numbers().filter_map(look).collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ours];
    while let Some(parent) = parents.pop() {
        for process in every.iter().filter(|process| process.parent == parent) {
            // A row that was read while numbers changed may have a circle.
            if process.pid != ours && !found.contains(process) {
                parents.push(process.pid);
                found.push(*process);
            }
        }
    }
    found.retain(|process| !process.is_zombie);
    found
}

fn numbers() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn look(pid: i32) -> Option<Process> {
    let stat = Stat::of(u32::try_from(pid).ok()?)?;
    let parent = i32::try_from(stat.parent).ok()?;
    Some(Process { pid, parent, began: stat.start, is_zombie: stat.is_over })
}

impl Process {
    /// Whether the signal could be sent; one that has gone needs none.
    pub fn send(self, kind: Kind) -> bool {
        match self.try_send(kind) {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ESRCH),
        }
    }

    #[cfg(target_os = "linux")]
    fn try_send(self, kind: Kind) -> io::Result<()> {
        let held = children::hold(Pid::from_raw(self.pid))?;
        if look(self.pid).is_some_and(|now| now.began == self.began) {
            children::send(&held, kind.signal())?;
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn try_send(self, kind: Kind) -> io::Result<()> {
        Ok(nix::sys::signal::kill(Pid::from_raw(self.pid), kind.signal())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_proc_is_read_whatever_a_program_is_called() {
        let own = look(Pid::this().as_raw()).unwrap();
        assert_eq!((own.parent, own.is_zombie), (Pid::parent().as_raw(), false));
        assert!(own.began > 0);
        assert!(look(0).is_none());
        let other = Process { began: own.began + 1, ..own };
        // The number is ours, but it is not who was found: nothing is sent.
        assert!(other.send(Kind::Kill));
    }
}
