//! ChaCha20 (RFC 8439 §2.3), several blocks side by side: vector `i` holds word `i` of all of them.
//!
//! It knows vectors only through [`Lanes`], and neither packets nor Poly1305: whoever wants other
//! work done between the rounds hands it in as [`Beside`].

pub const BLOCK_LEN: usize = 64;
const DOUBLE_ROUNDS: usize = 10;

/// A vector of 32-bit words, one for each of `BLOCKS` blocks.
///
/// Values come from `splat` and `count` alone, which want the proof that the processor can do it.
///
/// # Safety
/// `Stream` is `BLOCKS` · 64 initialised bytes, without padding.
pub unsafe trait Lanes: Copy {
    type Cpu: Copy;
    /// What the rotations need at hand.
    type Rotations: Copy;
    /// Key stream, in its order.
    type Stream: Copy;
    const BLOCKS: usize;

    fn rotations(cpu: Self::Cpu) -> Self::Rotations;
    fn splat(cpu: Self::Cpu, word: u32) -> Self;
    /// `first`, `first` + 1, and so on.
    fn count(cpu: Self::Cpu, first: u32) -> Self;
    fn add(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn rotate16(self, by: Self::Rotations) -> Self;
    fn rotate12(self, by: Self::Rotations) -> Self;
    fn rotate8(self, by: Self::Rotations) -> Self;
    fn rotate7(self, by: Self::Rotations) -> Self;
    /// From word by word to block by block.
    fn transpose(words: [Self; 16]) -> Self::Stream;
}

/// Work that the processor can do while it waits for ChaCha20: in small pieces between the rounds,
/// because it looks no further ahead than a round or two.
pub trait Beside {
    /// In how many double rounds there is work.
    fn double_rounds(&self) -> usize;
    /// Piece `slot` of 0 to 7 of one double round's work.
    fn work(&mut self, slot: usize);
}

/// No work.
pub struct Nothing;

impl Beside for Nothing {
    #[inline(always)]
    fn double_rounds(&self) -> usize {
        0
    }

    #[inline(always)]
    fn work(&mut self, _: usize) {}
}

/// The key and nonce of one packet.
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
        let by = L::rotations(cpu);
        let start = self.state::<L>(cpu, first as u32);
        let mut v = start;
        let busy = beside.double_rounds().min(DOUBLE_ROUNDS);
        for _ in 0..busy {
            double_round(&mut v, by, beside);
        }
        for _ in busy..DOUBLE_ROUNDS {
            double_round(&mut v, by, &mut Nothing);
        }
        let mut i = 0;
        while i < 16 {
            v[i] = v[i].add(start[i]);
            i += 1;
        }
        L::transpose(v)
    }

    #[inline(always)]
    fn state<L: Lanes>(&self, cpu: L::Cpu, first: u32) -> [L; 16] {
        let [a, b, c, d, e, f, g, h] = self.key;
        let [x, y, z] = self.nonce;
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
            L::count(cpu, first),
            s(x),
            s(y),
            s(z),
        ]
    }
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
fn double_round<L: Lanes>(v: &mut [L; 16], by: L::Rotations, beside: &mut impl Beside) {
    let columns = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]];
    let diagonals = [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];
    round(v, by, columns, beside, 0);
    round(v, by, diagonals, beside, 4);
}

/// Four quarter rounds, step by step together, so that none waits for itself.
#[inline(always)]
fn round<L: Lanes>(
    v: &mut [L; 16],
    by: L::Rotations,
    quarters: [[usize; 4]; 4],
    beside: &mut impl Beside,
    slot: usize,
) {
    for [a, b, _, d] in quarters {
        v[a] = v[a].add(v[b]);
        v[d] = v[d].xor(v[a]).rotate16(by);
    }
    beside.work(slot);
    for [_, b, c, d] in quarters {
        v[c] = v[c].add(v[d]);
        v[b] = v[b].xor(v[c]).rotate12(by);
    }
    beside.work(slot + 1);
    for [a, b, _, d] in quarters {
        v[a] = v[a].add(v[b]);
        v[d] = v[d].xor(v[a]).rotate8(by);
    }
    beside.work(slot + 2);
    for [_, b, c, d] in quarters {
        v[c] = v[c].add(v[d]);
        v[b] = v[b].xor(v[c]).rotate7(by);
    }
    beside.work(slot + 3);
}
