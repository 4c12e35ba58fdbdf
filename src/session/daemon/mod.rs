//! The background process of a session, and what `hop up` hears of it.
//!
//! `hop up` starts this program again in a session of its own, with a pipe as its standard output
//! and the host's log file as its standard error; nothing else is inherited. The child reports its
//! steps through the pipe until it is usable or has failed, then lets go of it.
//!
//! Reading order: `command_line` → `parent` (`side_by_side`: several hosts at a time) → `child`.

mod child;
pub mod command_line;
mod parent;
mod side_by_side;

pub use child::{hide, session};
pub use parent::{Up, down, start, start_all, stop_all};
