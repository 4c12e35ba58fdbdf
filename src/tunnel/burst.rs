//! Fixed buffers for what one call receives.

/// Messages of one call. Each may be a run of up to 64 datagrams where the kernel merges them.
pub(super) const SLOTS: usize = 8;
/// Bytes of a slot: the largest message (65,535) with room to spare. An odd number of cache lines,
/// so that equal offsets of different slots do not fight for the same ones.
pub(super) const STRIDE: usize = 64 * 1049;

/// Room in front of all: whoever takes a packet on may want to put more before it than the header
/// of a datagram leaves.
const FRONT: usize = 64;

/// Half a megabyte of address space; memory is used only for what messages touch.
pub(super) struct Burst(Box<[u8]>);

impl Burst {
    pub fn new() -> Burst {
        Burst(vec![0; FRONT + SLOTS * STRIDE].into())
    }

    /// All slots, one behind the other.
    pub fn slots(&mut self) -> &mut [u8] {
        self.0.get_mut(FRONT..).unwrap_or_default()
    }

    /// All there is.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.0
    }

    pub fn bytes(&mut self, at: usize, len: usize) -> Option<&mut [u8]> {
        self.0.get_mut(at..at.checked_add(len)?)
    }

    /// Bytes `start..start + len` of slot `i`, and where they begin in the whole; None if they do
    /// not lie in it.
    pub fn part(&mut self, i: usize, start: usize, len: usize) -> Option<(usize, &mut [u8])> {
        let at = i.checked_mul(STRIDE)?.checked_add(start)?.checked_add(FRONT)?;
        let fits = start.checked_add(len)? <= STRIDE;
        self.0.get_mut(at..at.checked_add(len)?).filter(|_| fits).map(|part| (at, part))
    }
}
