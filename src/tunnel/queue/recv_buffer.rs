//! Fixed buffers for what one call receives, and what is known of the data messages in them. They
//! are opened here, in the place where they stand, by whatever thread has the buffer.

use super::parts::Parts;
use crate::wg::{self, Arrival, DataHeader, Opened, Opening};

/// Messages of one call. Each may be a run of up to 64 datagrams where the kernel merges them.
pub const SLOTS: usize = 8;
/// Bytes of a slot: the largest message (65,535) with room to spare. An odd number of cache lines,
/// so that equal offsets of different slots do not fight for the same ones.
pub const STRIDE: usize = 64 * 1049;

/// Room in front of all: whoever takes a packet on may want to put more before it than the header
/// of a datagram leaves.
const FRONT: usize = 64;

/// A data message that came, in the buffer at `at`.
pub struct Arrived {
    pub at: usize,
    pub len: usize,
    pub header: DataHeader,
    pub from: Arrival,
    /// What it takes to open it ahead of its turn, and what became of that.
    pub opening: Option<Opening>,
    pub opened: Option<Opened>,
}

pub struct RecvBuffer {
    /// Half a megabyte of address space; memory is used only for what messages touch.
    bytes: Box<[u8]>,
    pub arrived: Vec<Arrived>,
}

impl RecvBuffer {
    pub fn new() -> RecvBuffer {
        RecvBuffer { bytes: vec![0; FRONT + SLOTS * STRIDE].into(), arrived: Vec::new() }
    }

    /// All slots, one behind the other.
    pub fn slots(&mut self) -> &mut [u8] {
        self.bytes.get_mut(FRONT..).unwrap_or_default()
    }

    /// All there is, and what arrived in it.
    pub fn parts(&mut self) -> (&mut [u8], &mut Vec<Arrived>) {
        (&mut self.bytes, &mut self.arrived)
    }

    /// Bytes `start..start + len` of slot `i`, and where they begin in the whole; None if they do
    /// not lie in it.
    pub fn part(&mut self, i: usize, start: usize, len: usize) -> Option<(usize, &mut [u8])> {
        let at = i.checked_mul(STRIDE)?.checked_add(start)?.checked_add(FRONT)?;
        let fits = start.checked_add(len)? <= STRIDE;
        self.bytes.get_mut(at..at.checked_add(len)?).filter(|_| fits).map(|part| (at, part))
    }

    /// Open what is to be opened ahead of its turn: all that stands behind the one before, as
    /// messages of one call do.
    pub fn open(&mut self) {
        let (mut parts, mut places) = (Parts::of(&mut self.bytes), Vec::new());
        let waiting = self.arrived.iter_mut().enumerate();
        let openings = waiting.filter_map(|(place, a)| {
            let datagram = parts.next(a.at, a.len)?;
            let opening = a.opening.take()?;
            places.push(place);
            Some((opening, datagram))
        });
        let opened = wg::open_all(openings);
        for (place, opened) in places.into_iter().zip(opened) {
            if let Some(a) = self.arrived.get_mut(place) {
                a.opened = Some(opened);
            }
        }
    }
}
