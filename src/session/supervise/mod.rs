//! While a host is up.
//!
//! Reading order: `supervisor` (the loop) → `agent_health` (whether the agent answers) → `recover`
//! (the way to the VPS) → `status` (what is told to who asks).

mod agent_health;
mod recover;
mod status;
mod supervisor;

pub use supervisor::{End, Supervisor};
