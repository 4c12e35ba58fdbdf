//! hop-helper-server: what a server's users need root for and what is no device and no name: the
//! firewall, limits and mounts. A program and a unit of its own, since it runs others, which may
//! hang, and hop-helper runs none.
//!
//! - `daemon`: its start; `host`: what it is; `service`: what it offers, seen from the socket;
//!   `ops`: the table of that.
//! - `rows`: what the files of what users have asked for have in common.
//! - `firewall`: rules that users have asked for, in a table of our own; `history`: what was asked
//!   for.
//! - `queue`: what waits for its turn.
//! - `worker`: processes that may do what the one that reads what users write may not; `program`:
//!   how they run others. `nft` is the one that holds the rights and runs nft(8); `errands` the one
//!   that asks the service manager, by `manager`, for what `cgroup` and `mount` make.

mod cgroup;
mod daemon;
mod errands;
mod firewall;
mod history;
mod host;
mod manager;
mod mount;
mod nft;
mod nginx;
mod ops;
pub mod paths;
pub mod program;
mod queue;
mod rows;
mod service;
mod worker;

pub use daemon::main;
pub use mount::make::end_all as unmount_all;
