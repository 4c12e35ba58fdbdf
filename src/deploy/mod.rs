//! Servers, administered over SSH: made ready, upgraded, asked, cleaned.
//!
//! Reading order: `console` (what all of it needs of its caller) → `preflight` (what a server is),
//! `obstacle` (what is in the way) → `remote` (one server, its words and failures) → `root_script`
//! (what root does there), `rollback_guard` (and what puts it back) → `artifacts` (the programs and
//! their way there), `versions` (which of them) → `setup` (the order of its steps), with `options`,
//! `connect`, `numbers`, `proposal`, `local_helper`, `install`, `setup_conflict`, `host_file`,
//! `server_helper`, `provider` (what is in front), `traces`, `verify`, `agent_status`, `opener` and
//! `server_diagnosis` → `upgrade` → `uninstall`. Beside it: `identity` (this laptop's own keys),
//! `ssh_entry` (what its ssh(1) knows of a host), `inventory` (the programs that lie here),
//! `running` (whether those that run there are these).
//!
//! Knows no command line: what it finds is told as values and failures.

mod agent_status;
mod artifacts;
mod connect;
pub mod console;
mod host_file;
mod identity;
mod install;
pub mod inventory;
pub mod local_helper;
mod numbers;
mod obstacle;
pub mod opener;
pub mod options;
mod preflight;
pub mod proposal;
pub mod provider;
pub mod remote;
mod rollback_guard;
mod root_script;
pub mod running;
pub mod server_diagnosis;
mod server_helper;
pub mod setup;
mod setup_conflict;
pub mod ssh_entry;
mod traces;
pub mod uninstall;
pub mod upgrade;
pub mod verify;
mod versions;
