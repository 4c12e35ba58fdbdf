//! The crypto wrapper of `src/wg`, alone, so that the cases in `tests/` reach its private items.
#![allow(dead_code)]

#[path = "../../../../src/wg/consts.rs"]
mod consts;
#[path = "../../../../src/wg/crypto.rs"]
pub mod crypto;
