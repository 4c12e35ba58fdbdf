//! Datagrams over a pair of byte streams, such as those of a command that ssh(1) runs elsewhere:
//! what goes into a UDP socket of this machine at one end comes out of one at the other.
//!
//! A stream keeps everything and everything's order, which is what datagrams must not have: behind
//! one that was lost all others wait, and what a sender has too much of waits in the buffers of
//! ssh(1), of sshd(8) and of two kernels, for seconds. So what is under way is bounded by what the
//! other end says that it took (`window`), and what has no room there waits here, where the kernel
//! of the tunnel's flows hears of it soon: it is marked, or lost from the head (`queue`).
//!
//! Reading order: `frame` (bytes) → `queue`, `window` → `flow` (one end; asks no clock) → `carry`
//! (its descriptors, one poll(2)).
//!
//! Must not know: what is carried, and what carries it. Bounds: of what waits 4 MiB and 250 ms, of
//! what is under way 4 MiB, of what was read 160 KiB. Nobody wakes up while nothing is carried, but
//! for a beat.

mod carry;
mod flow;
mod frame;
mod queue;
mod window;

pub use carry::{Carrier, Ended, Side, Words};
pub use frame::{Bad, HELLO};
pub use queue::Counts;
