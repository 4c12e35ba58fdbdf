//! What every room stands on and none owns: how things fail, what texts may be, how files are
//! written. Reading order: `failure`, `exit` → `json`, `yaml`, `field`, `key` (texts → values),
//! `base64`, `hex`, `b2sum`, `command_line` (words → commands) → `file`, `own_program`,
//! `line_socket` → `task`, `address_plan`, `time_text`, `moment`, `locale` and `terminal` (who
//! reads us). Knows no tunnel, host or agent.

pub mod address_plan;
pub mod b2sum;
pub mod base64;
pub mod command_line;
pub mod exit;
pub mod failure;
pub mod field;
pub mod file;
pub mod hex;
pub mod json;
pub mod key;
pub mod line_socket;
pub mod locale;
pub mod moment;
pub mod own_program;
pub mod task;
pub mod terminal;
pub mod time_text;
pub mod yaml;
