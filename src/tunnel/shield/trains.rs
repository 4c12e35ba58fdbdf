//! Fragments that follow a first one which was let in: in their order, without a gap, without an
//! overlap, and none smaller than who cuts packets makes them. So what is put together from them
//! begins with the headers that were looked at, and is whole.
//!
//! What never becomes whole stays with the kernel for 30 s, in memory that it has for all fragments
//! of the machine: the bound here keeps what a peer may hold of it below its 4 MiB.

use super::headers::Packet;

/// Packets at once of which fragments are still to come. 16 of 64 KiB, in pieces of 512 bytes that
/// take 1,300 each, are 2.6 MiB.
const TRAINS: usize = 16;
/// The kernel's own patience (`ipfrag_time`).
const LIMIT_S: u32 = 30;
/// The shortest that is not the last.
const LEAST: usize = 512;
/// The longest packet less its header.
const LONGEST: usize = 65_515;

#[derive(Clone, Copy, Default)]
struct Train {
    src: u32,
    id: u16,
    protocol: u8,
    /// Where the next one begins; 0 for none is awaited.
    next: usize,
    since_s: u32,
}

impl Train {
    fn is_awaited(&self, now_s: u32) -> bool {
        self.next > 0 && now_s.saturating_sub(self.since_s) <= LIMIT_S
    }

    fn is_of(&self, packet: &Packet) -> bool {
        (self.src, self.id, self.protocol) == (packet.src, packet.id, packet.protocol)
    }
}

#[derive(Default)]
pub struct Trains([Train; TRAINS]);

impl Trains {
    /// A first fragment, of a flow that is open. Whether those behind it will be let in.
    pub fn begin(&mut self, now_s: u32, packet: &Packet) -> bool {
        let Some(next) = end(packet) else { return false };
        if self.0.iter().any(|train| train.is_awaited(now_s) && train.is_of(packet)) {
            return false;
        }
        let Some(free) = self.0.iter_mut().find(|train| !train.is_awaited(now_s)) else {
            return false;
        };
        let Packet { src, id, protocol, .. } = *packet;
        *free = Train { src, id, protocol, next, since_s: now_s };
        true
    }

    /// Whether this fragment is the next one of its packet.
    pub fn go_on(&mut self, now_s: u32, packet: &Packet) -> bool {
        let awaited = |train: &&mut Train| {
            train.is_awaited(now_s) && train.is_of(packet) && train.next == packet.offset
        };
        match (self.0.iter_mut().find(awaited), end(packet)) {
            (Some(train), Some(end)) => {
                train.next = if packet.more { end } else { 0 };
                true
            }
            _ => false,
        }
    }
}

/// Where a fragment ends in the whole; `None` for one that nobody makes.
fn end(packet: &Packet) -> Option<usize> {
    let len = packet.body.len();
    let fits = if packet.more { len >= LEAST && len % 8 == 0 } else { len > 0 };
    let end = packet.offset + len;
    (fits && end <= LONGEST).then_some(end)
}
