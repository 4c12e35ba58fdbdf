//! Network namespaces of others: whose they are, and a socket within one of them, made by a child
//! that joins it and hands it back: a connection, or one by which is asked who listens there (a
//! process with threads cannot join the user namespace that owns it). Joins what is there, and
//! makes none.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::poll::{self, Interest};
use super::sock_diag::SockDiag;
use super::{cmsg, loopback, process};

/// linux/nsfs.h.
const GET_USER_SPACE: libc::Ioctl = 0xb701;
const GET_OWNER: libc::Ioctl = 0xb704;

/// A network namespace, held open.
pub struct NetSpace(File);

impl NetSpace {
    /// Of a process, or of what else is so called in /proc.
    pub fn of(process: &str) -> io::Result<NetSpace> {
        File::open(format!("/proc/{process}/ns/net")).map(NetSpace)
    }

    /// Its number: no other has it as long as this one is there.
    pub fn number(&self) -> io::Result<u64> {
        self.0.metadata().map(|meta| meta.ino())
    }

    /// The user namespace that it belongs to, and the user who made that one. Refused where it is
    /// not below ours.
    fn owner(&self) -> io::Result<(OwnedFd, u32)> {
        // SAFETY: takes no memory; answers a descriptor that nobody else has.
        let fd = unsafe { libc::ioctl(self.0.as_raw_fd(), GET_USER_SPACE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        let space = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut user: libc::uid_t = 0;
        // SAFETY: writes one number, which outlives the call.
        let done = unsafe { libc::ioctl(space.as_raw_fd(), GET_OWNER, &raw mut user) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok((space, user)) }
    }

    /// Whether this process's user made it, and not the system or another user.
    pub fn is_own(&self) -> bool {
        let home = File::open("/proc/self/ns/user");
        let (Ok(home), Ok((space, user))) = (home, self.owner()) else { return false };
        let number = |file: &File| file.metadata().map(|meta| meta.ino()).ok();
        user == process::uid() && number(&home) != number(&File::from(space))
    }

    /// From here on this process is in it. One that has threads cannot.
    fn enter(&self) -> io::Result<()> {
        let (user, _) = self.owner()?;
        for (fd, kind) in
            [(user.as_raw_fd(), libc::CLONE_NEWUSER), (self.0.as_raw_fd(), libc::CLONE_NEWNET)]
        {
            // SAFETY: takes an open descriptor and a number.
            if unsafe { libc::setns(fd, kind) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// The first byte of what the child says; a connection comes with the first.
const MADE: u8 = b'+';
const KINDS: [(u8, ErrorKind); 5] = [
    (b'r', ErrorKind::ConnectionRefused),
    (b'n', ErrorKind::NotFound),
    (b'p', ErrorKind::PermissionDenied),
    (b't', ErrorKind::TimedOut),
    (b'o', ErrorKind::Other),
];

/// The child: a connection to `to`, which is on loopback, within the network namespace of the
/// process, which has to be the one of this number; for whoever has the other end of standard
/// input. Whether it was made.
pub fn dial(process: u32, number: u64, to: SocketAddr, limit: Duration) -> bool {
    hand(|| connect(process, number, to, limit).map(OwnedFd::from))
}

/// The child: a socket of sock_diag(7) there, likewise. It asks, and whoever has it holds the
/// namespace.
pub fn look_into(process: u32, number: u64) -> bool {
    hand(|| {
        join(process, number)?;
        SockDiag::open().map(OwnedFd::from)
    })
}

fn hand(make: impl FnOnce() -> io::Result<OwnedFd>) -> bool {
    // A process of the namespace has rights over those that join it, and could read, or become,
    // this one, which sees more than it does.
    let private = process::keep_memory_private();
    let made = private.and_then(|()| make());
    // SAFETY: it was given to us as standard input, and nothing here reads that.
    let parent = UnixStream::from(unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) });
    match made {
        Ok(socket) => cmsg::send(&parent, &[MADE], socket.as_fd()).is_ok(),
        Err(error) => {
            let kind = KINDS.iter().find(|(_, kind)| *kind == error.kind());
            let word = kind.map_or(b'o', |(word, _)| *word);
            let _ = io::Write::write_all(&mut &parent, &[word]);
            false
        }
    }
}

fn join(process: u32, number: u64) -> io::Result<()> {
    let space = NetSpace::of(&process.to_string())?;
    if !space.is_own() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    // It has gone, and another process has the number of the one that was in it.
    if space.number()? != number {
        return Err(ErrorKind::NotFound.into());
    }
    space.enter()?;
    process::keep_memory_private()
}

fn connect(process: u32, number: u64, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    if !to.ip().is_loopback() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    join(process, number)?;
    let stream = loopback::connect(to)?;
    if !poll::wait_one(stream.as_fd(), Interest::WRITE, Some(limit))? {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.take_error()?.map_or(Ok(stream), Err)
}

/// What the child that `command` starts has made. It has `limit` for it, and is gone afterwards.
pub fn handed(command: &mut Command, limit: Duration) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Ended(process::dying_with_parent(command).spawn()?);
    // Its end is still in the command.
    command.stdin(Stdio::null());
    let until = Instant::now() + limit;
    while !poll::wait_one(
        ours.as_fd(),
        Interest::READ,
        Some(until.saturating_duration_since(Instant::now())),
    )? {
        if Instant::now() >= until {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    let mut word = [0; 1];
    let mut came = cmsg::receive(&ours, &mut word)?;
    match (came.bytes, came.fds.pop()) {
        (1, Some(socket)) if word == [MADE] => Ok(socket),
        (1, _) => {
            let kind = KINDS.iter().find(|(known, _)| word == [*known]);
            Err(kind.map_or(ErrorKind::InvalidData, |(_, kind)| *kind).into())
        }
        // It was killed, or is no program of ours.
        _ => Err(io::Error::other(format!("it ended without a word ({:?})", child.0.wait()))),
    }
}

/// A child that is killed and buried, whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
