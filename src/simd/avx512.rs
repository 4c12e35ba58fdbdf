//! AVX-512: sixteen blocks of ChaCha20 a pass, or eight where that is enough, and Poly1305 on
//! eight blocks at once with IFMA.

use std::arch::x86_64::*;

use super::aead::{self, Cpu};
use super::avx2::{Avx2, Ymm};
use super::chacha20::{Lanes, MOST_LANES, Steps, WORK, double_rounds_by_steps};
use super::forged::Forged;
use super::packet::Packet;
use super::poly1305::{BLOCK_LEN, Mac, Poly1305};

/// Proof that this processor has AVX-512 F, VL and IFMA: `detect` is the only way to get one.
#[derive(Clone, Copy)]
pub struct Avx512(Avx2);

impl Avx512 {
    pub fn detect() -> Option<Avx512> {
        let here = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma");
        Avx2::detect().filter(|_| here).map(Avx512)
    }

    pub fn name(self) -> &'static str {
        "avx512"
    }

    pub fn seal(self, key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        // SAFETY: `self` proves that the features are there.
        unsafe { seal(self, key, nonce, aad, text) }
    }

    pub fn open(
        self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Forged> {
        // SAFETY: `self` proves that the features are there.
        unsafe { open(self, key, nonce, aad, text, tag) }
    }
}

impl Avx512 {
    /// One after the other, each of which fills the processor.
    pub fn seal_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        for packet in packets {
            packet.seal(|nonce, text| self.seal(key, nonce, &[], text));
        }
    }

    pub fn open_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        for packet in packets {
            packet.open(|nonce, text, tag| self.open(key, nonce, &[], text, tag));
        }
    }
}

impl Cpu for Avx512 {
    type Wide = Both;
    type Middle = Zmm;
    type Narrow = YmmRotating;
    type Mac = Ifma;
}

// SAFETY: to be called where AVX-512 F, VL and IFMA and BMI2 are.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,bmi2")]
unsafe fn seal(
    cpu: Avx512,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    aead::seal(cpu, key, nonce, aad, text)
}

// SAFETY: to be called where AVX-512 F, VL and IFMA and BMI2 are.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,bmi2")]
unsafe fn open(
    cpu: Avx512,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), Forged> {
    aead::open(cpu, key, nonce, aad, text, tag)
}

/// Rotation to the left in each word, in one instruction.
macro_rules! rotations {
    ($type:ident, $rotate:ident) => {
        rotations!($type, $rotate, rotate16, 16);
        rotations!($type, $rotate, rotate12, 12);
        rotations!($type, $rotate, rotate8, 8);
        rotations!($type, $rotate, rotate7, 7);
    };
    ($type:ident, $rotate:ident, $name:ident, $by:literal) => {
        #[inline(always)]
        fn $name(self, (): ()) -> Self {
            // SAFETY: there is a value of this type, so there is AVX-512 F and VL.
            $type(unsafe { $rotate::<$by>(self.0) })
        }
    };
}

/// Eight words, as AVX-512 VL has them. None exists but on a processor with AVX-512 VL.
#[derive(Clone, Copy)]
pub struct YmmRotating(__m256i);

// SAFETY: 16 vectors of 32 bytes are 8 blocks.
unsafe impl Lanes for YmmRotating {
    type Cpu = Avx512;
    type Stream = [Self; 16];
    const BLOCKS: usize = 8;

    #[inline(always)]
    fn splat(cpu: Avx512, word: u32) -> Self {
        YmmRotating(Ymm::splat(cpu.0, word).0)
    }

    #[inline(always)]
    fn count(cpu: Avx512, first: u32) -> Self {
        YmmRotating(Ymm::count(cpu.0, first).0)
    }

    #[inline(always)]
    fn load(cpu: Avx512, words: &[u32; MOST_LANES]) -> Self {
        YmmRotating(Ymm::load(cpu.0, words).0)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        YmmRotating(Ymm(self.0).add(Ymm(other.0)).0)
    }

    double_rounds_by_steps!();

    #[inline(always)]
    fn transpose(words: [Self; 16]) -> [Self; 16] {
        Ymm::transpose(words.map(|v| Ymm(v.0))).map(|v| YmmRotating(v.0))
    }
}

impl Steps for YmmRotating {
    type Rotations = ();

    #[inline(always)]
    fn rotations(_: Avx512) {}

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: there is a YmmRotating, so there is AVX2.
        YmmRotating(unsafe { _mm256_xor_si256(self.0, other.0) })
    }

    rotations!(YmmRotating, _mm256_rol_epi32);
}

