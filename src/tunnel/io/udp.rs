//! Outer datagrams on their way to the sockets and from them, and what can go wrong.
//!
//! Losing a datagram is normal here and counted; nothing the network answers ends the tunnel (R84).
//! Batches of datagrams go to the kernel whole and come from it whole, where it takes and gives
//! them.

use super::sockets::{Sockets, Which};
use super::source_addrs::SourceAddrs;
use crate::sys::mmsg::{BATCH, Batch, Outgoing, Received};
use crate::sys::poll::{self, Interest};
use crate::sys::sock::Family;
use crate::sys::{code, errno};
use crate::tunnel::queue::{STRIDE, SendQueue};
use crate::wg::{self, Endpoint};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Longest wait for room in the send buffer, and how often within one call.
const SEND_WAIT: Duration = Duration::from_millis(10);
const SEND_WAITS: usize = 2;

pub struct Udp {
    pub sockets: Sockets,
    incoming: Box<Batch>,
    outgoing: Box<Batch>,
    /// What the call under way sends; kept for its room.
    messages: Vec<Message>,
    source_addrs: SourceAddrs,
    refused_batches: u64,
}

/// One message of a call: a whole batch, a part of one, or a single datagram of it.
#[derive(Clone, Copy)]
struct Message {
    batch: usize,
    start: usize,
    end: usize,
    /// 0 for a single datagram.
    segment: u16,
}

/// The next byte to send: of this batch, at this place of the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cursor {
    batch: usize,
    at: usize,
}

impl Udp {
    /// Sockets on `port`, or on one of the system's choice for 0. `plain` ones send and receive
    /// each datagram by itself.
    pub fn bind(port: u16, plain: bool) -> io::Result<Udp> {
        Ok(Udp {
            sockets: Sockets::bind(port, plain)?,
            incoming: Box::default(),
            outgoing: Box::default(),
            messages: Vec::with_capacity(BATCH),
            source_addrs: SourceAddrs::default(),
            refused_batches: 0,
        })
    }

    /// Change to `port`. On failure everything stays as it was.
    pub fn rebind(&mut self, port: u16) -> io::Result<()> {
        self.sockets.rebind(port)?;
        self.source_addrs.clear();
        Ok(())
    }

    /// New sockets on the same port, for a network that changed.
    pub fn renew(&mut self) -> io::Result<()> {
        self.sockets.renew()?;
        self.source_addrs.clear();
        Ok(())
    }

    /// How often the kernel would not take a batch, which then went out one by one.
    pub fn refused_batches(&self) -> u64 {
        self.refused_batches
    }

    /// Receive as many messages as there are, at most a burst; each fills one slot of `space`.
    pub fn receive(&mut self, which: impl Into<Which>, space: &mut [u8]) -> io::Result<usize> {
        let Some(s) = self.sockets.get(which) else { return Ok(0) };
        self.incoming.receive(&s.socket, space, STRIDE)
    }

    /// Facts about the `i`-th message of the last call of [`Udp::receive`].
    pub fn received(&mut self, i: usize) -> Option<Received> {
        let received = self.incoming.received(i)?;
        if let Some((ip, _)) = received.local {
            self.source_addrs.note(ip);
        }
        Some(received)
    }

    /// The network changed: answer from an address again only once something came to it (R90), and
    /// see anew what the path takes.
    pub fn forget_source_addrs(&mut self) {
        self.source_addrs.clear();
        self.sockets.try_batches_again();
    }

    /// Send what waits in `queue`, in order; the datagrams that are lost are added to `lost`.
    pub fn send(&mut self, queue: &SendQueue, lost: &mut Vec<wg::Drop>) {
        let (mut cursor, mut waits) = (Cursor { batch: 0, at: 0 }, 0);
        // A batch that was refused, and is tried one by one to see whose fault it was.
        let mut doubt = None;
        while let Some(batch) = queue.batches().get(cursor.batch) {
            cursor.at = cursor.at.max(batch.start);
            let second = self.sockets.second_port();
            let which = which_of(&batch.to, second);
            let Some(s) = self.sockets.get(which) else {
                cursor = lose(queue, cursor, batch.end, wg::Drop::SendFailed, lost);
                continue;
            };
            gather(&mut self.messages, queue, cursor, (second, s.refused), doubt);
            let Some(first) = self.messages.first().copied() else { return };
            let (sources, messages) = (&self.source_addrs, &self.messages);
            let sent = self.outgoing.send(&s.socket, messages.len(), |i| {
                describe(queue, messages.get(i).unwrap_or(&first), sources)
            });
            match sent {
                Ok(n) if n > 0 => {
                    if let Some(size) = doubt.take_if(|d| *d == first.batch).map(|_| batch.segment)
                    {
                        // Alone it could go, so it was the batch that could not.
                        self.refuse(which, size);
                    }
                    let last = self.messages.get(n - 1).unwrap_or(&first);
                    cursor = Cursor { batch: last.batch, at: last.end }.normal(queue);
                }
                Ok(_) => return lose_rest(queue, cursor, lost),
                Err(e) => {
                    match verdict(errno(&e), sources.of(&batch.to).is_some(), first.segment) {
                        Verdict::Wait if waits < SEND_WAITS => {
                            waits += 1;
                            let fd = s.socket.as_fd();
                            let _ = poll::wait_one(fd, Interest::WRITE, Some(SEND_WAIT));
                        }
                        Verdict::Wait => return lose_rest(queue, cursor, lost),
                        Verdict::OneByOne => doubt = Some(first.batch),
                        Verdict::NoBatches => {
                            self.refuse(which, 0);
                        }
                        Verdict::Unpin => {
                            self.source_addrs.forget(&batch.to);
                            doubt = None;
                        }
                        Verdict::Lose(why) => cursor = lose(queue, cursor, first.end, why, lost),
                    }
                }
            }
        }
    }

