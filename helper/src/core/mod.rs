//! What any program of root's needs that serves others over a socket.
//! Must not know: devices, names.

mod accept;
pub mod access;
pub mod audit;
pub mod base;
#[cfg(target_os = "linux")]
pub mod bpf;
pub mod conn;
pub mod daemon;
pub mod files;
pub mod limit;
pub mod lockdown;
pub mod operation;
#[cfg(target_os = "linux")]
pub mod paths;
pub mod peer_cred;
pub mod request;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod say;
pub mod serve;
pub mod server;
pub mod service;
pub mod socket;
pub mod start;
pub mod state_file;

#[cfg(target_os = "macos")]
pub use crate::macos::{paths, sandbox};
