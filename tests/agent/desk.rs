//! What the API is answered from, without a tunnel: one laptop that the agent knows.

use std::net::Ipv4Addr;

use hopbox::agent::config::Peer;
use hopbox::agent::front::backend::{Backend, Caller};
use hopbox::agent::joint::Work;
use hopbox::base::failure::Failure;
use hopbox::base::key;
use hopbox::rpc::types::{PeerView, Status, TunnelMode};
use zeroize::Zeroizing;

pub const LAPTOP: [u8; 32] = [7; 32];

pub struct OneLaptop(pub Work);

fn peer(public_key: [u8; 32], name: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        public_key,
        preshared_key: Some(Zeroizing::new([3; 32])),
        address: Ipv4Addr::new(10, 10, 0, 1),
        token: key::encode(&[4; 32]),
        agent_key: [5; 32],
        replaces: None,
    }
}

impl Backend for OneLaptop {
    fn caller(&self, token: &str, _: Ipv4Addr) -> Option<Caller> {
        (token == super::TOKEN).then_some(Caller::Laptop(LAPTOP))
    }

    fn is_laptop(&self, from: Ipv4Addr) -> bool {
        from == Ipv4Addr::LOCALHOST
    }

    fn is_called(&self, name: &str) -> bool {
        name == "mybox"
    }

    fn work(&self) -> &Work {
        &self.0
    }

    fn tunnel_mode(&self) -> TunnelMode {
        TunnelMode::Kernel
    }

    fn status(&self) -> Status {
        std::thread::sleep(std::time::Duration::from_secs(1));
        Status {
            hop_version: String::new(),
            pid: 1,
            interface: String::new(),
            tunnel_mode: Default::default(),
            agent_address: Ipv4Addr::LOCALHOST,
            listen_port: 0,
            second_port: None,
            api_port: 1,
            public_key: [5; 32],
            heard: true,
            refused_datagrams: 0,
            peers: Vec::new(),
            drops: Default::default(),
            firewall: None,
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        vec![peer(LAPTOP, "laptop").view(None)]
    }

    fn add(&self, public_key: [u8; 32], name: &str) -> Result<(Peer, bool), Failure> {
        Ok((peer(public_key, name), true))
    }

    fn remove(&self, which: &str) -> Result<Peer, Failure> {
        Err(hopbox::agent::no_laptop(which, &["laptop"]))
    }

    fn rotate(&self, old: &[u8; 32], new: [u8; 32]) -> Result<Peer, Failure> {
        assert_eq!(*old, LAPTOP);
        Ok(peer(new, "laptop"))
    }

    fn reload(&self) -> Result<(), Failure> {
        panic!("a laptop cannot ask for this");
    }
}
