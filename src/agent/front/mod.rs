//! What faces the network, in a sandbox: the tunnel's other end and the HTTP API on its address.
//!
//! Reading order: `serve` (start, waiting, end), `inner` (a device, or none), `beside` (what
//! is answered beside a device), `endpoints` (kept
//! over restarts) → `state` (tunnel and laptops) → `api` (what is served over HTTP), `auth` (who
//! may ask), `health` → `dispatch` (method table), `pump` (a run's bytes), `backend` (what methods
//! act on), `control` (the local socket). Without privileges: its TUN device comes from the
//! server's own helper, as on the laptop, and where none may be had the tunnel ends in userspace.
//! What needs a login's rights is `work`'s, another process, which is asked over a local socket
//! (`joint`).

pub mod api;
pub mod auth;
pub mod backend;
pub mod beside;
pub mod control;
pub mod dispatch;
pub mod endpoints;
mod health;
mod inner;
mod port_rule;
mod pump;
pub mod serve;
pub mod state;
