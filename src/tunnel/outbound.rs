//! The way of a packet from the TUN, or from beside it, to the wire.
//!
//! A burst each turn, within budgets. What the device says about a packet is done here; what it
//! decides, it decides alone.

use super::crypto_workers::{CryptoWorkers, Job};
use super::gso::Segments;
use super::io::{Io, READ_LEN, TunError};
use super::packet_io::PacketIo;
use super::path;
use super::queue::SendQueue;
use super::read_policy::ReadPolicy;
use crate::wg::{self, Outbound};

/// Reads of the TUN in one turn. Each may stand for many packets, so bytes have a bound, too.
const READS: usize = 64;
/// Bytes of datagrams that are sent together.
const QUEUE_BYTES: usize = 256 * 1024;

pub(super) struct OutboundPath {
    /// What one read of the TUN gave.
    packet: Box<[u8]>,
    /// The queue that is being filled, and those that came back from workers.
    queue: SendQueue,
    spare: Vec<SendQueue>,
}

impl OutboundPath {
    pub fn new() -> OutboundPath {
        let packet = vec![0; READ_LEN].into();
        OutboundPath { packet, queue: SendQueue::new(QUEUE_BYTES), spare: Vec::new() }
    }

    /// Read what there is, within the budget, and send it.
    pub fn run(&mut self, around: &mut PacketIo, policy: &mut ReadPolicy) {
        let OutboundPath { packet, queue, spare } = self;
        let mut filling = Filling { queue, spare };
        let (mut bytes, mut reads) = (0, 0);
        for _ in 0..READS {
            match around.io.tun.read(packet) {
                Ok(segments) => {
                    (bytes, reads) = (bytes + filling.segment(around, segments), reads + 1)
                }
                Err(TunError::Wait) => break,
                Err(TunError::Refused) => around.device.note_drop(wg::Drop::TunMalformed),
                Err(error) => {
                    around.io.tun_error = Some(error);
                    break;
                }
            }
            let full = bytes >= QUEUE_BYTES * (around.workers.most() + 1);
            if full || policy.is_all(bytes) {
                break;
            }
        }
        policy.read(reads);
        filling.send(around.io, around.workers);
    }

    /// The same for what is sent beside the TUN.
    pub fn run_aside(&mut self, around: &mut PacketIo) {
        let OutboundPath { packet, queue, spare } = self;
        let mut filling = Filling { queue, spare };
        let (mut bytes, mut reads) = (0, 0);
        while bytes < QUEUE_BYTES && reads < READS {
            let Some(aside) = &mut around.io.aside else { break };
            match aside.tun.read(packet) {
                Ok(segments) => bytes += filling.segment(around, segments),
                Err(TunError::Gone) => around.io.aside = None,
                Err(_) => break,
            }
            reads += 1;
        }
        filling.send(around.io, around.workers);
    }
}

/// The queues of an [`OutboundPath`], apart from the packet that they are filled from.
struct Filling<'a> {
    queue: &'a mut SendQueue,
    spare: &'a mut Vec<SendQueue>,
}

impl Filling<'_> {
    /// All that one read stands for; how many bytes.
    fn segment(&mut self, around: &mut PacketIo, mut segments: Segments<'_>) -> usize {
        let limit = around.path.limit_to(segments.front());
        if let Some(limit) = limit {
            segments.limit(limit.into());
        }
        let (mut bytes, mut goes) = (0, false);
        while let Some(len) = segments.next_len() {
            let slot = self.slot(around, len);
            let room = slot.get_mut(wg::HEADROOM..wg::HEADROOM + len);
            let Some(packet) = room.and_then(|room| segments.next(room).map(|_| room)) else {
                around.device.note_drop(wg::Drop::TunMalformed);
                break;
            };
            bytes += len;
            goes |= match limit {
                Some(limit) if len > limit.into() => {
                    let packet = packet.to_vec();
                    self.too_long(around, &packet, limit)
                }
                limit => {
                    limit.inspect(|limit| path::clamp(packet, *limit));
                    self.push(around, len)
                }
            };
        }
        if let Some(shield) = around.shield.as_mut().filter(|_| goes) {
            shield.sent(around.now.boot, segments.front());
        }
        bytes
    }

    /// Where the next datagram will stand, with room for a packet of `len` bytes.
    fn slot(&mut self, around: &mut PacketIo, len: usize) -> &mut [u8] {
        if self.queue.is_full(len) {
            self.flush(around.io, around.workers);
        }
        self.queue.slot()
    }

    /// The packet in the slot; whether it goes anywhere.
    fn push(&mut self, around: &mut PacketIo, len: usize) -> bool {
        let (device, sink) = (&mut *around.device, &mut *around.io);
        let slot = self.queue.slot();
        let (outbound, sealing) = device.from_tun_unsealed(around.now, slot, len, sink);
        if let Outbound::Send { to, tos, len } = outbound {
            self.queue.push(&to, tos, len, sealing);
        }
        !matches!(outbound, Outbound::Dropped(_))
    }

    /// A packet that does not pass whole (R104); whether it goes in pieces.
    #[cold]
    fn too_long(&mut self, around: &mut PacketIo, packet: &[u8], limit: u16) -> bool {
        let Some(pieces) = path::fragments(packet, limit) else {
            around.device.note_drop(wg::Drop::TooLong);
            around.device.tell_too_long(around.now, packet, limit, around.io);
            return false;
        };
        let mut goes = false;
        for piece in pieces {
            let slot = self.slot(around, piece.len());
            let room = slot.get_mut(wg::HEADROOM..wg::HEADROOM + piece.len());
            let Some(room) = room else { break };
            room.copy_from_slice(&piece);
            goes |= self.push(around, piece.len());
        }
        goes
    }

    /// The queue is full: a worker seals it while the next one is filled, or it is sent.
    fn flush(&mut self, io: &mut Io, workers: &mut CryptoWorkers) {
        if workers.is_free() {
            let next = self.spare.pop().unwrap_or_else(|| SendQueue::new(QUEUE_BYTES));
            let full = std::mem::replace(self.queue, next);
            match workers.submit(Job::Seal(full)) {
                Ok(()) => return,
                Err(Job::Seal(full)) => self.spare.push(std::mem::replace(self.queue, full)),
                Err(Job::Open(_)) => {}
            }
        }
        self.send(io, workers);
    }

    /// Send what was given away and what was not, in the order it came in.
    fn send(&mut self, io: &mut Io, workers: &mut CryptoWorkers) {
        self.queue.seal();
        workers.collect(|job| {
            if let Job::Seal(mut queue) = job {
                transmit(&mut queue, io);
                self.spare.push(queue);
            }
        });
        transmit(self.queue, io);
    }
}

/// Send what waits, behind what the device sent on its own.
fn transmit(queue: &mut SendQueue, io: &mut Io) {
    io.flush();
    if !queue.is_empty() {
        io.udp.send(queue, &mut io.lost);
        queue.clear();
    }
}
