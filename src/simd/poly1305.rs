//! Poly1305 (RFC 8439 §2.5) by 64-bit multiplication, block after block, in constant time.
//!
//! Needs no special processor. It knows nothing of ChaCha20 or packets.

pub const BLOCK_LEN: usize = 16;

/// What a one-time authenticator of a backend must do. Associated data and texts are followed by
/// zeros up to a block's border, and all by the block of lengths, as the AEAD has it.
pub trait Mac<Cpu>: Clone {
    /// Absorbs the associated data, too; there rarely is any.
    fn new(cpu: Cpu, key: &[u8; 32], aad: &[u8]) -> Self;
    /// Whether a text is worth being absorbed block by block, beside something else.
    const BESIDE: bool;
    /// What absorbs it.
    fn plain(&mut self) -> &mut Poly1305;
    /// Absorbs the rest of the text and returns the tag. The lengths are those of the associated
    /// data and of the whole text.
    fn finish(self, rest: &[u8], lengths: [usize; 2]) -> [u8; 16];
}

/// The accumulator `h` of 2^130 − 5, not fully reduced between blocks, and the key.
#[derive(Clone)]
pub struct Poly1305 {
    pub(super) h: [u64; 3],
    pub(super) r: [u64; 2],
    /// r₁ · 5/4, a whole number because r₁ is clamped: 2^128 · r₁ ≡ s.
    pub(super) s: u64,
    pad: [u64; 2],
}

impl Poly1305 {
    #[inline(always)]
    pub fn new(key: &[u8; 32]) -> Poly1305 {
        let word = |i: usize| {
            u64::from_le_bytes(std::array::from_fn(
                #[inline(always)]
                |j| key[8 * i + j],
            ))
        };
        let r = [word(0) & 0x0fff_fffc_0fff_ffff, word(1) & 0x0fff_fffc_0fff_fffc];
        Poly1305 { h: [0; 3], r, s: r[1] + (r[1] >> 2), pad: [word(2), word(3)] }
    }

    /// h = (h + block + 2^128) · r
    #[inline(always)]
    pub fn block(&mut self, block: &[u8; 16]) {
        let m = u128::from_le_bytes(*block);
        self.add(m as u64, (m >> 64) as u64, 1);
        self.multiply();
    }

    /// r and r², in words; the square not fully reduced.
    #[cfg(all(feature = "avx512", target_arch = "x86_64"))]
    #[inline(always)]
    pub fn powers(&self) -> [[u64; 3]; 2] {
        let r = [self.r[0], self.r[1], 0];
        let mut square = Poly1305 { h: r, r: self.r, s: self.s, pad: [0; 2] };
        square.multiply();
        [r, square.h]
    }

    /// What has been absorbed so far; h₂ ≤ 4.
    #[cfg(all(feature = "avx512", target_arch = "x86_64"))]
    #[inline(always)]
    pub fn sum(&self) -> [u64; 3] {
        self.h
    }

    /// Goes on where another way to compute has come to; h₂ ≤ 4.
    #[cfg(all(feature = "avx512", target_arch = "x86_64"))]
    #[inline(always)]
    pub fn start_at(&mut self, h: [u64; 3]) {
        self.h = h;
    }

    /// Whole blocks, then zeros up to the border.
    #[inline(always)]
    pub fn padded(&mut self, text: &[u8]) {
        let mut blocks = text.chunks_exact(BLOCK_LEN);
        for block in &mut blocks {
            // A chunk of 16 bytes always is one.
            if let Some(block) = block.first_chunk() {
                self.block(block);
            }
        }
        let rest = blocks.remainder();
        if rest.is_empty() {
            return;
        }
        let last = match text.last_chunk() {
            // The end of the text with the bytes before it shifted out.
            Some(end) => u128::from_le_bytes(*end) >> (8 * (BLOCK_LEN - rest.len())),
            None => rest.iter().rev().fold(0, |block, byte| block << 8 | u128::from(*byte)),
        };
        self.block(&last.to_le_bytes());
    }

    /// The block of lengths, the full reduction, and the pad.
    #[inline(always)]
    pub fn tag(mut self, [aad_len, text_len]: [usize; 2]) -> [u8; 16] {
        self.add(aad_len as u64, text_len as u64, 1);
        self.multiply();
        let [h0, h1, h2] = self.h;
        // h − p = h + 5 − 2^130; taken where that is not negative, by a mask.
        let (g0, c) = h0.overflowing_add(5);
        let (g1, c) = h1.overflowing_add(u64::from(c));
        let g2 = h2 + u64::from(c);
        let take = 0u64.wrapping_sub(g2 >> 2);
        let low = (h0 & !take) | (g0 & take);
        let high = (h1 & !take) | (g1 & take);
        let sum = (u128::from(high) << 64 | u128::from(low))
            .wrapping_add(u128::from(self.pad[1]) << 64 | u128::from(self.pad[0]));
        sum.to_le_bytes()
    }

    #[inline(always)]
    fn add(&mut self, low: u64, high: u64, top: u64) {
        let h0 = u128::from(self.h[0]) + u128::from(low);
        let h1 = u128::from(self.h[1]) + u128::from(high) + (h0 >> 64);
        self.h = [h0 as u64, h1 as u64, self.h[2] + top + (h1 >> 64) as u64];
    }

    /// h · r, reduced to a little over 130 bits: h₂ ≤ 4 after it, and no product here overflows,
    /// because r₀, r₁ < 2^60, s < 1.25 · 2^60 and h₂ ≤ 6.
    #[inline(always)]
    fn multiply(&mut self) {
        let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let ([h0, h1, h2], [r0, r1], s) = (self.h, self.r, self.s);
        let d0 = wide(h0, r0) + wide(h1, s);
        let d1 = wide(h0, r1) + wide(h1, r0) + u128::from(h2 * s) + (d0 >> 64);
        let d2 = h2 * r0 + (d1 >> 64) as u64;
        // 2^130 ≡ 5: (d2 >> 2) · 5, where d2 & !3 is four of the five.
        let fold = (d2 & !3) + (d2 >> 2);
        let h0 = u128::from(d0 as u64) + u128::from(fold);
        let h1 = u128::from(d1 as u64) + (h0 >> 64);
        self.h = [h0 as u64, h1 as u64, (d2 & 3) + (h1 >> 64) as u64];
    }
}

/// The plain authenticator as a backend's.
#[derive(Clone)]
pub struct Scalar(Poly1305);

impl<Cpu> Mac<Cpu> for Scalar {
    #[inline(always)]
    fn new(_: Cpu, key: &[u8; 32], aad: &[u8]) -> Scalar {
        let mut plain = Poly1305::new(key);
        plain.padded(aad);
        Scalar(plain)
    }

    const BESIDE: bool = true;

    #[inline(always)]
    fn plain(&mut self) -> &mut Poly1305 {
        &mut self.0
    }

    #[inline(always)]
    fn finish(mut self, rest: &[u8], lengths: [usize; 2]) -> [u8; 16] {
        self.0.padded(rest);
        self.0.tag(lengths)
    }
}
