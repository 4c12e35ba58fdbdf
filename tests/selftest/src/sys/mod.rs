//! What a machine of the test is made of: namespaces and mounts, links between them, and a TUN
//! node. The rest of the operating system is `hopbox::sys`.

pub mod namespace;
pub mod tun_node;
pub mod veth;
