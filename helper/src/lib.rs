//! hop-helper and, on a server, hop-helper-server: the only parts of hopbox that run as root; and
//! hop-install, which puts them there.
//!
//! Clients may use `proto`, and nothing else of this crate:
//!
//! - `proto`: one line is one request or reply; strict JSON, codes. Pure.
//! - `core`: a socket, who is at its other end, what they may ask how often, what is written down
//!   about it, and what the process gives up. Knows no device and no name.
//! - `net`: devices, addresses, routes and names, for as long as somebody holds them.
//! - `server`: the firewall of a server, a program of its own: hop-helper-server.
//! - `install`: the program that runs once.
//! - `macos`: what is written for macOS in the place of `net::linux` and others.
//! - `sys`: the system calls; the only unsafe code.
#![deny(unsafe_code)]
// Layers, kinds of access and states of devices that there are on Linux alone.
#![cfg_attr(target_os = "macos", allow(dead_code))]

mod core;
mod install;
#[cfg(any(test, target_os = "macos"))]
mod macos;
mod net;
pub mod proto;
#[cfg(target_os = "linux")]
mod server;
#[allow(unsafe_code)]
mod sys;

pub use install::main as install_main;
/// For the fuzzer.
pub use net::{block, read_request};

/// What people type to install is another program's; everything else is the daemon's.
pub fn helper_main() -> std::process::ExitCode {
    install::sibling::asked("").unwrap_or_else(net::main)
}

/// The same, on a server.
#[cfg(target_os = "linux")]
pub fn server_main() -> std::process::ExitCode {
    install::sibling::asked("-server").unwrap_or_else(server::main)
}
