//! What the laptop keeps about its hosts: where the files are and what they say.
//!
//! Reading order: `paths` (where) → `config` (what a host file says) → `store` (its files) →
//! `autostart`; `workspace` (finds and reads a project's hopbox.yaml), `consent` (to what it says),
//! `migration` (of a workspace to another host).
//! Knows nothing of tunnels, sessions or the agent's API.

pub mod autostart;
pub mod config;
pub mod consent;
pub mod migration;
pub mod paths;
pub mod store;
pub mod workspace;
