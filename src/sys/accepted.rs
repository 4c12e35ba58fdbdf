//! Whether a program has accepted a connection within this machine: the kernel makes it for one
//! that listens, and whoever made it sees no difference until the program says something.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::sock_diag::{Accepted, SockDiag};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// Waits for it so long. `asked` is a socket by which the namespace of the other end is asked,
/// where that is not this thread's. A program that wants to see a first byte before it is offered a
/// connection is taken for one that would accept it, unless its queue is full.
pub fn within(stream: &TcpStream, asked: Option<OwnedFd>, limit: Duration) -> io::Result<bool> {
    let kernel = match asked.map_or_else(SockDiag::open, |fd| Ok(SockDiag::from(fd))) {
        // A system on which nobody can say.
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(true),
        kernel => kernel?,
    };
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
