//! A workspace's data moves to another server, from this process to the one there, over a
//! connection that a laptop joins; and its services end here once and start there.
//!
//! Reading order: `wire` (what the two say) → `stamps` (what is known of files from the pass
//! before), `attributes`, `content` → `line` → `outgoing`, `send` (the source) → `staging`,
//! `receive` (the target) → `places`, `room` (what is kept of it) → `pass` (on a connection) →
//! `digest` → `pause` (the source's services) → `target` (what has come takes its place) →
//! `survey` → `methods` (what is asked). Why services do not run here is `held`'s, beside this.
//!
//! Nothing of the source's data is changed, and what the other server says leads nowhere but into a
//! tree of its own workspace, beside the place that it is to take.

mod attributes;
mod content;
mod digest;
mod line;
mod methods;
mod outgoing;
mod pass;
mod pause;
mod places;
mod receive;
mod room;
mod send;
mod staging;
mod stamps;
mod survey;
mod target;
mod wire;

pub use methods::call;
pub use pass::begin;
pub use pause::may_start;

#[cfg(test)]
mod tests;
