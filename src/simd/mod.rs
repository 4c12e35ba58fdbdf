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
    mod burst;
    mod chacha20;
    mod poly1305;
    mod stream;
}
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "avx512", target_arch = "x86_64"))]
#[clippy::msrv = "1.89"]
mod avx512;
mod backend;
mod check;
mod choice;
mod forged;
#[cfg(all(feature = "simd", target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod packet;

pub use backend::Backend;
pub use choice::{is_broken, status};
pub use forged::Forged;
pub use packet::Packet;

#[cfg(all(
    test,
    feature = "simd",
    any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))
))]
mod tests;
