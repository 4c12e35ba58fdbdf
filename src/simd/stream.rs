//! Key stream of one packet, on the stack: written by whole passes, wiped when it goes.
//!
//! It starts out uninitialised, because clearing 1.5 KiB would cost a tenth of a small packet.

use std::hint::black_box;
use std::mem::MaybeUninit;

use super::chacha20::{BLOCK_LEN, Lanes};

/// Blocks that it holds: the key of Poly1305 and as many as a packet of 1472 bytes needs. Two
/// passes of eight and sixteen fill it, or three of eight.
pub const BLOCKS: usize = 24;

/// Room for it, apart, so that setting up [`Stream`] does not write all of it.
#[repr(align(64))]
pub struct Room([MaybeUninit<u8>; BLOCKS * BLOCK_LEN]);

impl Room {
    #[inline(always)]
    pub fn new() -> Room {
        Room([MaybeUninit::uninit(); BLOCKS * BLOCK_LEN])
    }
}

pub struct Stream<'a> {
    bytes: &'a mut [MaybeUninit<u8>; BLOCKS * BLOCK_LEN],
    /// Bytes from the beginning that have been written.
    len: usize,
    /// Bytes that were ever written.
    dirty: usize,
}

impl<'a> Stream<'a> {
    #[inline(always)]
    pub fn new(room: &'a mut Room) -> Stream<'a> {
        Stream { bytes: &mut room.0, len: 0, dirty: 0 }
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
        BLOCKS - self.len / BLOCK_LEN
    }

    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        let written = &self.bytes[..self.len];
        // SAFETY: `push` has written the first `len` bytes.
        unsafe { std::slice::from_raw_parts(written.as_ptr().cast(), written.len()) }
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
