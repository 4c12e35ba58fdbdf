//! Snapshots of a workspace's data, and what is put aside before something takes its place.
//!
//! Reading order: `place` (what is kept, and where frozen twins lie) → `owners` (whose it is)
//! → `remove` → `tree` (a twin; what a tree is, as a digest) → `restic` (the program, its
//! repository, its locks) → `listener` (who wants it) → `journal`, `pause` (services end for a
//! moment, and go on whatever happens) → `aside` (what was put aside) → `repository` (a
//! workspace's own in it) → `create`, `look`, `listing` → `plan` → `restore`, which `undo`
//! is, too → `last`, `schedule` (what nobody asks for) → `methods` (what is asked).

pub mod aside;
mod create;
pub mod journal;
mod last;
pub mod listener;
mod listing;
mod look;
mod methods;
pub mod owners;
pub mod pause;
pub mod place;
mod plan;
pub mod remove;
pub mod repository;
pub mod restic;
mod restore;
mod schedule;
pub mod tree;

pub use methods::{call, recover, told};
pub use schedule::{begin, health};