/// Sixteen words. None exists but on a processor with AVX-512 F.
#[derive(Clone, Copy)]
pub struct Zmm(__m512i);

/// Four vectors of one word each → in each quarter, four words of one block.
macro_rules! quarters {
    ($a:expr, $b:expr, $c:expr, $d:expr) => {{
        let (a, b, c, d) = ($a.0, $b.0, $c.0, $d.0);
        // SAFETY: there is a Zmm, so there is AVX-512 F.
        unsafe {
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (ab2, cd2) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ab2, cd2),
                _mm512_unpackhi_epi64(ab2, cd2),
            ]
        }
    }};
}

/// Four vectors of quarters, of words 0–3, 4–7, 8–11, 12–15 → four whole blocks.
macro_rules! blocks {
    ($a:expr, $b:expr, $c:expr, $d:expr) => {{
        // SAFETY: there is a Zmm, so there is AVX-512 F.
        unsafe {
            let (ab, cd) =
                (_mm512_shuffle_i32x4::<0x88>($a, $b), _mm512_shuffle_i32x4::<0x88>($c, $d));
            let (ab2, cd2) =
                (_mm512_shuffle_i32x4::<0xdd>($a, $b), _mm512_shuffle_i32x4::<0xdd>($c, $d));
            [
                Zmm(_mm512_shuffle_i32x4::<0x88>(ab, cd)),
                Zmm(_mm512_shuffle_i32x4::<0x88>(ab2, cd2)),
                Zmm(_mm512_shuffle_i32x4::<0xdd>(ab, cd)),
                Zmm(_mm512_shuffle_i32x4::<0xdd>(ab2, cd2)),
            ]
        }
    }};
}

// SAFETY: 16 vectors of 64 bytes are 16 blocks.
unsafe impl Lanes for Zmm {
    type Cpu = Avx512;
    type Stream = [Self; 16];
    const BLOCKS: usize = 16;

    #[inline(always)]
    fn splat(_: Avx512, word: u32) -> Self {
        // SAFETY: the token proves AVX-512 F.
        Zmm(unsafe { _mm512_set1_epi32(word as i32) })
    }

