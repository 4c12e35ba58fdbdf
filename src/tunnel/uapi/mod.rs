//! How wg(8) and wg-quick(8) configure an interface: `text` (what they say, and the answers) and
//! `listener` (the socket at which they find it).

mod listener;
mod text;

pub use listener::{DIRECTORY, Listener};
pub use text::{describe, parse, refused};
