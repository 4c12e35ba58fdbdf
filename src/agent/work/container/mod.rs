//! Services that are containers, through docker or podman, whichever is there. Their keeper starts
//! `hop-agent contain`, which makes the container where there is none of the same, starts it with
//! the engine's client attached, has the engine end it when it is asked to end itself, and ends
//! with its exit status: pipes, log, restarts and giving up are the keeper's, as of every service.
//! The engine is told to start nothing again by itself: an address that comes late would be no more
//! to it than a failure.
//!
//! A container has the name of its unit and says by labels whose it is. One of this name without
//! these labels is somebody else's, and is never touched.
//!
//! Reading order: `engine` (the programs) → `image` → `recipe` (of what a container is made) →
//! `now` (what there is of it) → `contain` (one run) → `address`, `prepare` (before it is started).

pub mod address;
pub mod contain;
pub mod engine;
mod image;
mod now;
mod prepare;
mod recipe;

pub use now::Now;
pub use prepare::Wanted;
pub use recipe::Recipe;
