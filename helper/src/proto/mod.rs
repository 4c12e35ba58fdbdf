//! The wire protocol of root's sockets: one JSON object per line. Shared with the clients.
//!
//! The reader is strict on purpose: duplicate keys, unknown keys, floats in integer places and
//! deep nesting are refused. Pure. Must not know: sockets, users, the kernel, which operations
//! there are.

mod args;
mod error;
mod json;
mod line;

pub use args::{Args, required, valid_device};
pub use error::{Code, OpError};
pub use json::{read_object, read_within};
pub use line::{Rejection, Request, mismatch, parse_request, reply_line, request_line};

/// Version of this protocol; both ends must have the same one.
pub const VERSION: u64 = 1;
/// Longest request line in bytes, newline included.
pub const MAX_REQUEST: usize = 4096;
/// Longest reply line in bytes, newline included.
pub const MAX_REPLY: usize = 65_536;
/// Longest request id in bytes.
pub const MAX_ID: usize = 64;
