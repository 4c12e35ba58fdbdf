//! The way of data: from the TUN to the wire, and from the wire to the TUN.
//!
//! A burst each way and turn, within budgets. What the device says about a packet is done here;
//! what it decides, it decides alone.

use super::burst::{Burst, SLOTS};
use super::habits::Habits;
use super::lanes::{Arrived, Incoming, Lanes, OUT_BYTES, Outgoing, Parcel};
use super::merge::Merge;
use super::outside::Outside;
use super::ring::Ring;
use super::split::Split;
use super::tun::{READ_LEN, Trouble};
use crate::sys::ioctl::Offload;
use crate::sys::sock::Family;
use crate::wg::{self, Arrival, Class, Device, Inbound, Local, Now, Outbound};
use std::io;

/// Reads of the TUN, and datagrams from each socket, in one turn. Both may stand for many packets,
/// so bytes have a bound, too.
const READS: usize = 64;
const DATAGRAMS: usize = 64;

// The header for the TUN takes the place of the header and the tag that stand before a packet.
const _: () = assert!(super::offload::HEADER_LEN <= wg::DATA_MIN_LEN);

/// What data meets on its way.
pub(super) struct Around<'a> {
    pub now: Now,
    pub device: &'a mut Device,
    pub outside: &'a mut Outside,
    pub ring: &'a mut Ring,
}

/// A socket is in trouble that may stay: do not ask it again at once.
pub(super) struct Pause;

pub(super) struct Data {
    /// What one read of the TUN gave.
    packet: Box<[u8]>,
    merge: Merge,
    lanes: Lanes,
    /// The buffers that are being filled, and those that came back from lanes.
    outgoing: Outgoing,
    incoming: Incoming,
    spare_out: Vec<Outgoing>,
    spare_in: Vec<Incoming>,
    pub habits: Habits,
}

#[allow(clippy::wrong_self_convention)] // `from_tun` and `from_wire` name a direction here
impl Data {
    /// `offload` is what the TUN takes.
    pub fn new(offload: Offload, lanes: Lanes) -> Data {
        Data {
            packet: vec![0; READ_LEN].into(),
            merge: Merge::new(offload),
            lanes,
            outgoing: Outgoing::new(),
            incoming: Incoming::new(),
            spare_out: Vec::new(),
            spare_in: Vec::new(),
            habits: Habits::default(),
        }
    }

    pub fn from_tun(&mut self, around: &mut Around) {
        let (mut bytes, mut reads) = (0, 0);
        for _ in 0..READS {
            match self.read(around) {
                Ok(n) => (bytes, reads) = (bytes + n, reads + 1),
                Err(Trouble::Wait) => break,
                Err(Trouble::Refused) => around.device.note_drop(wg::Drop::TunMalformed),
                Err(trouble) => {
                    around.outside.trouble = Some(trouble);
                    break;
                }
            }
            let full = bytes >= OUT_BYTES * (self.lanes.most() + 1);
            if full || self.habits.is_all(bytes) {
                break;
            }
        }
        self.habits.read(reads);
        self.send(around.outside);
    }

    /// One read of the TUN, and all that it stands for; how many bytes.
    fn read(&mut self, around: &mut Around) -> Result<usize, Trouble> {
        // Back at the end; until then the rest of `self` is needed.
        let mut packet = std::mem::take(&mut self.packet);
        let read = around.outside.tun.read(&mut packet).map(|split| self.cut(around, split));
        self.packet = packet;
        read
    }

    fn cut(&mut self, around: &mut Around, mut split: Split<'_>) -> usize {
        let mut bytes = 0;
        while let Some(len) = split.next_len() {
            if self.outgoing.outbox.is_full(len) {
                self.pass_on(around.outside);
            }
            let slot = self.outgoing.outbox.slot();
            if slot.get_mut(wg::HEADROOM..).and_then(|room| split.next(room)).is_none() {
                around.device.note_drop(wg::Drop::TunMalformed);
                break;
            }
            bytes += len;
            let (device, sink) = (&mut *around.device, &mut *around.outside);
            let (sealed, later) = match self.lanes.most() {
                0 => (device.from_tun(around.now, slot, len, sink), None),
                _ => device.from_tun_later(around.now, slot, len, sink),
            };
            if let Outbound::Send { to, tos, len } = sealed {
                self.outgoing.push(&to, tos, len, later);
            }
        }
        bytes
    }

    /// The buffer is full: a lane seals it while the next one is filled, or it is sent.
    fn pass_on(&mut self, outside: &mut Outside) {
        if self.lanes.is_free() {
            let next = self.spare_out.pop().unwrap_or_else(Outgoing::new);
            let full = std::mem::replace(&mut self.outgoing, next);
            match self.lanes.fork(Parcel::Out(full)) {
                Ok(()) => return,
                Err(Parcel::Out(full)) => {
                    self.spare_out.push(std::mem::replace(&mut self.outgoing, full));
                }
                Err(Parcel::In(_)) => {}
            }
        }
        self.send(outside);
    }

