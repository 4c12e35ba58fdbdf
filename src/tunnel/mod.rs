//! The shell that moves bytes: a `wg::Device` on a thread of its own, between a TUN and UDP.
//!
//! Files that a packet's bytes pass, in their order. `tests/tidy.rs` counts them: 15 each way at
//! most.
//!
//! - TUN to wire: `outbound`, `io/tun`, `gso/virtio_header`, `gso/checksum`, `gso/segment`,
//!   `gso/rewrite`, `wg/device`, `wg/ip`, `wg/peer`, `wg/session`, `wg/crypto` (and `simd`),
//!   `shield/headers`, `queue/send_queue`, `io/udp`, `sys/mmsg`.
//! - Wire to TUN: `inbound`, `io/udp`, `sys/mmsg`, `queue/recv_buffer`, `wg/session`, `wg/device`,
//!   `wg/peer`, `wg/crypto` (and `simd`), `wg/ip`, `shield/headers`, `gso/coalesce`, `gso/flow`,
//!   `gso/checksum`, `gso/rewrite`, `io/tun`.
//!
//! Beside the way stands what is asked with an address, an index, a counter or a moment: `run`
//! (the loop, whose turn it is), `read_policy` (whether to look for more), `wg/router` (whose
//! address), `wg/index` and `wg/keys` (whose session), `wg/replay`, `wg/timers`,
//! `wg/local_identities` (whether a peer takes over from its last key), `io/source_addrs` (from
//! which address of ours), and `shield`, where there is one (what was sent, and whether what comes
//! in answers it). On more than two cores whole queues and buffers go through
//! `crypto_workers`; `path` knows how long a packet to a peer may be, and cuts what is longer and
//! no TCP's; a rare packet of a tunnel within the tunnel is cut with `gso/outer`, a
//! handshake waits in `queue/handshake_queue`, what the device sends on its own goes through
//! `io/sink`, and packets of which another than the TUN wants some are shown to it by `io/aside`.
//!
//! The rest: `handle` (other threads' side) → `mailbox`, `stats` (between the two) → `config`,
//! `request` (what to be) → `link`, `clock`, `entropy`, `timestamp_file` (what the system tells and
//! keeps) → `uapi` (configuration as text) → `wg_command` (`hop wg`).
//!
//! Nothing here knows hosts, sessions or the helper: the TUN comes as a descriptor.

mod clock;
mod config;
mod crypto_workers;
mod entropy;
mod gso;
mod handle;
mod inbound;
mod io;
mod link;
mod mailbox;
mod outbound;
mod packet_io;
mod path;
mod queue;
mod read_policy;
mod request;
mod run;
mod shield;
// Not in `shield`, which the fuzz targets compile, too.
#[cfg(test)]
mod shield_tests;
mod stats;
#[cfg(test)]
mod test_packets;
mod timestamp_file;
mod uapi;
pub mod wg_command;

pub use crate::sys::ioctl::Offload;
pub use crate::wg::{Wall, public_key};
pub use config::{Config, PeerConfig};
pub use entropy::generate_key;
pub use handle::{STOPS_WITHIN, Tunnel, start, start_beside, start_plain, start_with_workers};
pub use io::{Beside, Takes, TunDevice};
pub use path::{PathMtu, PathState};
pub use request::Request;
pub use run::Stopped;
pub use shield::Shielded;
pub use stats::{PeerState, Status};
