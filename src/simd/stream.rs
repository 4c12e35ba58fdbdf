//! Key stream, on the stack: written by whole passes, wiped when it goes.
//!
//! It starts out uninitialised, because clearing 1.5 KiB would cost a tenth of a small packet.

use std::hint::black_box;
use std::mem::MaybeUninit;

use super::chacha20::{BLOCK_LEN, Lanes};

/// Room for so many blocks, apart, so that setting up [`Stream`] does not write all of it.
#[repr(align(64))]
pub struct Room<const BLOCKS: usize>([[MaybeUninit<u8>; BLOCK_LEN]; BLOCKS]);

impl<const BLOCKS: usize> Room<BLOCKS> {
    #[inline(always)]
    pub fn new() -> Room<BLOCKS> {
        Room([[MaybeUninit::uninit(); BLOCK_LEN]; BLOCKS])
    }
}

pub struct Stream<'a> {
    bytes: &'a mut [MaybeUninit<u8>],
    /// Bytes from the beginning that have been written.
    len: usize,
    /// Bytes that were ever written.
    dirty: usize,
}

impl<'a> Stream<'a> {
    #[inline(always)]
    pub fn new<const BLOCKS: usize>(room: &'a mut Room<BLOCKS>) -> Stream<'a> {
        Stream { bytes: room.0.as_flattened_mut(), len: 0, dirty: 0 }
    }

    /// Puts a pass behind what is there. It must fit: a caller that has no room is our bug.
    #[inline(always)]
    pub fn push<L: Lanes>(&mut self, pass: L::Stream) {
        let end = self.len + L::BLOCKS * BLOCK_LEN;
        let room = &mut self.bytes[self.len..end];
        // SAFETY: `room` is as long as `pass` (the promise of `Lanes`), any alignment will do.
        unsafe { room.as_mut_ptr().cast::<L::Stream>().write_unaligned(pass) }
        self.len = end;
        self.dirty = self.dirty.max(end);
    }

    /// Blocks free.
    #[inline(always)]
    pub fn room(&self) -> usize {
        (self.bytes.len() - self.len) / BLOCK_LEN
    }

    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        let written = &self.bytes[..self.len];
        // SAFETY: `push` has written the first `len` bytes.
        unsafe { std::slice::from_raw_parts(written.as_ptr().cast(), written.len()) }
    }

    /// So many blocks at the beginning have been used: what is behind them moves there.
    #[inline(always)]
    pub fn discard(&mut self, blocks: usize) {
        let used = (blocks * BLOCK_LEN).min(self.len);
        self.bytes.copy_within(used..self.len, 0);
        self.len -= used;
    }

    /// What is there has been used: the next pass overwrites it.
    #[inline(always)]
    pub fn rewind(&mut self) {
        self.len = 0;
    }
}

impl Drop for Stream<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.bytes[..self.dirty].fill(MaybeUninit::new(0));
        // Nothing reads these zeros; without this they would not be written.
        black_box(&mut *self.bytes);
    }
}
