//! The WireGuard protocol: pure and deterministic.
//!
//! Nothing in this folder opens a socket, reads a clock, starts a thread or asks the operating
//! system for anything. Time ([`Now`]) and randomness ([`Entropy`]) are handed in; datagrams and
//! packets come in as slices and leave through return values and a [`Sink`].
//! Rule ids (`R01`–`R104`) in comments name the rules listed in `RULES.md`.

mod consts;
mod cookie;
mod crypto;
mod deadlines;
mod device;
mod drop;
mod endpoint;
mod index;
mod ip;
mod keys;
mod limiter;
mod local_identities;
mod msg;
mod noise;
mod peer;
mod replay;
mod router;
mod session;
mod shell;
mod staged;
mod tai64n;
mod time;
mod timers;

pub use consts::{
    DATA_MIN_LEN, DEFAULT_MTU, HANDSHAKE_QUEUE, INITIATION_LEN, MAX_OTHER_IDENTITIES, MAX_PEERS,
    MAX_PREFIXES,
};
pub use crypto::cipher;
pub use device::configure::{ConfigError, PeerUpdate};
pub use device::path::Reached;
pub use device::status::PeerStatus;
pub use device::{Device, HEADROOM, Inbound, Outbound, TAILROOM};
pub use drop::Drop;
pub use endpoint::{Arrival, Endpoint, Local};
pub use msg::is_handshake;
pub use noise::public_key;
pub use session::{DataHeader, Opened, Opening, Sealing, open_all, seal_all};
pub use shell::{Entropy, Sink};
pub use time::{Now, Time, Wall};
