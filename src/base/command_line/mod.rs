//! Command lines of our programs: one table a program says what can be typed, and the same code
//! reads it for all. Reading order: `table` → `args` → `parse` → `typo`.

mod args;
mod parse;
mod table;
mod typo;

pub use args::Args;
pub use parse::{Asked, parse};
pub use table::{Command, Flag, Group, MANY, Noun, Table, Takes};
pub use typo::closest;
