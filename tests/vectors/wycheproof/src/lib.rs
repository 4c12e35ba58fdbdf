//! The crypto wrapper of `src/wg`, alone, so that the cases in `tests/` reach its private items.
#![allow(dead_code)]

#[path = "../../../../src/wg"]
mod wg {
    mod consts;
    pub mod crypto;
}

pub use wg::crypto;
