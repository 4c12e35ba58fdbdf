//! hop-helper-server: what a server's users need root for and what is no device and no name: the
//! firewall. A program and a unit of its own, since it runs another program, which may hang, and
//! hop-helper runs none.
//!
//! - `daemon`: its start; `host`: what it is; `service`: what it offers, seen from the socket;
//!   `ops`: the table of that.
//! - `firewall`: rules that users have asked for, in a table of our own; `history`: what was asked
//!   for.
//! - `worker`: the process that holds the rights and runs nft(8). The one that reads what users
//!   write has neither.

mod daemon;
mod firewall;
mod history;
mod host;
mod nft;
mod ops;
pub mod paths;
mod service;
mod worker;

pub use daemon::main;
