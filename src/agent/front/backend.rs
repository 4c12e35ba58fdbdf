//! What the methods act on, and for whom.

use std::net::Ipv4Addr;

use crate::agent::config::Peer;
use crate::agent::joint::Work;
use crate::base::failure::Failure;
use crate::base::key::KEY_BYTES;
use crate::rpc::types::{PeerView, Status, TunnelMode};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Root or the agent's own user, on this machine.
    Local,
    /// The laptop with this public key.
    Laptop([u8; KEY_BYTES]),
}

impl Caller {
    pub fn laptop(self) -> Option<[u8; KEY_BYTES]> {
        match self {
            Caller::Local => None,
            Caller::Laptop(key) => Some(key),
        }
    }
}

/// What the methods act on.
pub trait Backend: Send + Sync {
    /// The laptop that has this token and may use it from this address.
    fn caller(&self, token: &str, from: Ipv4Addr) -> Option<Caller>;
    /// Whether a laptop has this address. This, [`Backend::is_called`] and [`Backend::caller`]
    /// answer at once, whatever else is being done.
    fn is_laptop(&self, from: Ipv4Addr) -> bool;
    /// Whether a laptop calls this server `<name>.hop`.
    fn is_called(&self, name: &str) -> bool;
    /// The process with the login's rights.
    fn work(&self) -> &Work;
    fn tunnel_mode(&self) -> TunnelMode;
    fn status(&self) -> Status;
    fn peers(&self) -> Vec<PeerView>;
    fn add(&self, public_key: [u8; KEY_BYTES], name: &str) -> Result<(Peer, bool), Failure>;
    fn remove(&self, which: &str) -> Result<Peer, Failure>;
    fn rotate(&self, old: &[u8; KEY_BYTES], new: [u8; KEY_BYTES]) -> Result<Peer, Failure>;
    fn reload(&self) -> Result<(), Failure>;
}
