//! Tunnel devices, their addresses and routes, and names for them: what hop-helper is for.

pub mod block;
pub mod config;
mod daemon;
mod hosts;
pub mod invited;
pub mod lease;
pub mod link;
#[cfg(target_os = "linux")]
pub mod linux;
mod ops;
pub mod pool;
mod reserve;
mod resolvers;
pub mod state;

use crate::core::request::read_line;
use crate::proto::{Rejection, Request};
pub use daemon::main;
use lease::Leases;

/// What a line asks for, if it can be asked. For the fuzzer and the tests.
pub fn read_request(line: &[u8]) -> Result<Request, Rejection> {
    read_line::<Leases>(line).map(|(request, ..)| request)
}