    #[inline(always)]
    fn count(cpu: Avx512, first: u32) -> Self {
        // SAFETY: the token proves AVX-512 F.
        let lanes =
            unsafe { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) };
        Zmm::splat(cpu, first).add(Zmm(lanes))
    }

    #[inline(always)]
    fn load(_: Avx512, words: &[u32; MOST_LANES]) -> Self {
        // SAFETY: the token proves AVX-512 F; there are sixteen words and more.
        Zmm(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: there is a Zmm, so there is AVX-512 F.
        Zmm(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    double_rounds_by_steps!();

    #[inline(always)]
    fn transpose(words: [Self; 16]) -> [Self; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = words;
        let abcd = quarters!(a, b, c, d);
        let efgh = quarters!(e, f, g, h);
        let ijkl = quarters!(i, j, k, l);
        let mnop = quarters!(m, n, o, p);
        // Quarter q of vector n is of block 4q + n.
        let [b0, b4, b8, b12] = blocks!(abcd[0], efgh[0], ijkl[0], mnop[0]);
        let [b1, b5, b9, b13] = blocks!(abcd[1], efgh[1], ijkl[1], mnop[1]);
        let [b2, b6, b10, b14] = blocks!(abcd[2], efgh[2], ijkl[2], mnop[2]);
        let [b3, b7, b11, b15] = blocks!(abcd[3], efgh[3], ijkl[3], mnop[3]);
        [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15]
    }
}

impl Steps for Zmm {
    type Rotations = ();

    #[inline(always)]
    fn rotations(_: Avx512) {}

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: there is a Zmm, so there is AVX-512 F.
        Zmm(unsafe { _mm512_xor_si512(self.0, other.0) })
    }

    rotations!(Zmm, _mm512_rol_epi32);
}

/// Both, for 24 blocks: all of a packet of 1472 bytes. Together they are faster than one after the
/// other, because neither alone keeps the processor busy.
#[derive(Clone, Copy)]
pub struct Both(Zmm, YmmRotating);

/// Rotation of both.
macro_rules! both {
    ($($name:ident)*) => {
        $(#[inline(always)]
        fn $name(self, (): ()) -> Self {
            Both(self.0.$name(()), self.1.$name(()))
        })*
    };
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct BothStreams([Zmm; 16], [YmmRotating; 16]);

// SAFETY: 1024 and 512 bytes, both aligned as they stand, are 24 blocks.
unsafe impl Lanes for Both {
    type Cpu = Avx512;
    type Stream = BothStreams;
    const BLOCKS: usize = 24;

    #[inline(always)]
    fn splat(cpu: Avx512, word: u32) -> Self {
        Both(Zmm::splat(cpu, word), YmmRotating::splat(cpu, word))
    }

    #[inline(always)]
    fn count(cpu: Avx512, first: u32) -> Self {
        Both(Zmm::count(cpu, first), YmmRotating::count(cpu, first + Zmm::BLOCKS as u32))
    }

    #[inline(always)]
    fn load(cpu: Avx512, words: &[u32; MOST_LANES]) -> Self {
        let mut last = [0; MOST_LANES];
        last[..YmmRotating::BLOCKS].copy_from_slice(&words[Zmm::BLOCKS..]);
        Both(Zmm::load(cpu, words), YmmRotating::load(cpu, &last))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Both(self.0.add(other.0), self.1.add(other.1))
    }

    double_rounds_by_steps!();

    #[inline(always)]
    fn transpose(words: [Self; 16]) -> BothStreams {
        BothStreams(Zmm::transpose(words.map(|v| v.0)), YmmRotating::transpose(words.map(|v| v.1)))
    }
}

impl Steps for Both {
    type Rotations = ();

    #[inline(always)]
    fn rotations(_: Avx512) {}

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Both(self.0.xor(other.0), self.1.xor(other.1))
    }

    both!(rotate16 rotate12 rotate8 rotate7);
}

/// Poly1305 of eight blocks at once, one in each lane, in limbs of 44, 44 and 42 bits; the plain
/// one ends it.
#[derive(Clone)]
pub struct Ifma {
    cpu: Avx512,
    plain: Poly1305,
}

/// r⁸ and r¹⁶ everywhere; and for the end r⁸, r⁴, r⁷, r³, r⁶, r², r⁵, r, because the lanes have the
/// blocks 0, 4, 1, 5, 2, 6, 3, 7.
struct Powers {
    eighth: Factor,
    sixteenth: Factor,
    last: Factor,
}

/// Eight numbers: h₀ + 2^44 · h₁ + 2^88 · h₂. Exists only on a processor with AVX-512 IFMA.
#[derive(Clone, Copy)]
struct Limbs([__m512i; 3]);

/// A number to multiply with, and twenty times its upper limbs, since 2^132 ≡ 20.
#[derive(Clone, Copy)]
struct Factor {
    limbs: Limbs,
    twenty: [__m512i; 2],
}

/// A block for each lane, in bytes.
const EIGHT: usize = 8 * BLOCK_LEN;
/// Below this length the plain way is faster.
const WIDE_FROM: usize = 256;
const MASK44: i64 = (1 << 44) - 1;
const MASK42: i64 = (1 << 42) - 1;

impl Limbs {
    #[inline(always)]
    fn zero(_: Avx512) -> Limbs {
        // SAFETY: the token proves AVX-512 F.
        Limbs([unsafe { _mm512_setzero_si512() }; 3])
    }

    /// A number of the plain kind in every lane.
    #[inline(always)]
    fn splat(_: Avx512, limbs: [u64; 3]) -> Limbs {
        let [a, b, c] = limbs;
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            Limbs([
                _mm512_set1_epi64(a as i64),
                _mm512_set1_epi64(b as i64),
                _mm512_set1_epi64(c as i64),
            ])
        }
    }

    /// `self` where the mask has a bit, else `other`.
    #[inline(always)]
    fn or_else(self, mask: u8, other: Limbs) -> Limbs {
        let (Limbs([a, b, c]), Limbs([x, y, z])) = (self, other);
        // SAFETY: there are Limbs, so there is AVX-512 F.
        unsafe {
            Limbs([
                _mm512_mask_blend_epi64(mask, x, a),
                _mm512_mask_blend_epi64(mask, y, b),
                _mm512_mask_blend_epi64(mask, z, c),
            ])
        }
    }

    /// Adds a number of the plain kind to lane 0: block by block, the first one.
    #[inline(always)]
    fn add_first(self, [x, y, z]: [u64; 3]) -> Limbs {
        let Limbs([a, b, c]) = self;
        // SAFETY: there are Limbs, so there is AVX-512 F.
        unsafe {
            let lane = |x| _mm512_zextsi128_si512(_mm_cvtsi64_si128(x as i64));
            Limbs([
                _mm512_add_epi64(a, lane(x)),
                _mm512_add_epi64(b, lane(y)),
                _mm512_add_epi64(c, lane(z)),
            ])
        }
    }

    /// Lane 0 in every lane.
    #[inline(always)]
    fn first(self) -> Limbs {
        let Limbs([a, b, c]) = self;
        // SAFETY: there are Limbs, so there is AVX-512 F.
        unsafe {
            Limbs([
                _mm512_broadcastq_epi64(_mm512_castsi512_si128(a)),
                _mm512_broadcastq_epi64(_mm512_castsi512_si128(b)),
                _mm512_broadcastq_epi64(_mm512_castsi512_si128(c)),
            ])
        }
    }

    /// The sum of all lanes: limbs of 47 bits at the most.
    #[inline(always)]
    fn sum(self) -> [u64; 3] {
        let Limbs([a, b, c]) = self;
        // SAFETY: there are Limbs, so there is AVX-512 F.
        unsafe {
            [
                _mm512_reduce_add_epi64(a) as u64,
                _mm512_reduce_add_epi64(b) as u64,
                _mm512_reduce_add_epi64(c) as u64,
            ]
        }
    }

    /// Eight blocks, each with its 2^128: limbs of 44, 44 and 41 bits.
    #[inline(always)]
    fn load(_: Avx512, blocks: &[u8; EIGHT]) -> Limbs {
        // SAFETY: the token proves AVX-512 F; both loads are of `blocks`, of any alignment.
        unsafe {
            let front = _mm512_loadu_si512(blocks.as_ptr().cast());
            let back = _mm512_loadu_si512(blocks.as_ptr().add(64).cast());
            let low = _mm512_unpacklo_epi64(front, back);
            let high = _mm512_unpackhi_epi64(front, back);
            let mask = _mm512_set1_epi64(MASK44);
            let middle =
                _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
            let top = _mm512_set1_epi64(1 << 40);
            Limbs([
                _mm512_and_si512(low, mask),
                _mm512_and_si512(middle, mask),
                _mm512_or_si512(_mm512_srli_epi64::<24>(high), top),
            ])
        }
    }

    /// self · by + add, lane by lane.
    ///
    /// `self` and `by` are products or blocks, the first block with what was absorbed before it;
    /// `add` is such, too, or zero. So limbs have at most 45, 45 and 43 bits, and twenty times a
    /// limb has 50. Then the sums of low halves have 54 bits, those of high halves 45, `high2` 39
    /// and 5 · 2^10 times it 52, and more IFMA would not take. All that is added to a sum leaves it
    /// below 2^55, and what is carried has 13 bits.
    #[inline(always)]
    fn multiply_add(self, by: &Factor, add: Limbs) -> Limbs {
        let (Limbs([h0, h1, h2]), Limbs([r0, r1, r2])) = (self, by.limbs);
        let (Limbs([m0, m1, m2]), [s1, s2]) = (add, by.twenty);
        // SAFETY: there are Limbs, so there is AVX-512 F and IFMA.
        unsafe {
            let zero = _mm512_setzero_si512();
            let low = |h, r, sum| _mm512_madd52lo_epu64(sum, h, r);
            let high = |h, r, sum| _mm512_madd52hi_epu64(sum, h, r);
            let high2 = high(h2, r0, high(h1, r1, high(h0, r2, zero)));
            let high0 = high(h2, s1, high(h1, s2, high(h0, r0, zero)));
            let high1 = high(h2, s2, high(h1, r0, high(h0, r1, zero)));
            let low0 = low(h2, s1, low(h1, s2, low(h0, r0, m0)));
            let low1 = low(h2, s2, low(h1, r0, low(h0, r1, m1)));
            let low2 = low(h2, r0, low(h1, r1, low(h0, r2, m2)));
            // High halves weigh 2^52: 2^8 in the next limb; above the last, 2^140 ≡ 5 · 2^10.
            let d0 = low(high2, _mm512_set1_epi64(5 << 10), low0);
            let d1 = _mm512_add_epi64(low1, _mm512_slli_epi64::<8>(high0));
            let d2 = _mm512_add_epi64(low2, _mm512_slli_epi64::<8>(high1));
            // Each limb's carry goes to the next, once; the last one's, as 2^130 ≡ 5, to the first.
            let (c0, c1) = (_mm512_srli_epi64::<44>(d0), _mm512_srli_epi64::<44>(d1));
            let c2 = _mm512_srli_epi64::<42>(d2);
            let mask = _mm512_set1_epi64(MASK44);
            Limbs([
                low(c2, _mm512_set1_epi64(5), _mm512_and_si512(d0, mask)),
                _mm512_add_epi64(_mm512_and_si512(d1, mask), c0),
                _mm512_add_epi64(_mm512_and_si512(d2, _mm512_set1_epi64(MASK42)), c1),
            ])
        }
    }
}

