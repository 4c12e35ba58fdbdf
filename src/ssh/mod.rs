//! The system's own ssh(1): one connection that setup works through, and what is written for it.
//!
//! Reading order: `target` (where to, and with which key) → `run` (one connection, its commands) →
//! `own` (their words among others) → `room` (its directory over there) → `freight` (programs on
//! their way) → `keys` (the host keys that are pinned) → `block` (our lines in a text) → `config`
//! (the text in ~/.ssh/config). Beside it: `right` (how a command there becomes
//! root's), `directives` (what becomes of every option of ssh's),
//! `quote` (data in its lines). No SSH is spoken here: the user's agent, hardware keys, jump hosts
//! and known hosts are ssh's business.

pub mod block;
pub mod config;
pub mod directives;
pub mod fail;
pub mod freight;
pub mod keys;
pub mod own;
pub mod quote;
pub mod right;
pub mod room;
pub mod run;
pub mod script;
pub mod target;
