//! Outer datagrams: one socket a family on one port, and what can go wrong with them.
//!
//! Losing a datagram is normal here and counted; nothing the network answers ends the tunnel (R84).
//! Runs of datagrams go to the kernel whole and come from it whole, where it takes and gives them.

use super::burst::STRIDE;
use super::outbox::Outbox;
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
    v4: Option<Socket>,
    v6: Option<Socket>,
    mark: u32,
    /// Neither send nor receive runs.
    plain: bool,
    incoming: Box<Batch>,
    outgoing: Box<Batch>,
    /// What the call under way sends; kept for its room.
    messages: Vec<Message>,
    pins: Pins,
    refused_runs: u64,
    /// By sockets that are gone.
    overflows: u64,
}

struct Socket {
    socket: sock::Udp,
    /// Runs of datagrams of this length or more are refused: the path is too small for them whole
    /// and the kernel fragments single datagrams only, or runs are not to be had at all.
    refused: usize,
}

/// One message of a batch: a run, a part of one, or a single datagram of it.
#[derive(Clone, Copy)]
struct Message {
    run: usize,
    start: usize,
    end: usize,
    /// 0 for a single datagram.
    segment: u16,
}

/// The next byte to send: of this run, at this place of the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cursor {
    run: usize,
    at: usize,
}

impl Udp {
    /// Bind both families to `port`, or to one of the system's choice for 0. IPv6 is left out where
    /// the system has none, and IPv4 likewise, but not both. `plain` sockets send and receive each
    /// datagram by itself.
    pub fn bind(port: u16, plain: bool) -> io::Result<Udp> {
        let (v4, v6) = bind_both(port)?;
        let mut this = Udp {
            v4: None,
            v6: None,
            mark: 0,
            plain,
            incoming: Box::default(),
            outgoing: Box::default(),
            messages: Vec::with_capacity(BATCH),
            pins: Pins::default(),
            refused_runs: 0,
            overflows: 0,
        };
        this.replace(v4, v6)?;
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
        self.socket(family).map(|s| s.socket.as_fd())
    }

    /// How often the kernel would not take a run, which then went out one by one.
    pub fn refused_runs(&self) -> u64 {
        self.refused_runs
    }

    /// How many datagrams, or runs of them, the kernel had no room for.
    pub fn overflows(&self) -> u64 {
        let sockets = [&self.v4, &self.v6].into_iter().flatten();
        sockets.fold(self.overflows, |sum, s| sum.saturating_add(s.socket.overflows()))
    }

    /// Receive as many messages as there are, at most a burst; each fills one slot of `space`.
    pub fn receive(&mut self, family: Family, space: &mut [u8]) -> io::Result<usize> {
        let socket = if family == Family::V4 { &self.v4 } else { &self.v6 };
        let Some(s) = socket else { return Ok(0) };
        self.incoming.receive(&s.socket, space, STRIDE)
    }

    /// Facts about the `i`-th message of the last call of [`Udp::receive`].
    pub fn received(&mut self, i: usize) -> Option<Received> {
        let received = self.incoming.received(i)?;
        if let Some((ip, _)) = received.local {
            self.pins.note(ip);
        }
        Some(received)
    }

    /// The network changed: answer from an address again only once something came to it (R90), and
    /// see anew what the path takes.
    pub fn forget_pins(&mut self) {
        self.pins.clear();
        self.try_runs_again();
    }

    /// A path may take runs that it refused before.
    pub fn try_runs_again(&mut self) {
        let refused = self.at_first_refused();
        for s in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            s.refused = refused;
        }
    }

    fn at_first_refused(&self) -> usize {
        if self.plain { 0 } else { usize::MAX }
    }

    /// Send what waits in `outbox`, in order; the datagrams that are lost are added to `lost`.
    pub fn send(&mut self, outbox: &Outbox, lost: &mut Vec<wg::Drop>) {
        let (mut cursor, mut waits) = (Cursor { run: 0, at: 0 }, 0);
        // A run that was refused, and is tried one by one to see whose fault it was.
        let mut doubt = None;
        while let Some(run) = outbox.runs().get(cursor.run) {
            cursor.at = cursor.at.max(run.start);
            let family = family_of(&run.to);
            let socket = if family == Family::V4 { &self.v4 } else { &self.v6 };
            let Some(s) = socket else {
                cursor = lose(outbox, cursor, run.end, wg::Drop::SendFailed, lost);
                continue;
            };
            gather(&mut self.messages, outbox, cursor, s.refused, doubt);
            let Some(first) = self.messages.first().copied() else { return };
            let (pins, messages) = (&self.pins, &self.messages);
            let sent = self.outgoing.send(&s.socket, messages.len(), |i| {
                describe(outbox, messages.get(i).unwrap_or(&first), pins)
            });
            match sent {
                Ok(n) if n > 0 => {
                    if let Some(size) = doubt.take_if(|d| *d == first.run).map(|_| run.segment) {
                        // Alone it could go, so it was the run that could not.
                        self.refuse(family, size);
                    }
                    let last = self.messages.get(n - 1).unwrap_or(&first);
                    cursor = Cursor { run: last.run, at: last.end }.normal(outbox);
                }
                Ok(_) => return lose_rest(outbox, cursor, lost),
                Err(e) => match verdict(errno(&e), pins.source(&run.to).is_some(), first.segment) {
                    Verdict::Wait if waits < SEND_WAITS => {
                        waits += 1;
                        let fd = s.socket.as_fd();
                        let _ = poll::wait_one(fd, Interest::WRITE, Some(SEND_WAIT));
                    }
                    Verdict::Wait => return lose_rest(outbox, cursor, lost),
                    Verdict::OneByOne => doubt = Some(first.run),
                    Verdict::NoRuns => {
                        self.refuse(family, 0);
                    }
                    Verdict::Unpin => {
                        self.pins.forget(&run.to);
                        doubt = None;
                    }
                    Verdict::Lose(why) => cursor = lose(outbox, cursor, first.end, why, lost),
                },
            }
        }
    }

    fn refuse(&mut self, family: Family, size: usize) {
        self.refused_runs = self.refused_runs.saturating_add(1);
        let socket = if family == Family::V4 { &mut self.v4 } else { &mut self.v6 };
        if let Some(s) = socket {
            s.refused = s.refused.min(size);
        }
    }

    fn socket(&self, family: Family) -> Option<&Socket> {
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
        let refused = self.at_first_refused();
        let dress = |socket: sock::Udp| {
            // Where the kernel cannot, datagrams come one by one.
            let _ = !self.plain && socket.merge_received();
            Socket { socket, refused }
        };
        let overflows = self.overflows();
        (self.v4, self.v6) = (v4.map(dress), v6.map(dress));
        self.overflows = overflows;
        self.pins.clear();
        Ok(())
    }
}

