//! What client and agent say to each other over HTTP: method names and error codes.
//!
//! `client` asks the agent over the connections of
//! `wire`. Nothing here knows how either side does its work; the agent's HTTP server is
//! `agent/http.rs`.

pub mod client;
mod wire;

/// The version of hopbox, the same for client, helper and agent: they are released together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// TCP port of the agent on its tunnel address, unless the host file says otherwise.
pub const API_PORT: u16 = 4200;

/// Largest head (request line and header fields) of a request, in bytes.
pub const HEAD_BYTES: usize = 8 * 1024;

/// Largest body of a request or of an answer that is no stream, in bytes.
pub const BODY_BYTES: usize = 1024 * 1024;

/// Methods of `POST /rpc`. A method that is not here does not exist.
pub mod method {
    pub const AGENT_VERSION: &str = "agent.version";
    pub const AGENT_STATUS: &str = "agent.status";
    pub const PEERS_LIST: &str = "peers.list";
    pub const PEERS_ADD: &str = "peers.add";
    pub const PEERS_REMOVE: &str = "peers.remove";
    pub const KEYS_ROTATE: &str = "keys.rotate";
}

/// The closed set of error codes an agent answers with. A client shows an unknown one as text.
pub mod code {
    pub const BAD_REQUEST: &str = "bad_request";
    pub const UNAUTHORIZED: &str = "unauthorized";
    pub const HOST_REFUSED: &str = "host_refused";
    pub const ORIGIN_REFUSED: &str = "origin_refused";
    pub const NOT_FOUND: &str = "not_found";
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    pub const TIMEOUT: &str = "timeout";
    pub const LENGTH_REQUIRED: &str = "length_required";
    pub const TOO_LARGE: &str = "too_large";
    pub const NOT_IMPLEMENTED: &str = "not_implemented";
    pub const BUSY: &str = "busy";
    pub const UNKNOWN_METHOD: &str = "unknown_method";
    pub const BAD_PARAMS: &str = "bad_params";
    pub const NO_SUCH_PEER: &str = "no_such_peer";
    pub const CONFLICT: &str = "conflict";
    pub const FAILED: &str = "failed";
}
