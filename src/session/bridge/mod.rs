//! What a host's server may have of this laptop while its tunnel is up: clipboard, browser,
//! notices, questions. The server opens no connection: this process, one for each host, asks it
//! what is wanted (`bridge.watch`), judges, acts, and answers.
//!
//! Reading order: `place`, `address` (where an address leads) → `policy`, `policy_file`, `rate`
//! (what is allowed, how often) → `room` (what is shared) → `follow` (what is wanted) → `wishes`
//! (one of them, from its beginning to its answer) → `clipboard`, `opening` with `mirror` and
//! `held`, `notices`, `asking` with `questions`, `browser` with `exits`, all with `programs` and
//! `desktop`; `typed` (a copy by a terminal here) → `journal`, `state` (what is kept and told of
//! it) → `control`, `client` (who asks this process something).
//!
//! All text of the server's is data: no option, no markup, no line of a shell. What it copied or
//! pastes is told nowhere.

pub mod address;
mod asking;
mod browser;
pub mod client;
mod clipboard;
mod control;
mod desktop;
mod exits;
mod follow;
mod held;
pub mod journal;
mod mirror;
mod notices;
mod opening;
mod place;
pub mod policy;
pub mod policy_file;
mod programs;
pub mod questions;
mod rate;
mod room;
pub mod state;
mod typed;
mod wishes;

#[cfg(test)]
mod tests;

pub use control::run;
