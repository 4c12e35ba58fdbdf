//! A host file and its key as the tunnel wants them.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::key::Secret;
use crate::host::config::HostConfig;
use crate::tunnel::{self, PathMtu, PeerConfig};

pub fn tunnel_config(
    host: &HostConfig,
    key: &Secret,
    remotes: &[SocketAddr],
    timestamp_file: PathBuf,
) -> tunnel::Config {
    let peer = PeerConfig {
        public_key: host.public_key,
        preshared_key: host.preshared_key.as_ref().map(|key| **key),
        own_public_key: None,
        inherits: None,
        endpoint: remotes.first().copied(),
        allowed_ips: vec![(host.peer_ip.into(), 32)],
        persistent_keepalive: host.keepalive_s,
    };
    tunnel::Config {
        private_key: **key,
        other_private_keys: Vec::new(),
        listen_port: 0,
        second_port: None,
        peers: vec![peer],
        timestamp_file: Some(timestamp_file),
        shield: None,
        path: PathMtu::Seek { own: host.local_ip, peer: host.peer_ip },
    }
}
