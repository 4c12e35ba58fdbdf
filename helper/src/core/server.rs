//! What a daemon has while it serves. Must not know: what it does with it.

use crate::core::audit::Audit;
use crate::core::conn::Conn;
use crate::core::limit::Rates;
use crate::core::sandbox::Layers;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Instant;

pub struct Server<S> {
    pub service: S,
    pub config_path: PathBuf,
    /// The network that it is all about.
    pub netns: Option<u64>,
    pub conns: Vec<Conn>,
    pub started: Instant,
    pub rates: Rates,
    pub audit: Audit,
    /// Of the sandbox, for `daemon.health`.
    pub layers: Layers,
    pub(super) listener: UnixListener,
    pub(super) next_id: u64,
    pub(super) accept_after: Instant,
    pub(super) signals: UnixStream,
    pub(super) look_after: Instant,
    pub(super) look_at_latest: Instant,
}
