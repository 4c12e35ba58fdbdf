//! Listening here for one port of the server's: 127.0.0.1 and ::1, both or neither, never wider.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::listener;

/// Why a number cannot be had.
#[derive(Debug)]
pub enum Cannot {
    /// Somebody has it, at one of the two or at all addresses.
    Taken,
    /// This user may not.
    Privileged,
    Failed(io::Error),
}

pub struct Door {
    pub number: u16,
    v4: TcpListener,
    /// A machine may have no IPv6, or none yet.
    v6: Option<TcpListener>,
    is_open: bool,
}

impl Door {
    pub fn open(number: u16) -> Result<Door, Cannot> {
        let v4 = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, number)))?;
        let v6 = match listen(SocketAddr::from((Ipv6Addr::LOCALHOST, number))) {
            Ok(v6) => Some(v6),
            Err(Cannot::Failed(error)) if has_no_v6(&error) => None,
            Err(cannot) => return Err(cannot),
        };
        Ok(Door { number, v4, v6, is_open: true })
    }

    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// There was no IPv6 when it was opened.
    pub fn is_half(&self) -> bool {
        self.v6.is_none()
    }

    /// Has the other half, too, where there is IPv6 by now and nobody was faster.
    pub fn complete(&mut self) {
        let Ok(v6) = listen(SocketAddr::from((Ipv6Addr::LOCALHOST, self.number))) else { return };
        if !self.is_open {
            let _ = listener::refuse(&v6);
        }
        self.v6 = Some(v6);
    }

    /// Connections are refused from now on, and the number is kept.
    pub fn shut(&mut self) {
        if self.is_open {
            // Where that cannot be, whoever comes is reset at once.
            let _ = self.all().try_for_each(listener::refuse);
            self.is_open = false;
        }
    }

    /// An error: the number is lost.
    pub fn open_again(&mut self) -> io::Result<()> {
        if !self.is_open {
            self.all().try_for_each(listener::accept_again)?;
            self.is_open = true;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &TcpListener> {
        [&self.v4].into_iter().chain(&self.v6)
    }

    /// What is to be waited for. On Linux a door that is shut has nothing that could come.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let waits = self.is_open || !cfg!(target_os = "linux");
        self.all().filter(move |_| waits).map(AsFd::as_fd)
    }

    /// Whoever is there, `most` at each address.
    pub fn accept(&self, most: usize) -> io::Result<Vec<TcpStream>> {
        let mut came = Vec::new();
        for listener in self.all() {
            for _ in 0..most {
                match listener.accept() {
                    Ok((stream, _)) => came.push(stream),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // It has gone again.
                    Err(error) if is_of_one(&error) => {}
                    Err(error) if came.is_empty() => return Err(error),
                    Err(_) => return Ok(came),
                }
            }
        }
        Ok(came)
    }
}

fn is_of_one(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

fn listen(at: SocketAddr) -> Result<TcpListener, Cannot> {
    listener::listen(at).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Cannot::Taken,
        ErrorKind::PermissionDenied => Cannot::Privileged,
        _ => Cannot::Failed(error),
    })
}

fn has_no_v6(error: &io::Error) -> bool {
    let family = error.raw_os_error() == Some(crate::sys::listener::NO_SUCH_FAMILY);
    family || error.kind() == ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::listener;

    #[test]
    fn both_families_or_neither() {
        for (n, other) in ["127.0.0.1", "[::1]", "0.0.0.0", "[::]"].into_iter().enumerate() {
            // The kernel gives those below its own to nobody else.
            let first = 21_000 + (std::process::id() % 10_000) as u16 + n as u16;
            let number = (first..).find(|number| listener::is_free(*number)).unwrap();
            let Ok(taken) = TcpListener::bind(format!("{other}:{number}")) else { continue };
            assert!(matches!(Door::open(number), Err(Cannot::Taken)), "{other}");
            drop(taken);
            let mut door = Door::open(number).unwrap();
            for at in ["127.0.0.1", "[::1]"] {
                assert!(TcpListener::bind(format!("{at}:{number}")).is_err(), "{at}");
                TcpStream::connect(format!("{at}:{number}")).unwrap();
            }
            assert_eq!(door.accept(4).unwrap().len(), 2);
            door.shut();
            assert!(
                TcpStream::connect(("127.0.0.1", number)).is_err() || !cfg!(target_os = "linux")
            );
            door.open_again().unwrap();
            TcpStream::connect(("127.0.0.1", number)).unwrap();
        }
    }
}
