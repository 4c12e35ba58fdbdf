//! Ports of the server, as this laptop has them: what listens there answers here, at the same
//! number of 127.0.0.1 and ::1 where nobody here has it, else at the next free one above. By a
//! process of its own (`companion`), so that whoever ends what listens at a port here does not end
//! the tunnel.
//!
//! Reading order: `view` (what is told of each) → `client` (who asks), `probe` (whether a program
//! there takes connections) → `ledger` (what is remembered) → `door` (listening here) → `choice`
//! (at which number) → `map` (which ports are where) → `connect` (one connection) → `watch` (what
//! the server says) → `control` (the socket) → `mirror` (the loop).
//!
//! Bounds: 1024 ports that have a number here; one that nobody listens at any more keeps it for ten
//! minutes, or until there is no room, 256 of those at a time, and its entry of the ledger, which
//! has as many.

mod choice;
pub mod client;
mod connect;
mod control;
mod door;
mod ledger;
mod map;
mod mirror;
pub mod probe;
pub mod view;
mod watch;

pub use map::DOORS;
pub use mirror::run;
