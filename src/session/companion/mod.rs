//! Processes beside a session, for what its user may end without ending the tunnel: each is this
//! program again, in a session of its own, and uses the tunnel as any command does.
//!
//! The session starts them, starts them again when they end, and writes what they say into its log.
//! They end with it: at the end of their standard input, which the session holds open, and by the
//! kernel where it is killed.
//!
//! Reading order: `kind` (which there are) → `parent` (the session's side) → `life`, `child`
//! (theirs).

mod child;
mod kind;
mod life;
mod parent;

pub use child::main;
pub use kind::Kind;
pub use life::Life;
pub use parent::Companions;
