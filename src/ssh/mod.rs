//! The system's own ssh(1): one connection that deployments work through, and what is written for
//! it.
//!
//! Reading order: `target` (where to, and with which key) → `query` (what the user's configuration
//! says to that) → `error` (what ssh's words mean), `words` (who hears them) → `connection` (one of
//! them, and its commands) → `sentinel` (their words among others) → `scratch_dir` (its directory
//! over there) → `upload` (programs on their way) → `known_hosts` (the host keys that are pinned) →
//! `config_block` (our lines in a text) → `config` (the text in ~/.ssh/config). Beside it: `right`
//! (how a command there becomes root's), `script` (how one is read), `datagrams` (a connection of
//! its own, for a tunnel), `directives` (what becomes of every option of ssh's), `quote` (data in
//! its lines). No SSH is spoken here: the user's agent, hardware keys, jump hosts and known hosts
//! are ssh's business.

pub mod config;
mod config_block;
pub mod connection;
mod datagrams;
pub mod directives;
mod error;
pub mod known_hosts;
pub mod query;
pub mod quote;
pub mod right;
pub mod scratch_dir;
pub mod script;
pub mod sentinel;
pub mod target;
pub mod upload;
pub mod words;

pub use datagrams::NOISE_BYTES;
