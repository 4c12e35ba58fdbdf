//! The way of a datagram from the wire to the TUN.
//!
//! A burst from each socket and turn, within budgets. What kind of message a datagram is, is found
//! out once, when it is taken down: data goes on here, handshakes wait behind it.

use super::crypto_workers::{CryptoWorkers, Job};
use super::gso::{Coalescer, HEADER_LEN};
use super::io::{Io, Which};
use super::packet_io::PacketIo;
use super::path::{self, Path, Taken};
use super::queue::{Arrived, HandshakeQueue, RecvBuffer, SLOTS};
use super::read_policy::ReadPolicy;
use super::shield::Shield;
use crate::sys::ioctl::Offload;
use crate::wg::{self, Arrival, DataHeader, Device, Inbound, Local, Now};
use std::io;

/// Datagrams from one socket in one turn.
const DATAGRAMS: usize = 64;

// The header for the TUN takes the place of the header and the tag that stand before a packet.
const _: () = assert!(HEADER_LEN <= wg::DATA_MIN_LEN);

/// A socket is in trouble that may stay: do not ask it again at once.
pub(super) struct IoError;

pub(super) struct InboundPath {
    coalescer: Coalescer,
    /// The buffer that is being filled, and those that came back from workers.
    buffer: RecvBuffer,
    spare: Vec<RecvBuffer>,
}

impl InboundPath {
    /// `offload` is what the TUN takes.
    pub fn new(offload: Offload) -> InboundPath {
        let coalescer = Coalescer::new(offload);
        InboundPath { coalescer, buffer: RecvBuffer::new(), spare: Vec::new() }
    }

    /// Receive what there is, within the budget, and write it.
    pub fn run(
        &mut self,
        around: &mut PacketIo,
        handshakes: &mut HandshakeQueue,
        policy: &mut ReadPolicy,
        which: Which,
    ) -> Result<(), IoError> {
        let port = around.io.udp.sockets.port_of(which);
        let mut served = 0;
        loop {
            let received = around.io.udp.receive(which, self.buffer.slots());
            let n = received.as_ref().map_or(0, |n| *n);
            for i in 0..n {
                served += self.record(around, handshakes, i, port);
            }
            // As many as there was room for: more may wait.
            let more = n == SLOTS;
            if more && self.offload_burst(around.workers) {
                continue;
            }
            if self.accept_all(around) {
                policy.wrote();
            }
            if let Err(e) = received {
                // Reading has cleared a pending error; one that stays must not make us spin.
                let known = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                return if known.contains(&e.kind()) { Ok(()) } else { Err(IoError) };
            }
            if !more || served >= DATAGRAMS {
                return Ok(());
            }
        }
    }

    /// Take down what the `i`-th message of those just received, at that port, is made of; how many
    /// datagrams.
    fn record(
        &mut self,
        around: &mut PacketIo,
        handshakes: &mut HandshakeQueue,
        i: usize,
        port: u16,
    ) -> usize {
        let Some(got) = around.io.udp.received(i) else { return 1 };
        if got.truncated {
            around.device.note_drop(wg::Drop::Oversize);
            return 1;
        }
        let local = got.local.map(|(ip, ifindex)| Local { ip, port, ifindex });
        let from = Arrival { remote: got.from, local, ecn: got.tos & 3 };
        let segment = if got.segment == 0 { got.len } else { got.segment };
        let (mut start, mut count) = (0, 0);
        loop {
            let len = segment.min(got.len - start);
            if let Some((at, datagram)) = self.buffer.part(i, start, len) {
                match DataHeader::read(datagram) {
                    Some(header) => {
                        let opening = around.device.opening(&header);
                        let arrived = Arrived { at, len, header, from, opening, opened: None };
                        self.buffer.arrived.push(arrived);
                    }
                    None => set_aside(around, handshakes, datagram, from),
                }
            }
            count += 1;
            start += len;
            if start >= got.len {
                return count;
            }
        }
    }

    /// A worker opens what came, and the next may come; false if there is none for it.
    fn offload_burst(&mut self, workers: &mut CryptoWorkers) -> bool {
        if !workers.is_free() {
            return false;
        }
        let next = self.spare.pop().unwrap_or_else(RecvBuffer::new);
        let full = std::mem::replace(&mut self.buffer, next);
        match workers.submit(Job::Open(full)) {
            Err(Job::Open(full)) => {
                self.spare.push(std::mem::replace(&mut self.buffer, full));
                false
            }
            _ => true,
        }
    }

    /// Take what was given away and what was not, in the order it came in. Whether there was
    /// something for the TUN.
    fn accept_all(&mut self, around: &mut PacketIo) -> bool {
        let InboundPath { coalescer, buffer, spare } = self;
        let PacketIo { now, device, io, workers, shield, path } = around;
        let mut wrote = false;
        buffer.open();
        workers.collect(|job| {
            if let Job::Open(mut buffer) = job {
                wrote |= accept(coalescer, &mut buffer, *now, device, (shield, path), io);
                spare.push(buffer);
            }
        });
        wrote | accept(coalescer, buffer, *now, device, (shield, path), io)
    }
}

/// What is no data: a handshake waits behind it, and the rest is for the device to refuse.
fn set_aside(
    around: &mut PacketIo,
    handshakes: &mut HandshakeQueue,
    datagram: &mut [u8],
    from: Arrival,
) {
    let PacketIo { now, device, io, .. } = around;
    if !device.is_running() || !wg::is_handshake(datagram) {
        device.from_wire(*now, datagram, &from, *io);
    } else if !handshakes.push(datagram, from) {
        device.note_drop(wg::Drop::HandshakeQueueFull);
    }
}

/// Whether there was something for the TUN.
fn accept(
    coalescer: &mut Coalescer,
    buffer: &mut RecvBuffer,
    now: Now,
    device: &mut Device,
    (shield, path): (&mut Option<Shield>, &mut Path),
    io: &mut Io,
) -> bool {
    let (space, arrived) = buffer.parts();
    let mut wrote = false;
    for a in arrived.drain(..) {
        if coalescer.is_full() {
            write(coalescer, space, io);
        }
        let Some(datagram) = space.get_mut(a.at..a.at + a.len) else { continue };
        let inbound = device.data_from_wire(now, a.header, datagram, a.opened, &a.from, io);
        let Inbound::Packet { start, len } = inbound else { continue };
        let Some(packet) = datagram.get_mut(start..start + len) else { continue };
        match path.takes(now.boot, packet) {
            Taken::No => {}
            Taken::Done => continue,
            Taken::Answered => {
                path::send_whole(now, packet, device, io);
                continue;
            }
        }
        if let Some(Err(why)) = shield.as_mut().map(|shield| shield.admit(now.boot, packet)) {
            device.note_drop(why);
            continue;
        }
        if let Some(limit) = path.limit_from(packet) {
            path::clamp(packet, limit);
        }
        if io.put_aside(packet) {
            continue;
        }
        coalescer.push(space, a.at + start, len);
        wrote = true;
    }
    write(coalescer, space, io);
    wrote
}

/// Write what was opened.
fn write(coalescer: &mut Coalescer, space: &mut [u8], io: &mut Io) {
    coalescer.drain(space, |parts| {
        let written = io.tun.write_parts(parts);
        io.note_tun(written);
    });
}
