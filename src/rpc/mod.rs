//! What client and agent say to each other: methods with the types of what they are told and
//! answer, error codes, and the client.
//!
//! Reading order: `code` → `types` (structs to and from JSON) → `method` (names and their types) →
//! `frames` (a run's bytes, both ways) → `client` (asks the agent). Nothing here knows how either
//! side does its work; the agent's side is `agent/front/dispatch.rs`, and how it crosses the wire
//! is `http`.

pub mod client;
pub mod code;
pub mod frames;
pub mod method;
pub mod types;

/// The version of hopbox, the same for client, helper and agent: they are released together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// TCP port of the agent on its tunnel address, unless the host file says otherwise.
pub const API_PORT: u16 = 4200;