    /// Send what was given away and what was not, in the order it came in.
    fn send(&mut self, outside: &mut Outside) {
        self.outgoing.seal();
        self.lanes.join(|parcel| {
            if let Parcel::Out(mut out) = parcel {
                outside.send(&mut out.outbox);
                self.spare_out.push(out);
            }
        });
        outside.send(&mut self.outgoing.outbox);
    }

    pub fn from_wire(&mut self, around: &mut Around, family: Family) -> Result<(), Pause> {
        let mut served = 0;
        loop {
            let received = around.outside.udp.receive(family, self.incoming.burst.slots());
            let n = received.as_ref().map_or(0, |n| *n);
            for i in 0..n {
                served += self.note(around, i);
            }
            // As many as there was room for: more may wait.
            let more = n == SLOTS;
            if more && self.give_away() {
                continue;
            }
            self.accept_all(around);
            if let Err(e) = received {
                // Reading has cleared a pending error; one that stays must not make us spin.
                let known = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                return if known.contains(&e.kind()) { Ok(()) } else { Err(Pause) };
            }
            if !more || served >= DATAGRAMS {
                return Ok(());
            }
        }
    }

    /// Take down what the `i`-th message of those just received is made of; how many datagrams.
    fn note(&mut self, around: &mut Around, i: usize) -> usize {
        let Some(got) = around.outside.udp.received(i) else { return 1 };
        if got.truncated {
            around.device.note_drop(wg::Drop::Oversize);
            return 1;
        }
        let local = got.local.map(|(ip, ifindex)| Local { ip, ifindex });
        let from = Arrival { remote: got.from, local, ecn: got.tos & 3 };
        let segment = if got.segment == 0 { got.len } else { got.segment };
        let (mut start, mut count) = (0, 0);
        loop {
            let len = segment.min(got.len - start);
            if let Some((at, datagram)) = self.incoming.burst.part(i, start, len) {
                let opening = match self.lanes.most() {
                    0 => None,
                    _ => around.device.opening(datagram),
                };
                self.incoming.arrived.push(Arrived { at, len, from, opening, opened: None });
            }
            count += 1;
            start += len;
            if start >= got.len {
                return count;
            }
        }
    }

    /// A lane opens what came, and the next may come; false if there is no lane for it.
    fn give_away(&mut self) -> bool {
        if !self.lanes.is_free() {
            return false;
        }
        let next = self.spare_in.pop().unwrap_or_else(Incoming::new);
        let full = std::mem::replace(&mut self.incoming, next);
        match self.lanes.fork(Parcel::In(full)) {
            Err(Parcel::In(full)) => {
                self.spare_in.push(std::mem::replace(&mut self.incoming, full));
                false
            }
            _ => true,
        }
    }

    /// Take what was given away and what was not, in the order it came in.
    fn accept_all(&mut self, around: &mut Around) {
        let mut wrote = false;
        self.incoming.open();
        self.lanes.join(|parcel| {
            if let Parcel::In(mut incoming) = parcel {
                wrote |= accept(&mut self.merge, &mut incoming, around);
                self.spare_in.push(incoming);
            }
        });
        wrote |= accept(&mut self.merge, &mut self.incoming, around);
        if wrote {
            self.habits.wrote();
        }
    }
}

/// Whether there was something for the TUN.
fn accept(merge: &mut Merge, incoming: &mut Incoming, around: &mut Around) -> bool {
    let Incoming { burst, arrived } = incoming;
    let Around { now, device, outside, ring } = around;
    let mut wrote = false;
    for a in arrived.drain(..) {
        if merge.is_full() {
            to_tun(merge, burst, outside);
        }
        let Some(datagram) = burst.bytes(a.at, a.len) else { continue };
        let inbound = match (wg::classify(datagram), a.opened) {
            (Class::Handshake, _) if device.is_running() => {
                if !ring.push(datagram, a.from) {
                    device.note_drop(wg::Drop::RingFull);
                }
                continue;
            }
            (_, Some(opened)) => device.from_wire_opened(*now, datagram, &a.from, opened, *outside),
            (_, None) => device.from_wire(*now, datagram, &a.from, *outside),
        };
        if let Inbound::Packet { start, len } = inbound {
            merge.push(burst.space(), a.at + start, len);
            wrote = true;
        }
    }
    to_tun(merge, burst, outside);
    wrote
}

/// Write what was opened.
fn to_tun(merge: &mut Merge, burst: &mut Burst, outside: &mut Outside) {
    merge.drain(burst.space(), |parts| {
        let written = outside.tun.write_parts(parts);
        outside.note_tun(written);
    });
}
