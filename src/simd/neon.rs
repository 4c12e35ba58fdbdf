//! NEON: four blocks of ChaCha20 a pass, Poly1305 on the scalar units meanwhile.
//!
//! Every 64-bit ARM has it, so that nothing here needs a `#[target_feature]`. Measured on none: the
//! tests ran it under an emulator.

use std::arch::aarch64::*;

use super::aead::{self, Cpu};
use super::burst;
use super::chacha20::{Lanes, MOST_LANES, Steps, WORK, double_rounds_by_steps};
use super::forged::Forged;
use super::packet::Packet;
use super::poly1305::{self, Poly1305};

/// Proof that this processor has NEON: `detect` is the only way to get one.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    pub fn detect() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    pub fn name(self) -> &'static str {
        "neon"
    }

    pub fn seal(self, key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        aead::seal(self, key, nonce, aad, text)
    }

    pub fn open(
        self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Forged> {
        aead::open(self, key, nonce, aad, text, tag)
    }
}

impl Neon {
    pub fn seal_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        burst::seal(self, key, packets)
    }

    pub fn open_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        burst::open(self, key, packets)
    }
}

impl Cpu for Neon {
    type Wide = Words;
    type Middle = Words;
    type Narrow = Words;
    type Mac = poly1305::Scalar;
}

/// Four words. None exists but on a processor with NEON.
#[derive(Clone, Copy)]
pub struct Words(uint32x4_t);

/// Rotation to the left in each word: shift, and insert what fell out.
macro_rules! rotate {
    ($v:expr, $left:literal, $right:literal) => {{
        let v = $v.0;
        // SAFETY: there are Words, so there is NEON.
        Words(unsafe { vsriq_n_u32::<$right>(vshlq_n_u32::<$left>(v), v) })
    }};
}

impl Words {
    #[inline(always)]
    fn of(words: [u32; 4]) -> Words {
        // SAFETY: called by those who hold a token alone; four words are read from `words`.
        Words(unsafe { vld1q_u32(words.as_ptr()) })
    }

    /// Four vectors of one word of four blocks → four vectors of four words of one block.
    #[inline(always)]
    fn transpose4([Words(a), Words(b), Words(c), Words(d)]: [Words; 4]) -> [Words; 4] {
        // SAFETY: there are Words, so there is NEON.
        unsafe {
            let pairs = |v| vreinterpretq_u64_u32(v);
            let (ab, cd) = (pairs(vtrn1q_u32(a, b)), pairs(vtrn1q_u32(c, d)));
            let (ab2, cd2) = (pairs(vtrn2q_u32(a, b)), pairs(vtrn2q_u32(c, d)));
            [
                Words(vreinterpretq_u32_u64(vtrn1q_u64(ab, cd))),
                Words(vreinterpretq_u32_u64(vtrn1q_u64(ab2, cd2))),
                Words(vreinterpretq_u32_u64(vtrn2q_u64(ab, cd))),
                Words(vreinterpretq_u32_u64(vtrn2q_u64(ab2, cd2))),
            ]
        }
    }
}

/// The byte order that rotates words by 8 bits.
#[derive(Clone, Copy)]
pub struct Order(uint8x16_t);

// SAFETY: 16 vectors of 16 bytes are 4 blocks.
unsafe impl Lanes for Words {
    type Cpu = Neon;
    type Stream = [Words; 16];
    const BLOCKS: usize = 4;

    #[inline(always)]
    fn splat(_: Neon, word: u32) -> Words {
        // SAFETY: the token proves NEON.
        Words(unsafe { vdupq_n_u32(word) })
    }

    #[inline(always)]
    fn count(cpu: Neon, first: u32) -> Words {
        Words::splat(cpu, first).add(Words::of([0, 1, 2, 3]))
    }

    #[inline(always)]
    fn load(_: Neon, words: &[u32; MOST_LANES]) -> Words {
        // SAFETY: the token proves NEON; there are four words and more.
        Words(unsafe { vld1q_u32(words.as_ptr()) })
    }

    #[inline(always)]
    fn add(self, other: Words) -> Words {
        // SAFETY: there are Words, so there is NEON.
        Words(unsafe { vaddq_u32(self.0, other.0) })
    }

    double_rounds_by_steps!();

    #[inline(always)]
    fn transpose(words: [Words; 16]) -> [Words; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = words;
        let abcd = Words::transpose4([a, b, c, d]);
        let efgh = Words::transpose4([e, f, g, h]);
        let ijkl = Words::transpose4([i, j, k, l]);
        let mnop = Words::transpose4([m, n, o, p]);
        [
            abcd[0], efgh[0], ijkl[0], mnop[0], abcd[1], efgh[1], ijkl[1], mnop[1], abcd[2],
            efgh[2], ijkl[2], mnop[2], abcd[3], efgh[3], ijkl[3], mnop[3],
        ]
    }
}

impl Steps for Words {
    type Rotations = Order;

    #[inline(always)]
    fn rotations(_: Neon) -> Order {
        let order = [3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14];
        // SAFETY: the token proves NEON; sixteen bytes are read from `order`.
        Order(unsafe { vld1q_u8(order.as_ptr()) })
    }

    #[inline(always)]
    fn xor(self, other: Words) -> Words {
        // SAFETY: there are Words, so there is NEON.
        Words(unsafe { veorq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate16(self, _: Order) -> Words {
        // SAFETY: there are Words, so there is NEON.
        Words(unsafe { vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(self.0))) })
    }

    #[inline(always)]
    fn rotate12(self, _: Order) -> Words {
        rotate!(self, 12, 20)
    }

    #[inline(always)]
    fn rotate8(self, by: Order) -> Words {
        // SAFETY: there are Words, so there is NEON.
        Words(unsafe { vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(self.0), by.0)) })
    }

    #[inline(always)]
    fn rotate7(self, _: Order) -> Words {
        rotate!(self, 7, 25)
    }
}