impl Cursor {
    /// At the beginning of the next run instead of at the end of one.
    fn normal(self, outbox: &Outbox) -> Cursor {
        match outbox.runs().get(self.run) {
            Some(run) if self.at >= run.end => Cursor { run: self.run + 1, at: self.at },
            _ => self,
        }
    }
}

fn family_of(to: &Endpoint) -> Family {
    if to.remote.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// What one call can send: runs whole where they are shorter than `refused`, others and the one in
/// `doubt` datagram by datagram. Only one family has the socket.
fn gather(
    messages: &mut Vec<Message>,
    outbox: &Outbox,
    from: Cursor,
    refused: usize,
    doubt: Option<usize>,
) {
    messages.clear();
    let mut cursor = from;
    let mut family = None;
    while let Some(run) = outbox.runs().get(cursor.run).filter(|_| messages.len() < BATCH) {
        if *family.get_or_insert(family_of(&run.to)) != family_of(&run.to) {
            return;
        }
        let (start, left) = (cursor.at.max(run.start), run.end - cursor.at.max(run.start));
        let whole = left > run.segment && run.segment < refused && doubt != Some(cursor.run);
        let end = if whole { run.end } else { start + left.min(run.segment) };
        let segment = if whole { u16::try_from(run.segment).unwrap_or(0) } else { 0 };
        messages.push(Message { run: cursor.run, start, end, segment });
        cursor = Cursor { run: cursor.run, at: end }.normal(outbox);
    }
}

fn describe<'a>(outbox: &'a Outbox, m: &Message, pins: &Pins) -> Outgoing<'a> {
    let data = outbox.bytes(m.start, m.end);
    match outbox.runs().get(m.run) {
        Some(run) => Outgoing {
            to: run.to.remote,
            from: pins.source(&run.to),
            tos: run.tos,
            segment: m.segment,
            data,
        },
        // Messages are made of runs that are there.
        None => Outgoing { to: ([0, 0, 0, 0], 0).into(), from: None, tos: 0, segment: 0, data },
    }
}

/// Give up the datagrams between the cursor and `end`, which lies in the same run.
fn lose(
    outbox: &Outbox,
    cursor: Cursor,
    end: usize,
    why: wg::Drop,
    lost: &mut Vec<wg::Drop>,
) -> Cursor {
    if let Some(run) = outbox.runs().get(cursor.run) {
        let bytes = end.saturating_sub(cursor.at.max(run.start));
        let n = bytes.div_ceil(run.segment.max(1));
        lost.extend(std::iter::repeat_n(why, n));
    }
    Cursor { run: cursor.run, at: end }.normal(outbox)
}

fn lose_rest(outbox: &Outbox, mut cursor: Cursor, lost: &mut Vec<wg::Drop>) {
    while let Some(run) = outbox.runs().get(cursor.run) {
        cursor = lose(outbox, cursor, run.end, wg::Drop::SendFailed, lost);
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
    /// It may be because of the run: try its datagrams alone.
    OneByOne,
    /// There are no runs on this socket.
    NoRuns,
    Lose(wg::Drop),
}

fn verdict(error: i32, pinned: bool, segment: u16) -> Verdict {
    match error {
        code::EAGAIN | code::EINTR => Verdict::Wait,
        code::EIO | code::EOPNOTSUPP | code::ENOPROTOOPT if segment != 0 => Verdict::NoRuns,
        code::EINVAL | code::EMSGSIZE if segment != 0 => Verdict::OneByOne,
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
