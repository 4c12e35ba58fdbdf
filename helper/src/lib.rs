//! The wire protocol of hop-helper, shared with its clients.
//!
//! The program itself (everything that runs as root) is the binary of this crate; nothing of it
//! is reachable from here.
#![deny(unsafe_code)]

pub mod proto;
