//! The sockets of outer datagrams: one a family, both on one port, and what is set for both.

use crate::sys::sock::{self, Family};
use crate::sys::{code, errno};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Attempts to find a port that is free in both families.
const PORT_ATTEMPTS: usize = 16;

pub struct Socket {
    pub socket: sock::Udp,
    /// Batches of datagrams of this length or more are refused: the path is too small for them
    /// whole and the kernel fragments single datagrams only, or batches are not to be had at all.
    pub refused: usize,
}

pub struct Sockets {
    v4: Option<Socket>,
    v6: Option<Socket>,
    mark: u32,
    /// Neither send nor receive batches.
    plain: bool,
    /// By sockets that are gone.
    overflows: u64,
}

impl Sockets {
    /// Bind both families to `port`, or to one of the system's choice for 0. IPv6 is left out where
    /// the system has none, and IPv4 likewise, but not both. `plain` sockets send and receive each
    /// datagram by itself.
    pub fn bind(port: u16, plain: bool) -> io::Result<Sockets> {
        let mut this = Sockets { v4: None, v6: None, mark: 0, plain, overflows: 0 };
        this.rebind(port)?;
        Ok(this)
    }

    /// Change to `port`. On failure everything stays as it was.
    pub fn rebind(&mut self, port: u16) -> io::Result<()> {
        let (v4, v6) = bind_both(port)?;
        self.replace(v4, v6)
    }

    /// New sockets on the same port, for a network that changed; another port only where that one
    /// was taken in between.
    pub fn renew(&mut self) -> io::Result<()> {
        let port = self.port();
        self.overflows = self.overflows();
        // Both cannot hold the port at once.
        self.v4 = None;
        self.v6 = None;
        let (v4, v6) = bind_both(port).or_else(|_| bind_both(0))?;
        self.replace(v4, v6)
    }

    fn replace(&mut self, v4: Option<sock::Udp>, v6: Option<sock::Udp>) -> io::Result<()> {
        if self.mark != 0 {
            for socket in [&v4, &v6].into_iter().flatten() {
                socket.set_mark(self.mark)?;
            }
        }
        let refused = self.at_first_refused();
        let dress = |socket: sock::Udp| {
            // Where the kernel cannot, datagrams come one by one.
            let _ = !self.plain && socket.merge_received();
            Socket { socket, refused }
        };
        let overflows = self.overflows();
        (self.v4, self.v6) = (v4.map(dress), v6.map(dress));
        self.overflows = overflows;
        Ok(())
    }

    pub fn get(&self, family: Family) -> Option<&Socket> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    pub fn port(&self) -> u16 {
        self.v4.as_ref().or(self.v6.as_ref()).map_or(0, |s| s.socket.port())
    }

    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// Mark outgoing datagrams; 0 for none.
    pub fn set_mark(&mut self, mark: u32) -> io::Result<()> {
        for s in [&self.v4, &self.v6].into_iter().flatten() {
            s.socket.set_mark(mark)?;
        }
        self.mark = mark;
        Ok(())
    }

    pub fn fd(&self, family: Family) -> Option<BorrowedFd<'_>> {
        self.get(family).map(|s| s.socket.as_fd())
    }

    /// How many datagrams, or batches of them, the kernel had no room for.
    pub fn overflows(&self) -> u64 {
        let sockets = [&self.v4, &self.v6].into_iter().flatten();
        sockets.fold(self.overflows, |sum, s| sum.saturating_add(s.socket.overflows()))
    }

    /// From now on no batches of datagrams of `size` bytes or more.
    pub fn refuse(&mut self, family: Family, size: usize) {
        let socket = if family == Family::V4 { &mut self.v4 } else { &mut self.v6 };
        if let Some(s) = socket {
            s.refused = s.refused.min(size);
        }
    }

    /// A path may take batches that it refused before.
    pub fn try_batches_again(&mut self) {
        let refused = self.at_first_refused();
        for s in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            s.refused = refused;
        }
    }

    fn at_first_refused(&self) -> usize {
        if self.plain { 0 } else { usize::MAX }
    }
}

/// Both sockets on one port.
fn bind_both(port: u16) -> io::Result<(Option<sock::Udp>, Option<sock::Udp>)> {
    for _ in 0..PORT_ATTEMPTS {
        let v4 = match sock::Udp::bind(Family::V4, port) {
            Ok(socket) => Some(socket),
            Err(e) if is_taken(&e) => return Err(e),
            Err(e) => {
                // No IPv4 here at all is no reason to refuse, if IPv6 works.
                let v6 = sock::Udp::bind(Family::V6, port).map_err(|_| e)?;
                return Ok((None, Some(v6)));
            }
        };
        let chosen = v4.as_ref().map_or(port, sock::Udp::port);
        match sock::Udp::bind(Family::V6, chosen) {
            Ok(v6) => return Ok((v4, Some(v6))),
            Err(e) if is_taken(&e) && port == 0 => {}
            Err(e) if is_taken(&e) => return Err(e),
            Err(_) => return Ok((v4, None)),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Reasons that concern the port and not the family.
fn is_taken(e: &io::Error) -> bool {
    matches!(errno(e), code::EADDRINUSE | code::EACCES)
}
