//! A change of the configuration as a value, whatever it was made from.

use crate::wg::PeerUpdate;
use zeroize::Zeroize;

/// What is `None` stays as it is. Wiped on drop.
#[derive(Default)]
pub struct Request {
    /// All zero clears the key.
    pub private_key: Option<[u8; 32]>,
    /// All keys that peers may be bound to besides.
    pub other_private_keys: Option<Vec<[u8; 32]>>,
    pub listen_port: Option<u16>,
    pub fwmark: Option<u32>,
    pub replace_peers: bool,
    pub peers: Vec<PeerUpdate>,
}

impl Drop for Request {
    fn drop(&mut self) {
        // The peers' keys wipe themselves.
        self.private_key.zeroize();
        self.other_private_keys.zeroize();
    }
}
