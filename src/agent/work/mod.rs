//! What has the login's rights: a process of its own, with a unit of its own, outside the sandbox
//! of `front`, and in nobody's reach but `front`'s. Services, scripts, logs and packages of a
//! workspace belong here.
//!
//! Reading order: `serve` (the socket, who may ask) → `methods` (what is asked), `given` (the same
//! for a laptop's connection), `beat` (whoever waits for it) → `ports` (who listens) → `run`
//! (commands) → `services`, `logs`, `watch` → `state` (files), `mounts` (before a start), `spec`
//! (for keepers), `manager` (systemd), `limits`, `details` (what the kernel says), `cgroup` (where
//! it does), `container` (docker and podman) → `probe` (one look at a service; a command is under a
//! `guard`), `health` (what many tell), `checks` (who looks) → `startup` (several, in order),
//! `starts` (for whom) → `present` (what there is of a workspace), `apply` (it becomes what is
//! wanted), `scripts` (what is run of it) →
//! `bridge` (what programs here want of a laptop),
//! `sandbox` (who listens in network namespaces of the login's own), `server` (the machine),
//! `kept_ports` (numbers for directories) → `held` (why nothing starts) → `snap` (data that is
//! kept), `migration` (data that moves to another server).
//!
//! Must not know: the tunnel, HTTP but for the answer on a connection of its own, tokens, keys; it
//! reads no file of `front`'s.

mod apply;
mod beat;
pub mod bridge;
mod cgroup;
mod checks;
pub mod container;
mod details;
mod given;
pub mod guard;
mod health;
mod held;
pub mod kept_ports;
mod limits;
mod logs;
mod manager;
mod methods;
mod migration;
mod mounts;
pub mod ports;
mod present;
pub mod probe;
mod public;
pub mod run;
pub mod sandbox;
mod scripts;
pub mod serve;
mod server;
mod services;
pub mod snap;
mod spec;
mod starts;
mod startup;
pub mod state;
mod watch;
