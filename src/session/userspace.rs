//! A host's tunnel within this process: WireGuard, and TCP/IP of our own (`netstack`) where else
//! there is a device. It takes no rights, and nothing on this machine changes: no interface, no
//! route, no name. For a question to a host that is not up here.
//!
//! Nobody is let in: a connection from the other side is refused. Whoever opens it has the host's
//! key in use (`in_use`): the server keeps one session for a key.
//!
//! Bounds: those of `netstack`; 64 connections of at most 2 MiB each, and of what their two ends
//! hold in the kernel.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use super::tunnel_config::tunnel_config;
use crate::base::key::Secret;
use crate::host::config::HostConfig;
use crate::netstack::door::Closed;
use crate::netstack::{self, BEGUN_BYTES, Connector, Netstack, Own, Settings};
use crate::rpc::client::{Client, Way};
use crate::sys::{packet_pair, random};
use crate::tunnel::{self, TunDevice, Tunnel};

/// What stands where an interface has its name.
const NO_INTERFACE: &str = "userspace";

/// It ends when it is dropped, within [`tunnel::STOPS_WITHIN`].
pub struct Userspace {
    // Dropped first: what is still to be said goes out.
    stack: Netstack,
    tunnel: Tunnel,
}

/// With a server that is at one of `remotes`. Errors: no socket, thread or memory to be had.
pub fn open(
    host: &HostConfig,
    key: &Secret,
    remotes: &[SocketAddr],
    timestamp_file: PathBuf,
) -> io::Result<Userspace> {
    let mut config = tunnel_config(host, key, remotes, timestamp_file);
    for peer in &mut config.peers {
        // The first keepalive is due at once and asks for the handshake.
        peer.persistent_keepalive = peer.persistent_keepalive.max(1);
    }
    let (ours, theirs) = packet_pair()?;
    let mut seed = [0; 8];
    random::fill(&mut seed)?;
    let settings = Settings {
        own: Own { v4: Some(host.local_ip), v6: None },
        mtu: host.mtu,
        seed: u64::from_ne_bytes(seed),
        buffer_bytes: BEGUN_BYTES,
    };
    let stack = netstack::start(ours, &settings, Box::new(Closed))?;
    let name = NO_INTERFACE.to_owned();
    let device = TunDevice { fd: theirs, name, mtu: host.mtu, vnet_hdr: false };
    let tunnel = tunnel::start(device, &config)?;
    if remotes.len() > 1 {
        tunnel.reconnect(host.public_key, remotes);
    }
    Ok(Userspace { stack, tunnel })
}

impl Userspace {
    pub fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    /// Begins connections to the server, as long as the tunnel is there.
    pub fn connector(&self) -> Connector {
        self.stack.connector()
    }

    /// For questions with this laptop's token: nobody but the agent has this tunnel's other end.
    pub fn client(&self, host: &HostConfig) -> Client {
        let way = Box::new(self.connector());
        Client::by_way(way, host.peer_ip, host.api_port, &host.token)
    }
}

impl Way for Connector {
    fn connect(&self, to: SocketAddrV4, limit: Duration) -> io::Result<TcpStream> {
        Connector::connect(self, to.into(), limit)
    }
}
