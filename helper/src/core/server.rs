//! What a daemon has while it serves. Must not know: what it does with it.

use crate::core::audit::Audit;
use crate::core::conn::Conn;
use crate::core::limit::Rates;
use crate::core::peer_cred::Caller;
use crate::core::sandbox::Layers;
use serde_json::Value;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Instant;

pub struct Server<S> {
    pub service: S,
    pub config_path: PathBuf,
    /// The network that it is all about.
    pub netns: Option<u64>,
    pub conns: Vec<Conn>,
    /// As many as the service takes on at once.
    pub(super) begun: Vec<Begun>,
    pub started: Instant,
    pub rates: Rates,
    pub audit: Audit,
    /// Of the sandbox, for `daemon.health`.
    pub layers: Layers,
    /// Its program's file, for `daemon.version`.
    pub own_file: Value,
    pub(super) listener: UnixListener,
    pub(super) next_id: u64,
    pub(super) accept_after: Instant,
    pub(super) signals: UnixStream,
    pub(super) look_after: Instant,
    pub(super) look_at_latest: Instant,
}

/// A request that is answered when the service has done it.
pub(super) struct Begun {
    pub who: Caller,
    pub id: String,
    pub op: &'static str,
    pub at: Instant,
    /// It changes something: the audit log is told how it ended.
    pub changes: bool,
}
