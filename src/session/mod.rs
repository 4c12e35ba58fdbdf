//! One host brought up: the order of the steps, their undoing, and watching over it.
//!
//! Reading order: `limits` (the time budget), `undo` → `up` (the sequence; `resolver` finds the
//! VPS, `readiness` waits for the agent) → `transport` (the ways to it: UDP, and SSH where that
//! does not pass; `path_mtu`: how long packets may be) → `run` (a session from lock to clean-up;
//! `requests`: who may ask something of it) → `supervise` (while it is up) → `monitor`,
//! `health_checks`, `rival`, `state` (whether the agent answers, what is broken, whether another
//! machine has our key, what is remembered) →
//! `recovery`, `sleep`, `source_addrs` (when to look for the VPS again) → `control` (its socket) →
//! `daemon` (the background process, and what `hop up` hears) → `companion` (processes beside it)
//! → `elsewhere`, `in_use` (sessions that cannot be asked), `http_proxy` (programs that are sent
//! to somebody else) → `through`, `ping`, `rotate`, `remote` (over a host that is up) →
//! `userspace` (a tunnel without a device, to a host that is not) → `migration` (two hosts at
//! once) → `ports` (what the server listens at, answered for here) → `bridge` (what its server may
//! have of this laptop) → `diagnose` → `log`.
//! Knows nothing of commands, flags or how a message is printed.

pub mod bridge;
pub mod companion;
pub mod control;
pub mod daemon;
pub mod diagnose;
pub mod elsewhere;
mod health_checks;
pub mod http_proxy;
pub mod in_use;
mod limits;
pub mod log;
pub mod migration;
mod monitor;
pub mod path_mtu;
pub mod ping;
pub mod ports;
mod readiness;
mod recovery;
pub mod remote;
pub mod report;
mod requests;
mod resolver;
mod rival;
pub mod rotate;
pub mod run;
mod sleep;
mod source_addrs;
pub mod state;
pub mod supervise;
pub mod through;
pub mod transport;
mod tunnel_config;
mod undo;
mod unread;
mod up;
pub mod userspace;
