//! poll(2) and wake-up descriptors.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What to wait for, or what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(PollFlags);

impl Interest {
    /// Errors and hang-ups are reported all the same.
    pub const NONE: Interest = Interest(PollFlags::empty());
    pub const READ: Interest = Interest(PollFlags::POLLIN);
    pub const WRITE: Interest = Interest(PollFlags::POLLOUT);
    pub const BOTH: Interest = Interest(PollFlags::POLLIN.union(PollFlags::POLLOUT));

    pub fn readable(self) -> bool {
        self.0.contains(PollFlags::POLLIN)
    }

    pub fn writable(self) -> bool {
        self.0.contains(PollFlags::POLLOUT)
    }

    /// Hung up, in error, or not open at all.
    pub fn broken(self) -> bool {
        self.0.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL)
    }

    pub fn any(self) -> bool {
        !self.0.is_empty()
    }
}

/// Wait until one of `fds` is ready; `out` receives what happened to each, in the same order.
/// `None` waits without end. A signal ends the wait early with nothing ready.
pub fn wait(
    fds: &[(BorrowedFd<'_>, Interest)],
    out: &mut Vec<Interest>,
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let mut set: Vec<PollFd> = fds.iter().map(|(fd, i)| PollFd::new(*fd, i.0)).collect();
    let n = match nix::poll::poll(&mut set, timeout_of(timeout)) {
        Err(Errno::EINTR) => 0,
        other => other?,
    };
    out.clear();
    // Flags that nix does not know count as an error, so that they are looked at.
    let seen = |p: &PollFd| p.revents().unwrap_or(PollFlags::POLLERR);
    out.extend(set.iter().map(|p| if n == 0 { Interest::NONE } else { Interest(seen(p)) }));
    Ok(usize::try_from(n).unwrap_or(0))
}

/// [`wait`] for a fixed number of descriptors, without touching the heap.
pub fn wait_each<const N: usize>(
    fds: [(BorrowedFd<'_>, Interest); N],
    timeout: Option<Duration>,
) -> io::Result<[Interest; N]> {
    let mut set = fds.map(|(fd, i)| PollFd::new(fd, i.0));
    match nix::poll::poll(&mut set, timeout_of(timeout)) {
        Ok(0) | Err(Errno::EINTR) => Ok([Interest::NONE; N]),
        Ok(_) => Ok(set.map(|p| Interest(p.revents().unwrap_or(PollFlags::POLLERR)))),
        Err(e) => Err(e.into()),
    }
}

/// Wait for one descriptor; true if it is ready (or broken).
pub fn wait_one(fd: BorrowedFd<'_>, what: Interest, timeout: Option<Duration>) -> io::Result<bool> {
    let mut set = [PollFd::new(fd, what.0)];
    match nix::poll::poll(&mut set, timeout_of(timeout)) {
        Err(Errno::EINTR) => Ok(false),
        other => Ok(other? > 0),
    }
}

/// What is true of a descriptor now, without waiting.
pub fn look(fd: BorrowedFd<'_>, what: Interest) -> Interest {
    let mut set = [PollFd::new(fd, what.0)];
    match nix::poll::poll(&mut set, PollTimeout::ZERO) {
        Ok(n) if n > 0 => Interest(set[0].revents().unwrap_or(PollFlags::POLLERR)), // set has one
        _ => Interest::NONE,
    }
}

/// Rounded up to whole milliseconds: rounding down would spin until the moment is there.
fn timeout_of(timeout: Option<Duration>) -> PollTimeout {
    let Some(t) = timeout else { return PollTimeout::NONE };
    let ms = t.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
}

/// A counter that another thread's poll can wait for. Waking never blocks.
#[cfg(target_os = "linux")]
pub struct Wake(nix::sys::eventfd::EventFd);

#[cfg(target_os = "linux")]
impl Wake {
    pub fn new() -> io::Result<Wake> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Wake(EventFd::from_value_and_flags(0, flags)?))
    }

    pub fn wake(&self) {
        // EAGAIN means the counter is full, so the other side is awake already.
        let _ = self.0.write(1);
    }

    pub fn drain(&self) {
        let _ = self.0.read();
    }
}

/// A pipe that another thread's poll can wait for. Waking never blocks.
#[cfg(target_os = "macos")]
pub struct Wake(std::fs::File, std::fs::File);

#[cfg(target_os = "macos")]
impl Wake {
    pub fn new() -> io::Result<Wake> {
        pipe().map(|(read, write)| Wake(read.into(), write.into()))
    }

    pub fn wake(&self) {
        // EAGAIN means the pipe is full, so the other side is awake already.
        let _ = io::Write::write(&mut &self.1, &[1]);
    }

    /// What is left of more wakings than this makes the next poll return at once.
    pub fn drain(&self) {
        let _ = io::Read::read(&mut &self.0, &mut [0; 64]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A pipe (read end, write end), both close-on-exec and non-blocking.
#[cfg(target_os = "linux")]
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::OFlag;
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// A pipe (read end, write end), both close-on-exec and non-blocking.
#[cfg(target_os = "macos")]
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe()?;
    super::fd::own(read.as_fd())?;
    super::fd::own(write.as_fd())?;
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_seen_once_and_a_dropped_end_hangs_up() {
        let w = Wake::new().expect("eventfd");
        assert!(!look(w.as_fd(), Interest::READ).any());
        w.wake();
        w.wake();
        assert!(look(w.as_fd(), Interest::READ).readable());
        w.drain();
        assert!(!look(w.as_fd(), Interest::READ).any());

        let (r, t) = pipe().expect("pipe");
        drop(t);
        let mut out = Vec::new();
        wait(&[(r.as_fd(), Interest::READ)], &mut out, None).expect("poll");
        assert!(out[0].broken());
        let each = wait_each([(r.as_fd(), Interest::READ), (w.as_fd(), Interest::READ)], None);
        assert_eq!(each.expect("poll").map(Interest::broken), [true, false]);
    }

    #[test]
    fn a_timeout_is_rounded_up() {
        assert_eq!(timeout_of(Some(Duration::from_micros(1))), PollTimeout::from(1u16));
        assert_eq!(timeout_of(Some(Duration::from_secs(1 << 40))), PollTimeout::MAX);
        assert_eq!(timeout_of(None), PollTimeout::NONE);
    }
}
