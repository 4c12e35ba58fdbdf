//! The crypto wrapper of `src/wg`, alone, so that the cases in `tests/` reach its private items.
#![allow(dead_code)]

#[path = "../../../../src/wg"]
mod wg {
    mod consts;
    pub mod crypto;
}

pub use hopbox_simd as simd;
pub use wg::crypto;
