//! The command line of `hop`.
//!
//! Reading order: `dispatch` (one command line) → `table` (all commands, from which help, man page
//! and completions come) → `command` (what each of them is) → `parse` (words → table entry and
//! `args`), `meant` (words that are no command) → `out` (what is printed), `page` (its lines),
//! `grid` (its tables), `progress` and `prompt` → `target_host`, `multi_host` (on which hosts) →
//! one file per command. A command parses nothing and owns no protocol.

pub mod args;
mod autostart;
mod bugreport;
mod code;
pub mod command;
mod completions;
mod console;
mod dispatch;
mod doctor;
mod down;
mod grid;
mod help;
mod host;
mod meant;
mod multi_host;
pub mod out;
pub mod page;
pub mod parse;
mod peers;
mod ping;
pub mod progress;
pub mod prompt;
mod rotate;
#[cfg_attr(target_os = "macos", path = "selftest_macos.rs")]
pub mod selftest;
mod setup;
mod status;
mod status_view;
mod table;
mod target_host;
mod typo;
mod uninstall;
mod up;
mod upgrade;
mod version;
mod wg;

pub use dispatch::main;
pub use table::TABLE;
