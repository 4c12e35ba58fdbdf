//! Fixed buffers for one turn of the loop.

/// Packets of one kind in one turn.
pub(super) const SLOTS: usize = 64;
/// Bytes of a slot: the largest packet or datagram (65,535) with room before and after. An odd
/// number of cache lines, so that equal offsets of different slots do not fight for the same ones.
pub(super) const STRIDE: usize = 64 * 1049;

/// 4.3 MB of address space; memory is used only for what packets touch.
pub(super) struct Burst(Box<[u8]>);

impl Burst {
    pub fn new() -> Burst {
        Burst(vec![0; SLOTS * STRIDE].into())
    }

    /// All slots, one behind the other.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Slot `i`; empty beyond the last.
    pub fn slot(&self, i: usize) -> &[u8] {
        self.0.chunks_exact(STRIDE).nth(i).unwrap_or_default()
    }

    pub fn slot_mut(&mut self, i: usize) -> &mut [u8] {
        self.0.chunks_exact_mut(STRIDE).nth(i).unwrap_or_default()
    }
}
