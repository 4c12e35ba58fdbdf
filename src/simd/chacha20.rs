//! ChaCha20 (RFC 8439 §2.3), several blocks side by side: vector `i` holds word `i` of all of them.
//!
//! It knows vectors only through [`Lanes`], and no packets. A processor has units to spare for
//! Poly1305 meanwhile, if it is told in small pieces, between the steps of the rounds, because it
//! looks no further ahead than a round or two: what that is to absorb is handed in as [`Beside`].

use super::poly1305::{self, Poly1305};

pub const BLOCK_LEN: usize = 64;
/// The most blocks that any vector has.
pub const MOST_LANES: usize = 24;
/// What Poly1305 absorbs in a double round: three blocks, one behind the other, take it as long as
/// that.
pub const WORK: usize = 3 * poly1305::BLOCK_LEN;
const DOUBLE_ROUNDS: usize = 10;

/// A vector of 32-bit words, one for each of `BLOCKS` blocks.
///
/// Values come from `splat`, `count` and `load` alone, which want the proof that the processor can
/// do it.
///
/// # Safety
/// `Stream` is `BLOCKS` · 64 initialised bytes, without padding.
pub unsafe trait Lanes: Copy {
    type Cpu: Copy;
    /// Key stream, in its order.
    type Stream: Copy;
    const BLOCKS: usize;

    fn splat(cpu: Self::Cpu, word: u32) -> Self;
    /// `first`, `first` + 1, and so on.
    fn count(cpu: Self::Cpu, first: u32) -> Self;
    /// The first `BLOCKS` of these.
    fn load(cpu: Self::Cpu, words: &[u32; MOST_LANES]) -> Self;
    fn add(self, other: Self) -> Self;
    fn double_rounds(cpu: Self::Cpu, v: &mut [Self; 16], count: usize);
    /// One double round for each piece of text.
    fn double_rounds_beside(
        cpu: Self::Cpu,
        v: &mut [Self; 16],
        mac: &mut Poly1305,
        text: &[[u8; WORK]],
    );
    /// From word by word to block by block.
    fn transpose(words: [Self; 16]) -> Self::Stream;
}

/// Vectors whose double rounds a compiler makes well of the steps that they are made of.
pub trait Steps: Lanes {
    /// What the rotations need at hand.
    type Rotations: Copy;

    fn rotations(cpu: Self::Cpu) -> Self::Rotations;
    fn xor(self, other: Self) -> Self;
    fn rotate16(self, by: Self::Rotations) -> Self;
    fn rotate12(self, by: Self::Rotations) -> Self;
    fn rotate8(self, by: Self::Rotations) -> Self;
    fn rotate7(self, by: Self::Rotations) -> Self;
}

/// These two of [`Lanes`] by [`Steps`].
#[allow(unused_macros)]
macro_rules! double_rounds_by_steps {
    () => {
        #[inline(always)]
        fn double_rounds(cpu: Self::Cpu, v: &mut [Self; 16], count: usize) {
            $crate::chacha20::double_rounds(cpu, v, count);
        }

        #[inline(always)]
        fn double_rounds_beside(
            cpu: Self::Cpu,
            v: &mut [Self; 16],
            mac: &mut Poly1305,
            text: &[[u8; WORK]],
        ) {
            $crate::chacha20::double_rounds_beside(cpu, v, mac, text);
        }
    };
}
#[allow(unused_imports)]
pub(super) use double_rounds_by_steps;

#[allow(dead_code)]
#[inline(always)]
pub fn double_rounds<L: Steps>(cpu: L::Cpu, v: &mut [L; 16], count: usize) {
    let by = L::rotations(cpu);
    for _ in 0..count {
        double_round(v, by, |_| {});
    }
}

#[allow(dead_code)]
#[inline(always)]
pub fn double_rounds_beside<L: Steps>(
    cpu: L::Cpu,
    v: &mut [L; 16],
    mac: &mut Poly1305,
    text: &[[u8; WORK]],
) {
    let by = L::rotations(cpu);
    for work in text {
        double_round(v, by, |slot| {
            let at = match slot {
                1 => 0,
                4 => poly1305::BLOCK_LEN,
                6 => 2 * poly1305::BLOCK_LEN,
                _ => return,
            };
            if let Some(block) = work[at..].first_chunk() {
                mac.block(block);
            }
        });
    }
}

/// What Poly1305 may absorb meanwhile.
pub trait Beside {
    /// It, and text for it; none if that is less than a piece.
    fn text(&mut self) -> Option<(&mut Poly1305, &[[u8; WORK]])>;
    /// So many pieces of that have been absorbed.
    fn absorbed(&mut self, count: usize);
}

/// Nothing.
pub struct Nothing;

impl Beside for Nothing {
    #[inline(always)]
    fn text(&mut self) -> Option<(&mut Poly1305, &[[u8; WORK]])> {
        None
    }

    #[inline(always)]
    fn absorbed(&mut self, _: usize) {}
}

