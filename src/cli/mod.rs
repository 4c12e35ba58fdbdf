//! The command line of `hop`.
//!
//! Reading order: `dispatch` (one command line) → `table` (all commands, from which help, man page
//! and completions come; `base::command_line` reads it) → `command` (what each of them is given),
//! `meant` (words that are no command) → `out` (what is printed), `page` (its lines), `grid` (its
//! tables), `progress` and `prompt` → `target_host`, `multi_host` (on which hosts), `service_names`
//! (which services), `long_view` (what is shown until the user has enough), `to_end` (what is heard
//! until it is done) → one file per command, `workspace` and `plan_view` for what `up` does of a
//! project, `migration_*` for what `to` does, `ports_view` and `ports_why` for what is said of
//! ports, `running_view` for the programs of servers, `browser` for whoever opens one. A command
//! parses nothing and owns no protocol.

mod autostart;
mod bridge;
mod bridge_view;
mod browser;
mod bugreport;
mod code;
pub mod command;
mod completions;
mod console;
mod detached_runs;
mod dispatch;
mod doctor;
mod doctor_provider;
mod doctor_server;
mod doctor_snap;
mod down;
mod firewall;
mod firewall_backend;
mod firewall_close;
mod firewall_local;
mod grid;
mod help;
mod host;
mod init;
mod logs;
mod long_view;
mod meant;
mod migration_back;
mod migration_look;
mod migration_pass;
mod migration_sides;
mod migration_steps;
mod migration_view;
mod multi_host;
pub mod out;
mod outer;
pub mod page;
mod peers;
mod ping;
mod plan_view;
mod ports;
mod ports_view;
mod ports_why;
pub mod progress;
pub mod prompt;
mod rotate;
mod run;
mod run_outcome;
mod run_wanted;
mod running_view;
mod selftest;
mod service_names;
mod services;
mod services_view;
mod setup;
mod snap;
mod snap_restore;
mod snap_shown;
mod snap_view;
mod status;
mod status_view;
mod table;
mod target_host;
mod to;
mod to_end;
mod uninstall;
mod up;
mod upgrade;
mod version;
mod wait;
mod wg;
mod workspace;

pub use dispatch::main;
pub use table::TABLE;
