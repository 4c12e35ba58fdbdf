//! Mounts that users ask for, below their own home directories: `row` is one, typed, and the file
//! of them; `keep` is the worker's, which writes before it acts, undoes what fails and takes up
//! what a killed one left; `make` is what runs for a moment as a unit of the service manager, in
//! the machine's own mounts, since a mount made inside a sandbox is seen by nobody else.

mod keep;
pub mod make;
mod row;

pub use keep::Mounts;
pub use row::{BIND, TARGET, TMPFS, Wish};
