//! The kinds of vector code that there are, as one type.

#[cfg(all(feature = "simd", target_arch = "x86_64"))]
use super::avx2;
#[cfg(all(feature = "avx512", target_arch = "x86_64"))]
use super::avx512;
use super::forged::Forged;
#[cfg(all(feature = "simd", target_arch = "aarch64", target_endian = "little"))]
use super::neon;
use super::packet::Packet;

/// One way to seal and open, which this processor has.
#[derive(Clone, Copy)]
pub struct Backend(Kind);

#[derive(Clone, Copy)]
enum Kind {
    #[cfg(all(feature = "avx512", target_arch = "x86_64"))]
    Avx512(avx512::Avx512),
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    Avx2(avx2::Avx2),
    #[cfg(all(feature = "simd", target_arch = "aarch64", target_endian = "little"))]
    Neon(neon::Neon),
}

/// `$call` of whichever it is; without any there is no value to call.
macro_rules! dispatch {
    ($kind:expr, $cpu:ident => $call:expr) => {
        match $kind {
            #[cfg(all(feature = "avx512", target_arch = "x86_64"))]
            Kind::Avx512($cpu) => $call,
            #[cfg(all(feature = "simd", target_arch = "x86_64"))]
            Kind::Avx2($cpu) => $call,
            #[cfg(all(feature = "simd", target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon($cpu) => $call,
        }
    };
}

impl Backend {
    /// All that this processor has, the fastest first, unchecked: for tests and measurements.
    pub fn all() -> Vec<Backend> {
        let found: &[Option<Backend>] = &[
            #[cfg(all(feature = "avx512", target_arch = "x86_64"))]
            avx512::Avx512::detect().map(|token| Backend(Kind::Avx512(token))),
            #[cfg(all(feature = "simd", target_arch = "x86_64"))]
            avx2::Avx2::detect().map(|token| Backend(Kind::Avx2(token))),
            #[cfg(all(feature = "simd", target_arch = "aarch64", target_endian = "little"))]
            neon::Neon::detect().map(|token| Backend(Kind::Neon(token))),
        ];
        found.iter().flatten().copied().collect()
    }

    pub fn name(self) -> &'static str {
        dispatch!(self.0, cpu => cpu.name())
    }

    /// Encrypts `text` in place and returns the tag. A key and a nonce seal one text, ever; texts
    /// are of any length that a datagram can have, and work up to 256 GiB.
    #[inline]
    #[allow(unused_variables)]
    pub fn seal(self, key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        dispatch!(self.0, cpu => cpu.seal(key, nonce, aad, text))
    }

    /// Checks the tag in constant time, then decrypts `text` in place. On [`Forged`] the text is as
    /// it was.
    #[inline]
    #[allow(unused_variables)]
    pub fn open(
        self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Forged> {
        dispatch!(self.0, cpu => cpu.open(key, nonce, aad, text, tag))
    }

    /// Seals packets under one key, each of which is given its tag: quicker than one by one.
    #[inline]
    #[allow(unused_variables)]
    pub fn seal_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        dispatch!(self.0, cpu => cpu.seal_all(key, packets))
    }

    /// Opens packets under one key, as far as they are authentic, which each is told.
    #[inline]
    #[allow(unused_variables)]
    pub fn open_all(self, key: &[u8; 32], packets: &mut [Packet<'_>]) {
        dispatch!(self.0, cpu => cpu.open_all(key, packets))
    }
}
