//! Outer datagrams: one socket a family on one port, and what can go wrong with them.
//!
//! Losing a datagram is normal here and counted; nothing the network answers ends the tunnel (R84).

use super::burst::STRIDE;
use crate::sys::mmsg::{BATCH, Batch, Outgoing, Received};
use crate::sys::poll::{self, Interest};
use crate::sys::sock::{self, Family};
use crate::sys::{code, errno};
use crate::wg::{self, Endpoint};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Attempts to find a port that is free in both families.
const PORT_ATTEMPTS: usize = 16;
/// Longest wait for room in the send buffer, and how often within one batch.
const SEND_WAIT: Duration = Duration::from_millis(10);
const SEND_WAITS: usize = 2;
/// Local addresses remembered as good to answer from.
const PINS: usize = 64;

pub(super) struct Udp {
    v4: Option<sock::Udp>,
    v6: Option<sock::Udp>,
    mark: u32,
    incoming: Box<Batch>,
    outgoing: Box<Batch>,
    pins: Pins,
}

impl Udp {
    /// Bind both families to `port`, or to one of the system's choice for 0. IPv6 is left out where
    /// the system has none, and IPv4 likewise, but not both.
    pub fn bind(port: u16) -> io::Result<Udp> {
        let (v4, v6) = bind_both(port)?;
        Ok(Udp {
            v4,
            v6,
            mark: 0,
            incoming: Box::default(),
            outgoing: Box::default(),
            pins: Pins::default(),
        })
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
        // Both cannot hold the port at once.
        self.v4 = None;
        self.v6 = None;
        let (v4, v6) = bind_both(port).or_else(|_| bind_both(0))?;
        self.replace(v4, v6)
    }

    pub fn port(&self) -> u16 {
        self.v4.as_ref().or(self.v6.as_ref()).map_or(0, sock::Udp::port)
    }

    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// Mark outgoing datagrams; 0 for none.
    pub fn set_mark(&mut self, mark: u32) -> io::Result<()> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            socket.set_mark(mark)?;
        }
        self.mark = mark;
        Ok(())
    }

    pub fn fd(&self, family: Family) -> Option<BorrowedFd<'_>> {
        self.socket(family).map(AsFd::as_fd)
    }

    /// Receive as many datagrams as there are, at most a burst; each fills one slot of `space`.
    pub fn receive(&mut self, family: Family, space: &mut [u8]) -> io::Result<usize> {
        let socket = if family == Family::V4 { &self.v4 } else { &self.v6 };
        let Some(socket) = socket else { return Ok(0) };
        self.incoming.receive(socket, space, STRIDE)
    }

    /// Facts about the `i`-th datagram of the last call of [`Udp::receive`].
    pub fn received(&mut self, i: usize) -> Option<Received> {
        let received = self.incoming.received(i)?;
        if let Some((ip, _)) = received.local {
            self.pins.note(ip);
        }
        Some(received)
    }

    /// The network changed: answer from an address again only once something came to it (R90).
    pub fn forget_pins(&mut self) {
        self.pins.clear();
    }

    /// Send `n` datagrams in order; those that are lost are added to `lost`.
    pub fn send<'a>(
        &mut self,
        n: usize,
        message: impl Fn(usize) -> (Endpoint, u8, &'a [u8]),
        lost: &mut Vec<wg::Drop>,
    ) {
        let (mut done, mut waits) = (0, 0);
        while done < n {
            let v4 = message(done).0.remote.is_ipv4();
            let Some(socket) = (if v4 { &self.v4 } else { &self.v6 }) else {
                lost.push(wg::Drop::SendFailed);
                done += 1;
                continue;
            };
            let run = (done..n).take_while(|i| message(*i).0.remote.is_ipv4() == v4).take(BATCH);
            let (pins, run) = (&self.pins, run.count());
            let sent = self.outgoing.send(socket, run, |i| {
                let (to, tos, data) = message(done + i);
                Outgoing { to: to.remote, from: pins.source(&to), tos, data }
            });
            match sent {
                Ok(sent) if sent > 0 => done += sent,
                Ok(_) => return lost.extend((done..n).map(|_| wg::Drop::SendFailed)),
                Err(e) => match verdict(errno(&e), self.pins.source(&message(done).0).is_some()) {
                    Verdict::Wait if waits < SEND_WAITS => {
                        waits += 1;
                        let _ = poll::wait_one(socket.as_fd(), Interest::WRITE, Some(SEND_WAIT));
                    }
                    Verdict::Wait => return lost.extend((done..n).map(|_| wg::Drop::SendFailed)),
                    Verdict::Unpin => self.pins.forget(&message(done).0),
                    Verdict::Lose(why) => {
                        lost.push(why);
                        done += 1;
                    }
                },
            }
        }
    }

    fn socket(&self, family: Family) -> Option<&sock::Udp> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    fn replace(&mut self, v4: Option<sock::Udp>, v6: Option<sock::Udp>) -> io::Result<()> {
        if self.mark != 0 {
            for socket in [&v4, &v6].into_iter().flatten() {
                socket.set_mark(self.mark)?;
            }
        }
        (self.v4, self.v6) = (v4, v6);
        self.pins.clear();
        Ok(())
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

enum Verdict {
    Wait,
    Unpin,
    Lose(wg::Drop),
}

fn verdict(error: i32, pinned: bool) -> Verdict {
    match error {
        code::EAGAIN | code::EINTR => Verdict::Wait,
        // The address or its route died (R90).
        code::EINVAL
        | code::EADDRNOTAVAIL
        | code::ENETUNREACH
        | code::EHOSTUNREACH
        | code::ENODEV
        | code::ENXIO
            if pinned =>
        {
            Verdict::Unpin
        }
        code::EMSGSIZE => Verdict::Lose(wg::Drop::SendTooBig),
        _ => Verdict::Lose(wg::Drop::SendFailed),
    }
}

/// Local addresses that datagrams came to since the network last changed. A source address that a
/// peer is remembered with is used only while it is among them; the protocol core need not know.
#[derive(Default)]
struct Pins {
    good: Vec<IpAddr>,
    /// Where the last one was found, which is where the next one will be.
    last: usize,
}

impl Pins {
    fn note(&mut self, ip: IpAddr) {
        if self.good.get(self.last) == Some(&ip) {
            return;
        }
        match self.good.iter().position(|g| *g == ip) {
            Some(i) => self.last = i,
            None if self.good.len() < PINS => {
                self.last = self.good.len();
                self.good.push(ip);
            }
            None => {
                self.last = (self.last + 1) % PINS;
                if let Some(old) = self.good.get_mut(self.last) {
                    *old = ip;
                }
            }
        }
    }

    /// The address to send from, and the interface to force. Only a link-local address needs its
    /// interface; for others the kernel's routing stays in charge, as in the kernel's WireGuard: a
    /// forced interface without a route would make it look for the peer on that very link.
    fn source(&self, to: &Endpoint) -> Option<(IpAddr, u32)> {
        let local = to.local?;
        if local.ip.is_ipv4() != to.remote.is_ipv4() || !self.good.contains(&local.ip) {
            return None;
        }
        let link_local = matches!(local.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        Some((local.ip, if link_local { local.ifindex } else { 0 }))
    }

    fn forget(&mut self, to: &Endpoint) {
        self.good.retain(|g| to.local.is_none_or(|l| l.ip != *g));
        self.last = 0;
    }

    fn clear(&mut self) {
        self.good.clear();
        self.last = 0;
    }
}

#[cfg(test)]
#[path = "udp/tests.rs"]
mod tests;
