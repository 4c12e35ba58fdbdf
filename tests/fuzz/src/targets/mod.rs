//! What is fed with bytes from anywhere: one function a target, the same for libFuzzer and for the
//! replay of the corpora. A target panics when a promise is broken; it never judges by time.
//!
//! Reading order: `bytes` (how a target reads its input) → `lab` (devices, one stranger) → the
//! protocol's targets → `plane` (many packets as one), `shield` (what may
//! come in) → the readers of text.

mod bytes;
mod lab;
#[allow(dead_code)] // some of it is for other tests
#[path = "../../../../src/tunnel/test_packets.rs"]
mod test_packets;

mod aead;
mod cookie;
mod device_script;
mod device_wire;
mod msg;
mod router_ops;
mod tun_packet;
mod uapi;

mod plane;
mod shield;

mod agent;
mod agent_http;
mod cli_args;
mod helper_line;
mod hopbox_yaml;
mod host_json;
mod hosts_edit;
mod rpc_json;

pub use aead::aead;
pub use agent_http::agent_http;
pub use cli_args::cli_args;
pub use cookie::cookie;
pub use device_script::device_script;
pub use device_wire::device_wire;
pub use helper_line::helper_line;
pub use hopbox_yaml::hopbox_yaml;
pub use host_json::host_json;
pub use hosts_edit::hosts_edit;
pub use msg::msg;
pub use plane::split_merge;
pub use router_ops::router_ops;
pub use rpc_json::rpc_json;
pub use shield::shield;
pub use tun_packet::tun_packet;
pub use uapi::uapi;
