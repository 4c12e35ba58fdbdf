//! Whether a program has accepted a connection within this machine: the kernel makes it for one
//! that listens, and whoever made it sees no difference until the program says something.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

#[cfg(target_os = "linux")]
use super::sock_diag::{Accepted, SockDiag};

#[cfg(target_os = "linux")]
const FIRST_PAUSE: Duration = Duration::from_millis(1);
#[cfg(target_os = "linux")]
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// Waits for it so long. `asked` is a socket by which the namespace of the other end is asked,
/// where that is not this thread's. A program that wants to see a first byte before it is offered a
/// connection is taken for one that would accept it, unless its queue is full.
#[cfg(target_os = "linux")]
pub fn within(stream: &TcpStream, asked: Option<OwnedFd>, limit: Duration) -> io::Result<bool> {
    let kernel = asked.map_or_else(SockDiag::open, |fd| Ok(SockDiag::from(fd)))?;
    let (mut pause, end) = (FIRST_PAUSE, std::time::Instant::now() + limit);
    loop {
        match kernel.is_accepted(stream)? {
            Accepted::Yes => return Ok(true),
            found if std::time::Instant::now() >= end => {
                let port = stream.peer_addr()?.port();
                return Ok(found == Accepted::NotBegun && !kernel.is_full(port)?);
            }
            _ => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Nobody can say here.
#[cfg(not(target_os = "linux"))]
pub fn within(_: &TcpStream, _: Option<OwnedFd>, _: Duration) -> io::Result<bool> {
    Ok(true)
}
