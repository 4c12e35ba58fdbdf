//! Carries bytes between two stream sockets each, TCP or unix: every way ends on its own, as TCP's
//! do; a reset is passed on at once; what one side does not take is not read from the other.
//!
//! Reading order: `order` (what is carried) → `connection` → `lane` (one thread and its poll) →
//! `carrier` (all of them).
//!
//! Bounds: 64 threads of 256 connections; of each way 256 KiB that were read and not yet taken, of
//! one that is idle nothing. Nobody wakes up while nothing happens. A connection lasts as long as
//! its ends want it.
//!
//! Must not know: what is carried, who asked for it, and what is said before (`Opening`).

mod carrier;
mod connection;
mod lane;
mod order;
#[cfg(test)]
mod tests;

pub use carrier::{Lazy, Relay};
pub use order::{Carried, Done, Ended, Heard, Opening, Order, Tally};
