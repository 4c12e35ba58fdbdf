//! Tunnel devices, their addresses and routes, and names for them: what hop-helper is for.

pub mod block;
pub mod config;
mod daemon;
mod hosts;
pub mod lease;
pub mod link;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod pool;
mod reserve;
pub mod resolvers;
pub mod state;

pub use daemon::{as_root, main, take_back};