impl Factor {
    #[inline(always)]
    fn new(limbs: Limbs) -> Factor {
        let Limbs([_, r1, r2]) = limbs;
        // SAFETY: there are Limbs, so there is AVX-512 F.
        let twenty = unsafe {
            let times = |r| _mm512_add_epi64(_mm512_slli_epi64::<4>(r), _mm512_slli_epi64::<2>(r));
            [times(r1), times(r2)]
        };
        Factor { limbs, twenty }
    }
}

impl Powers {
    #[inline(always)]
    fn new(cpu: Avx512, plain: &Poly1305) -> Powers {
        let zero = Limbs::zero(cpu);
        let [r, square] = plain.powers().map(limbs);
        let (one, two) = (Limbs::splat(cpu, r), Limbs::splat(cpu, square));
        let low = two.or_else(0b0011_0011, one);
        let high = low.multiply_add(&Factor::new(two), zero);
        let four = high.first();
        let low = high.or_else(0b0000_1111, low);
        let high = low.multiply_add(&Factor::new(four), zero);
        let eight = high.first();
        let eighth = Factor::new(eight);
        Powers {
            eighth,
            sixteenth: Factor::new(eight.multiply_add(&eighth, zero)),
            last: Factor::new(high.or_else(0b0101_0101, low)),
        }
    }
}

