//! What has the login's rights: a process of its own, with a unit of its own, outside the sandbox
//! of `front`, and in nobody's reach but `front`'s. Services, scripts, logs and packages of a
//! workspace belong here.
//!
//! Reading order: `serve` (the socket, who may ask) → `methods` (what is asked) → `run` (commands).
//!
//! Must not know: the tunnel, HTTP, tokens, keys; it reads no file of `front`'s.

mod methods;
pub mod run;
pub mod serve;
