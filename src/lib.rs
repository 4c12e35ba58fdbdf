//! hopbox: a developer's own Linux server as part of the laptop.
//!
//! Reading order: `wg` (the protocol, pure) → `tunnel` (the shell that moves bytes) → `helper`
//! (asking root for a device), `netstack` (where there is none), `relay` (bytes between two
//! sockets), `datagrams` (where there is but a stream for them) → `workspace` (what a project's
//! `hopbox.yaml` means) → `host`, `rpc` → `session` (one host brought up) → `agent` (the server
//! side) → `deploy` (servers over SSH) → `cli` (the commands). `base` is what they stand on:
//! failures, files, keys, what single texts mean. `sys` is the only door to the operating system,
//! `simd` the only one to vector instructions, `text` what foreign text goes through before it is
//! seen.
#![deny(unsafe_code)]

pub mod agent;
pub mod base;
pub mod cli;
pub mod cloud;
pub mod datagrams;
pub mod deploy;
pub mod helper;
pub mod host;
pub mod http;
pub mod netstack;
pub mod relay;
pub mod rpc;
pub mod session;
pub mod ssh;
pub mod sys;
pub mod text;
pub mod tunnel;
pub mod workspace;

pub use hopbox_simd as simd;
pub use hopbox_wg as wg;
