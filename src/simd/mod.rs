//! ChaCha20-Poly1305 of one packet with vector instructions: the crate's answer at three to nine
//! times its speed.
//!
//! It knows RFC 8439 alone (in place, the tag apart), nothing else of ours, and no operating
//! system. It is one of the two rooms where `unsafe` may live, and for two things: instructions
//! that a processor may lack, which a token of its features proves to be there, and loads and
//! stores of whole vectors.
//!
//! Constant time: no branch and no index depends on a key, a text or a tag. Lengths are public, and
//! so is whether a tag was right. `tests/ct.sh` and `tests/simd/trace.rs` show it.
//!
//! Cargo features: `simd` (AVX2 and NEON; on by default, without it the crate does everything) and
//! `avx512`, which needs rustc 1.89 and which the Makefile switches on where the compiler has it.
#![allow(unsafe_code)]
// Calls of intrinsics are unsafe up to rustc 1.86 everywhere, later not in functions that have the
// feature themselves, and the same code is to do for both.
#![allow(unused_unsafe)]

/// What is the same for every processor that there is vector code for.
macro_rules! with_vectors {
    ($($item:item)*) => {
        $(#[cfg(all(
            feature = "simd",
            any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))
        ))]
        $item)*
    };
}

with_vectors! {
    mod aead;
    mod chacha20;
    mod poly1305;
    mod stream;
}
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "avx512", target_arch = "x86_64"))]
#[clippy::msrv = "1.89"]
mod avx512;
mod check;
#[cfg(all(feature = "simd", target_arch = "aarch64", target_endian = "little"))]
mod neon;

use std::sync::OnceLock;

/// The sealed bytes did not authenticate.
#[derive(Debug, PartialEq, Eq)]
pub struct Forged;

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

static CHOICE: OnceLock<(Option<Backend>, &'static str)> = OnceLock::new();

/// What is in use and why, in a few words.
pub fn status() -> &'static str {
    CHOICE.get_or_init(choose).1
}

/// Vector code was there and gave wrong answers: the processor, or what compiled it, is broken.
pub fn is_broken() -> bool {
    status().contains("wrong answers")
}

fn choose() -> (Option<Backend>, &'static str) {
    choose_of(&Backend::all(), check::agrees)
}

fn choose_of(
    here: &[Backend],
    agrees: impl Fn(Backend) -> bool,
) -> (Option<Backend>, &'static str) {
    match here.iter().position(|b| agrees(*b)) {
        Some(0) => (Some(here[0]), here[0].name()),
        Some(n) => (Some(here[n]), "not the fastest vector code: that gave wrong answers"),
        None if here.is_empty() => (None, "no vector code for this processor or build"),
        None => (None, "no vector code: it gave wrong answers"),
    }
}

impl Backend {
    /// The fastest one that agrees with the crate; `None` where the crate is to do the work. Looked
    /// for once in a process, in about 0.1 ms.
    pub fn detect() -> Option<Backend> {
        CHOICE.get_or_init(choose).0
    }

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
}

#[cfg(all(
    test,
    feature = "simd",
    any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))
))]
mod tests;
