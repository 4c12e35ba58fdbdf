//! The data plane against the real kernel: TUN devices, sockets, wg(8) and wireguard-go, each test
//! in network namespaces of its own. Needs root; prints SKIP and passes otherwise.

// A file of hopbox that is compiled here as it is looks for this at the root.
use hopbox::sys;

#[allow(dead_code)] // some of it is for unit tests
#[path = "../../src/tunnel/test_packets.rs"]
mod test_packets;

mod beside;
mod device;
mod encapsulated;
mod interop;
mod lab;
mod lifecycle;
mod lifecycle_churn;
mod lifecycle_mailbox;
mod lifecycle_storm;
mod neighbour;
mod offload;
mod path_mtu;
mod program;
mod userspace;
