//! HTTP/1.1 as this project speaks it: one request for each connection, bodies by `Content-Length`
//! alone, streams of lines that end with the connection, and connections that become another
//! protocol's. Anything unusual is refused, not guessed.
//!
//! Reading order: `head` (request line, fields) → `request` (what is refused) → `answer` (bytes) →
//! `slots` (who may have how many connections) → `stream` (lines, as fast as they are read) →
//! `service` (what is served) → `connection` (one of them) → `entrance` (where they come from) →
//! `server` (all) → `client` (the other side).
//!
//! Must not know: paths, methods, tokens, who is served.

pub mod answer;
pub mod client;
mod connection;
pub mod entrance;
pub mod head;
pub mod request;
pub mod server;
pub mod service;
pub mod slots;
pub mod stream;

/// Largest head (first line and header fields), in bytes.
pub const HEAD_BYTES: usize = 8 * 1024;

/// Largest body that is no stream, in bytes.
pub const BODY_BYTES: usize = 1024 * 1024;

/// Longest line of a stream, in bytes: what does not fit into an answer does not fit into a line.
pub const LINE_BYTES: usize = BODY_BYTES;

/// What a request is refused for, whoever it is for.
pub mod code {
    pub const BAD_REQUEST: &str = "bad_request";
    pub const TIMEOUT: &str = "timeout";
    pub const LENGTH_REQUIRED: &str = "length_required";
    pub const TOO_LARGE: &str = "too_large";
    pub const NOT_IMPLEMENTED: &str = "not_implemented";
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    pub const NOT_FOUND: &str = "not_found";
    pub const BUSY: &str = "busy";
}