/// Which block of which packet each lane makes: word 12 of each, then its nonce.
pub struct Places([[u32; MOST_LANES]; 4]);

impl Places {
    pub const fn new() -> Places {
        Places([[0; MOST_LANES]; 4])
    }

    /// Blocks `first`, `first` + 1 and so on of the packet with this nonce, to `count` lanes from
    /// `lane` on. What is no lane is left out.
    #[inline(always)]
    pub fn set(&mut self, lane: usize, count: usize, first: usize, nonce: &[u8; 12]) {
        let [x, y, z] = words(nonce);
        for i in 0..count.min(MOST_LANES.saturating_sub(lane)) {
            let lane = lane + i;
            self.0[0][lane] = (first + i) as u32;
            self.0[1][lane] = x;
            self.0[2][lane] = y;
            self.0[3][lane] = z;
        }
    }
}

/// A key, and the nonce of one packet.
pub struct ChaCha20 {
    key: [u32; 8],
    nonce: [u32; 3],
}

impl ChaCha20 {
    #[inline(always)]
    pub fn new(key: &[u8; 32], nonce: &[u8; 12]) -> ChaCha20 {
        ChaCha20 { key: words(key), nonce: words(nonce) }
    }

    /// `L::BLOCKS` blocks of key stream, from block `first` on. Block numbers stay far below 2^32:
    /// a text has at most 65,535 bytes.
    #[inline(always)]
    pub fn blocks<L: Lanes>(
        &self,
        cpu: L::Cpu,
        first: usize,
        beside: &mut impl Beside,
    ) -> L::Stream {
        let [x, y, z] = self.nonce;
        let last = [
            L::count(cpu, first as u32),
            L::splat(cpu, x),
            L::splat(cpu, y),
            L::splat(cpu, z),
        ];
        rounds(cpu, self.state(cpu, last), beside)
    }

    /// The blocks at these places, under the same key.
    #[inline(always)]
    pub fn blocks_at<L: Lanes>(
        &self,
        cpu: L::Cpu,
        Places([count, x, y, z]): &Places,
        beside: &mut impl Beside,
    ) -> L::Stream {
        let last = [L::load(cpu, count), L::load(cpu, x), L::load(cpu, y), L::load(cpu, z)];
        rounds(cpu, self.state(cpu, last), beside)
    }

    #[inline(always)]
    fn state<L: Lanes>(&self, cpu: L::Cpu, [count, x, y, z]: [L; 4]) -> [L; 16] {
        let [a, b, c, d, e, f, g, h] = self.key;
        let s = |word| L::splat(cpu, word);
        [
            // "expand 32-byte k"
            s(0x6170_7865),
            s(0x3320_646e),
            s(0x7962_2d32),
            s(0x6b20_6574),
            s(a),
            s(b),
            s(c),
            s(d),
            s(e),
            s(f),
            s(g),
            s(h),
            count,
            x,
            y,
            z,
        ]
    }
}

#[inline(always)]
fn rounds<L: Lanes>(cpu: L::Cpu, start: [L; 16], beside: &mut impl Beside) -> L::Stream {
    let (mut v, mut left) = (start, DOUBLE_ROUNDS);
    while left > 0 {
        let Some((mac, text)) = beside.text() else { break };
        let text = &text[..text.len().min(left)];
        let count = text.len();
        L::double_rounds_beside(cpu, &mut v, mac, text);
        beside.absorbed(count);
        left -= count;
    }
    L::double_rounds(cpu, &mut v, left);
    let mut i = 0;
    while i < 16 {
        v[i] = v[i].add(start[i]);
        i += 1;
    }
    L::transpose(v)
}

#[inline(always)]
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

#[inline(always)]
fn double_round<L: Steps>(v: &mut [L; 16], by: L::Rotations, mut work: impl FnMut(usize)) {
    let columns = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]];
    let diagonals = [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];
    round(v, by, columns, &mut work, 0);
    round(v, by, diagonals, &mut work, 4);
}

/// Four quarter rounds, step by step together, so that none waits for itself.
#[inline(always)]
fn round<L: Steps>(
    v: &mut [L; 16],
    by: L::Rotations,
    quarters: [[usize; 4]; 4],
    work: &mut impl FnMut(usize),
    slot: usize,
) {
    for [a, b, _, d] in quarters {
        v[a] = v[a].add(v[b]);
        v[d] = v[d].xor(v[a]).rotate16(by);
    }
    work(slot);
    for [_, b, c, d] in quarters {
        v[c] = v[c].add(v[d]);
        v[b] = v[b].xor(v[c]).rotate12(by);
    }
    work(slot + 1);
    for [a, b, _, d] in quarters {
        v[a] = v[a].add(v[b]);
        v[d] = v[d].xor(v[a]).rotate8(by);
    }
    work(slot + 2);
    for [_, b, c, d] in quarters {
        v[c] = v[c].add(v[d]);
        v[b] = v[b].xor(v[c]).rotate7(by);
    }
    work(slot + 3);
}
