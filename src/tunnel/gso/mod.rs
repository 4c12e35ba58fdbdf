//! Many packets as one: what the kernel and a network card call segmentation and receive offload.
//!
//! `virtio_header` (what one side left for the other to do) → `segment` (one packet from the TUN,
//! cut) with `outer` (a tunnel within the tunnel) → `flow` (what belongs together) → `coalesce`
//! (neighbours put together for the TUN) → `rewrite` (the headers, for both ways) → `checksum`.
//! Knows no descriptor and nothing of the protocol.

pub mod checksum;
mod coalesce;
mod flow;
mod outer;
mod rewrite;
mod segment;
mod virtio_header;

pub use coalesce::Coalescer;
pub use segment::Segments;
pub use virtio_header::{HEADER_LEN, Header, PLAIN};
