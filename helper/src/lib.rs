//! The parts of hop-helper that are pure functions: the wire protocol, shared with its clients, and
//! the block of the hosts file, which is fuzzed from here. `reply` is for clients alone.
//!
//! The program itself (everything that runs as root) is the binary of this crate; nothing of it
//! is reachable from here.
#![deny(unsafe_code)]

pub mod block;
pub mod proto;
pub mod reply;