    /// The same for datagrams to one place that may not be cut in pieces on the way. Those that are
    /// lost are lost in silence: they are sent to see whether they pass.
    pub fn send_whole(&mut self, queue: &SendQueue) {
        let Some(batch) = queue.batches().first() else { return };
        let which = which_of(&batch.to, self.sockets.second_port());
        // Where it cannot be forbidden they are sent all the same: the kernel may cut them.
        let forbid = |sockets: &Sockets, on| {
            let _ = sockets.get(which).map(|s| s.socket.forbid_fragments(on));
        };
        forbid(&self.sockets, true);
        self.send(queue, &mut Vec::new());
        forbid(&self.sockets, false);
    }

    fn refuse(&mut self, which: Which, size: usize) {
        self.refused_batches = self.refused_batches.saturating_add(1);
        self.sockets.refuse(which, size);
    }
}

impl Cursor {
    /// At the beginning of the next batch instead of at the end of one.
    fn normal(self, queue: &SendQueue) -> Cursor {
        match queue.batches().get(self.batch) {
            Some(batch) if self.at >= batch.end => Cursor { batch: self.batch + 1, at: self.at },
            _ => self,
        }
    }
}

/// Who came to the second port is answered from there.
fn which_of(to: &Endpoint, second: Option<u16>) -> Which {
    let family = if to.remote.is_ipv4() { Family::V4 } else { Family::V6 };
    Which { family, is_second: second.is_some() && to.local.map(|local| local.port) == second }
}

/// What one call can send: batches whole where they are shorter than `refused`, others and the one
/// in `doubt` datagram by datagram. All of it by one socket.
fn gather(
    messages: &mut Vec<Message>,
    queue: &SendQueue,
    from: Cursor,
    (second, refused): (Option<u16>, usize),
    doubt: Option<usize>,
) {
    messages.clear();
    let mut cursor = from;
    let mut which = None;
    while let Some(batch) = queue.batches().get(cursor.batch).filter(|_| messages.len() < BATCH) {
        let its = which_of(&batch.to, second);
        if *which.get_or_insert(its) != its {
            return;
        }
        let (start, left) = (cursor.at.max(batch.start), batch.end - cursor.at.max(batch.start));
        let whole = left > batch.segment && batch.segment < refused && doubt != Some(cursor.batch);
        let end = if whole { batch.end } else { start + left.min(batch.segment) };
        let segment = if whole { u16::try_from(batch.segment).unwrap_or(0) } else { 0 };
        messages.push(Message { batch: cursor.batch, start, end, segment });
        cursor = Cursor { batch: cursor.batch, at: end }.normal(queue);
    }
}

fn describe<'a>(queue: &'a SendQueue, m: &Message, sources: &SourceAddrs) -> Outgoing<'a> {
    let data = queue.bytes(m.start, m.end);
    match queue.batches().get(m.batch) {
        Some(batch) => Outgoing {
            to: batch.to.remote,
            from: sources.of(&batch.to),
            tos: batch.tos,
            segment: m.segment,
            data,
        },
        // Messages are made of batches that are there.
        None => Outgoing { to: ([0, 0, 0, 0], 0).into(), from: None, tos: 0, segment: 0, data },
    }
}

/// Give up the datagrams between the cursor and `end`, which lies in the same batch.
fn lose(
    queue: &SendQueue,
    cursor: Cursor,
    end: usize,
    why: wg::Drop,
    lost: &mut Vec<wg::Drop>,
) -> Cursor {
    if let Some(batch) = queue.batches().get(cursor.batch) {
        let bytes = end.saturating_sub(cursor.at.max(batch.start));
        let n = bytes.div_ceil(batch.segment.max(1));
        lost.extend(std::iter::repeat_n(why, n));
    }
    Cursor { batch: cursor.batch, at: end }.normal(queue)
}

fn lose_rest(queue: &SendQueue, mut cursor: Cursor, lost: &mut Vec<wg::Drop>) {
    while let Some(batch) = queue.batches().get(cursor.batch) {
        cursor = lose(queue, cursor, batch.end, wg::Drop::SendFailed, lost);
    }
}

enum Verdict {
    Wait,
    Unpin,
    /// It may be because of the batch: try its datagrams alone.
    OneByOne,
    /// There are no batches on this socket.
    NoBatches,
    Lose(wg::Drop),
}

fn verdict(error: i32, pinned: bool, segment: u16) -> Verdict {
    match error {
        code::EAGAIN | code::EINTR => Verdict::Wait,
        code::EIO | code::EOPNOTSUPP | code::ENOPROTOOPT if segment != 0 => Verdict::NoBatches,
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

#[cfg(test)]
#[path = "udp/tests.rs"]
mod tests;
