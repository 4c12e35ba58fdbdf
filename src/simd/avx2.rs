//! AVX2: eight blocks of ChaCha20 a pass, Poly1305 on the scalar units meanwhile (BMI2's mulx).

use std::arch::x86_64::*;

use super::aead::{self, Cpu};
use super::burst;
use super::chacha20::{Lanes, MOST_LANES, WORK};
use super::forged::Forged;
use super::packet::Packet;
use super::poly1305::{self, Poly1305};

mod rounds;

/// Proof that this processor has AVX2 and BMI2: `detect` is the only way to get one.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Avx2> {
        let here = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
        here.then_some(Avx2(()))
    }

    pub fn name(self) -> &'static str {
        "avx2"
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

impl Avx2 {
    pub fn seal_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        // SAFETY: `self` proves that the features are there.
        unsafe { seal_all(self, key, packets) }
    }

    pub fn open_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        // SAFETY: `self` proves that the features are there.
        unsafe { open_all(self, key, packets) }
    }
}

impl Cpu for Avx2 {
    type Wide = Ymm;
    type Middle = Ymm;
    type Narrow = Ymm;
    type Mac = poly1305::Scalar;
}

// SAFETY: to be called where AVX2 and BMI2 are.
#[target_feature(enable = "avx2,bmi2")]
unsafe fn seal(
    cpu: Avx2,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    aead::seal(cpu, key, nonce, aad, text)
}

// SAFETY: to be called where AVX2 and BMI2 are.
#[target_feature(enable = "avx2,bmi2")]
unsafe fn open(
    cpu: Avx2,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), Forged> {
    aead::open(cpu, key, nonce, aad, text, tag)
}

// SAFETY: to be called where AVX2 and BMI2 are.
#[target_feature(enable = "avx2,bmi2")]
unsafe fn seal_all(cpu: Avx2, key: &[u8; 32], packets: &mut [Packet<'_>]) {
    burst::seal(cpu, key, packets)
}

// SAFETY: to be called where AVX2 and BMI2 are.
#[target_feature(enable = "avx2,bmi2")]
unsafe fn open_all(cpu: Avx2, key: &[u8; 32], packets: &mut [Packet<'_>]) {
    burst::open(cpu, key, packets)
}

/// Eight words. None exists but on a processor with AVX2.
#[derive(Clone, Copy)]
pub struct Ymm(pub(super) __m256i);

impl Ymm {
    /// Eight vectors of one word of eight blocks → eight vectors of eight words of one block.
    #[inline(always)]
    fn transpose8(v: [Ymm; 8]) -> [Ymm; 8] {
        let [Ymm(a), Ymm(b), Ymm(c), Ymm(d), Ymm(e), Ymm(f), Ymm(g), Ymm(h)] = v;
        // SAFETY: there is a Ymm, so there is AVX2.
        unsafe {
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm256_unpacklo_epi32(e, f), _mm256_unpacklo_epi32(g, h));
            let (ab2, cd2) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            let (ef2, gh2) = (_mm256_unpackhi_epi32(e, f), _mm256_unpackhi_epi32(g, h));
            let quads = [
                (_mm256_unpacklo_epi64(ab, cd), _mm256_unpacklo_epi64(ef, gh)),
                (_mm256_unpackhi_epi64(ab, cd), _mm256_unpackhi_epi64(ef, gh)),
                (_mm256_unpacklo_epi64(ab2, cd2), _mm256_unpacklo_epi64(ef2, gh2)),
                (_mm256_unpackhi_epi64(ab2, cd2), _mm256_unpackhi_epi64(ef2, gh2)),
            ];
            [
                Ymm(_mm256_permute2x128_si256::<0x20>(quads[0].0, quads[0].1)),
                Ymm(_mm256_permute2x128_si256::<0x20>(quads[1].0, quads[1].1)),
                Ymm(_mm256_permute2x128_si256::<0x20>(quads[2].0, quads[2].1)),
                Ymm(_mm256_permute2x128_si256::<0x20>(quads[3].0, quads[3].1)),
                Ymm(_mm256_permute2x128_si256::<0x31>(quads[0].0, quads[0].1)),
                Ymm(_mm256_permute2x128_si256::<0x31>(quads[1].0, quads[1].1)),
                Ymm(_mm256_permute2x128_si256::<0x31>(quads[2].0, quads[2].1)),
                Ymm(_mm256_permute2x128_si256::<0x31>(quads[3].0, quads[3].1)),
            ]
        }
    }
}

// SAFETY: 16 vectors of 32 bytes are 8 blocks.
unsafe impl Lanes for Ymm {
    type Cpu = Avx2;
    type Stream = [Ymm; 16];
    const BLOCKS: usize = 8;

    #[inline(always)]
    fn splat(_: Avx2, word: u32) -> Ymm {
        // SAFETY: the token proves AVX2.
        Ymm(unsafe { _mm256_set1_epi32(word as i32) })
    }

    #[inline(always)]
    fn count(cpu: Avx2, first: u32) -> Ymm {
        // SAFETY: the token proves AVX2.
        let lanes = Ymm(unsafe { _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7) });
        Ymm::splat(cpu, first).add(lanes)
    }

    #[inline(always)]
    fn load(_: Avx2, words: &[u32; MOST_LANES]) -> Ymm {
        // SAFETY: the token proves AVX2; there are eight words and more.
        Ymm(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn add(self, other: Ymm) -> Ymm {
        // SAFETY: there is a Ymm, so there is AVX2.
        Ymm(unsafe { _mm256_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn double_rounds(_: Avx2, v: &mut [Ymm; 16], count: usize) {
        // SAFETY: there is a Ymm, so there is AVX2.
        unsafe { rounds::alone(v, count) }
    }

    #[inline(always)]
    fn double_rounds_beside(_: Avx2, v: &mut [Ymm; 16], mac: &mut Poly1305, text: &[[u8; WORK]]) {
        // SAFETY: the token proves AVX2 and BMI2.
        unsafe { rounds::beside(v, mac, text) }
    }

    #[inline(always)]
    fn transpose(words: [Ymm; 16]) -> [Ymm; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = words;
        let [a, b, c, d, e, f, g, h] = Ymm::transpose8([a, b, c, d, e, f, g, h]);
        let [i, j, k, l, m, n, o, p] = Ymm::transpose8([i, j, k, l, m, n, o, p]);
        [a, i, b, j, c, k, d, l, e, m, f, n, g, o, h, p]
    }
}
