//! The server's side. Two processes of one program: `front` faces the network in a sandbox,
//! `work` has the login's rights and is asked by `front` alone.
//!
//! Reading order: `table` (what can be typed), `command_line` (who does it), `say` → `location`
//! (where files are), `read_checked` (how they are read), `config` (what they say), `names`,
//! `store` (changes) → `front` → `joint` (where both meet) → `work` → `keeper` (a process for
//! each service) → `firewall` (ports that are open to everybody), `sites` (what nginx answers
//! for), `mounts` (by root), `running` (which programs these are) → `exec`, `install`,
//! `allocate`, `reserve`, `linger`, `moved`, `setup`, `uninstall`, `commands` (what
//! root and the user run by hand or over SSH).

mod allocate;
mod command_line;
mod commands;
pub mod config;
mod datagrams;
mod exec;
mod firewall;
pub mod front;
mod install;
pub mod joint;
pub mod keeper;
mod linger;
mod location;
mod mounts;
mod moved;
mod names;
mod port_owner;
mod read_checked;
mod reserve;
mod running;
mod say;
mod setup;
mod sites;
pub mod store;
mod table;
mod uninstall;
mod url;
pub mod work;

pub use command_line::main;
pub use say::no_laptop;
use say::{io, log, print, print_json, tell};