/// From two words and some bits to limbs.
#[inline(always)]
fn limbs([a, b, c]: [u64; 3]) -> [u64; 3] {
    let mask = MASK44 as u64;
    [a & mask, (a >> 44 | b << 20) & mask, b >> 24 | c << 40]
}

/// And back, from limbs of 47 bits at the most.
#[inline(always)]
fn words([a, b, c]: [u64; 3]) -> [u64; 3] {
    let b = b + (a >> 44);
    let c = c + (b >> 44);
    let mask = MASK44 as u64;
    // 2^130 ≡ 5
    let low = u128::from(a & mask) + u128::from((c >> 42) * 5) + (u128::from(b & mask) << 44);
    let high = (low >> 64) + (u128::from(c & MASK42 as u64) << 24);
    [low as u64, high as u64, (high >> 64) as u64]
}

impl Ifma {
    /// Absorbs blocks eight by eight, as far as that goes; returns the rest.
    ///
    /// Blocks are added to the product, so that the last eight still lack their own powers at the
    /// end. Two sums, since one would wait for itself.
    #[inline(always)]
    fn eights<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let (cpu, powers) = (self.cpu, Powers::new(self.cpu, &self.plain));
        let Some((first, mut text)) = text.split_first_chunk() else { return text };
        let mut h = Limbs::load(cpu, first).add_first(limbs(self.plain.sum()));
        if let Some((second, mut rest)) = text.split_first_chunk() {
            let mut even = Limbs::load(cpu, second);
            while let Some((third, after)) = rest.split_first_chunk() {
                let Some((fourth, after)) = after.split_first_chunk() else { break };
                h = h.multiply_add(&powers.sixteenth, Limbs::load(cpu, third));
                even = even.multiply_add(&powers.sixteenth, Limbs::load(cpu, fourth));
                rest = after;
            }
            h = h.multiply_add(&powers.eighth, even);
            text = rest;
        }
        if let Some((last, rest)) = text.split_first_chunk() {
            h = h.multiply_add(&powers.eighth, Limbs::load(cpu, last));
            text = rest;
        }
        self.plain.start_at(words(h.multiply_add(&powers.last, Limbs::zero(cpu)).sum()));
        text
    }
}

impl Mac<Avx512> for Ifma {
    #[inline(always)]
    fn new(cpu: Avx512, key: &[u8; 32], aad: &[u8]) -> Ifma {
        let mut plain = Poly1305::new(key);
        plain.padded(aad);
        Ifma { cpu, plain }
    }

    const BESIDE: bool = false;

    #[inline(always)]
    fn plain(&mut self) -> &mut Poly1305 {
        &mut self.plain
    }

    #[inline(always)]
    fn finish(mut self, mut rest: &[u8], lengths: [usize; 2]) -> [u8; 16] {
        if rest.len() >= WIDE_FROM {
            rest = self.eights(rest);
        }
        self.plain.padded(rest);
        self.plain.tag(lengths)
    }
}
