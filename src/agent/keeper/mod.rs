//! `hop-agent keep DIR`: one process for each service of a workspace, the main process of that
//! service's unit. It holds the service's pipes, its log and its exit status, starts it again by
//! its policy, and ends it with all that it started. Whoever wants to know reads `state.json` in
//! DIR or asks at `keeper.sock` there; nobody has to be there for a service to go on.
//!
//! It may be killed at any moment. What was started ends with it (the unit's group), and the next
//! one reads `state.json` and goes on: a run that ended with its keeper is told as such.
//!
//! Reading order: `spec` (what it is told) → `process` (which process is meant) → `state` (what it
//! tells) → `policy` (what follows an end) → `group` (everything that was started) → `log` →
//! `reader` (for who wants to see it) → `control` (who asks) → `service` (one run) → `keep` (the
//! loop).
//!
//! A service may be run by another program outside of the unit, as a container is. Its process
//! stands for it then (`spec::Proxy`): that one alone is asked to end, and where it could not see
//! to its end, a command that is in the specification does.
//!
//! Must not know: `work`, `front`, systemd, containers, what a workspace is.

mod control;
pub mod group;
mod keep;
pub mod log;
mod policy;
pub mod process;
pub mod proxy;
pub mod reader;
mod service;
pub mod spec;
pub mod state;

pub use control::{Order, Watch};
pub use keep::keep;

/// In a service's directory.
pub const SPEC: &str = "spec.json";
pub const STATE: &str = "state.json";
pub const LOG: &str = "log";
pub const SOCKET: &str = "keeper.sock";
pub const LOCK: &str = "keeper.lock";
