//! The sockets of outer datagrams: one a family, both on one port, and what is set for both; and
//! the same on a second port, for networks that let out no other.

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

/// One of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    pub family: Family,
    /// It is on the second port.
    pub is_second: bool,
}

impl Which {
    pub const ALL: [Which; 4] = [
        Which { family: Family::V4, is_second: false },
        Which { family: Family::V6, is_second: false },
        Which { family: Family::V4, is_second: true },
        Which { family: Family::V6, is_second: true },
    ];
}

impl From<Family> for Which {
    fn from(family: Family) -> Which {
        Which { family, is_second: false }
    }
}

#[derive(Default)]
struct Pair {
    v4: Option<Socket>,
    v6: Option<Socket>,
    /// Theirs; 0 without any.
    port: u16,
}

impl Pair {
    fn each(&self) -> impl Iterator<Item = &Socket> {
        self.v4.iter().chain(&self.v6)
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Socket> {
        self.v4.iter_mut().chain(&mut self.v6)
    }
}

pub struct Sockets {
    first: Pair,
    second: Pair,
    /// The port of `second`, also while it is not to be had.
    second_port: Option<u16>,
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
        let (first, second) = Default::default();
        let mut this = Sockets { first, second, second_port: None, mark: 0, plain, overflows: 0 };
        this.rebind(port)?;
        Ok(this)
    }

    /// Change to `port`. On failure everything stays as it was.
    pub fn rebind(&mut self, port: u16) -> io::Result<()> {
        let pair = self.dressed(bind_both(port)?)?;
        let before = std::mem::replace(&mut self.first, pair);
        self.overflows += before.each().map(|s| s.socket.overflows()).sum::<u64>();
        Ok(())
    }

    /// Listens at another port as well. On failure it does not, and goes on without, until the
    /// sockets are made anew.
    pub fn listen_also(&mut self, port: u16) -> io::Result<()> {
        self.second_port = Some(port);
        self.second = Pair::default();
        self.second = self.dressed(bind_both(port)?)?;
        Ok(())
    }

    /// New sockets on the same port, for a network that changed; another port only where that one
    /// was taken in between.
    pub fn renew(&mut self) -> io::Result<()> {
        let port = self.port();
        self.overflows = self.overflows();
        // Two sockets cannot hold a port at once.
        (self.first, self.second) = Default::default();
        let pair = bind_both(port).or_else(|_| bind_both(0))?;
        self.first = self.dressed(pair)?;
        if let Some(port) = self.second_port {
            let _ = self.listen_also(port);
        }
        Ok(())
    }

    fn dressed(&self, (v4, v6): (Option<sock::Udp>, Option<sock::Udp>)) -> io::Result<Pair> {
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
        let port = v4.as_ref().or(v6.as_ref()).map_or(0, sock::Udp::port);
        Ok(Pair { v4: v4.map(dress), v6: v6.map(dress), port })
    }

    pub fn get(&self, which: impl Into<Which>) -> Option<&Socket> {
        let which = which.into();
        let pair = self.pair(which);
        match which.family {
            Family::V4 => pair.v4.as_ref(),
            Family::V6 => pair.v6.as_ref(),
        }
    }

    fn pair(&self, which: Which) -> &Pair {
        if which.is_second { &self.second } else { &self.first }
    }

    /// The port of that one; 0 where there is none.
    pub fn port_of(&self, which: Which) -> u16 {
        self.pair(which).port
    }

    fn each(&self) -> impl Iterator<Item = &Socket> {
        self.first.each().chain(self.second.each())
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Socket> {
        self.first.each_mut().chain(self.second.each_mut())
    }

    pub fn port(&self) -> u16 {
        self.first.port
    }

    /// The second port, where it is listened at.
    pub fn second_port(&self) -> Option<u16> {
        Some(self.second.port).filter(|port| *port != 0)
    }

    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// Mark outgoing datagrams; 0 for none.
    pub fn set_mark(&mut self, mark: u32) -> io::Result<()> {
        for s in self.each() {
            s.socket.set_mark(mark)?;
        }
        self.mark = mark;
        Ok(())
    }

    pub fn fd(&self, which: impl Into<Which>) -> Option<BorrowedFd<'_>> {
        self.get(which).map(|s| s.socket.as_fd())
    }

    /// How many datagrams, or batches of them, the kernel had no room for.
    pub fn overflows(&self) -> u64 {
        self.each().fold(self.overflows, |sum, s| sum.saturating_add(s.socket.overflows()))
    }

    /// From now on no batches of datagrams of `size` bytes or more.
    pub fn refuse(&mut self, which: Which, size: usize) {
        let pair = if which.is_second { &mut self.second } else { &mut self.first };
        let socket = if which.family == Family::V4 { &mut pair.v4 } else { &mut pair.v6 };
        if let Some(s) = socket {
            s.refused = s.refused.min(size);
        }
    }

    /// A path may take batches that it refused before.
    pub fn try_batches_again(&mut self) {
        let refused = self.at_first_refused();
        self.each_mut().for_each(|s| s.refused = refused);
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
