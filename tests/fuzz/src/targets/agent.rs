//! The agent's API without a tunnel behind it: one laptop, whose token is [`TOKEN`].

pub use hopbox::agent::front::{auth, dispatch};
pub use hopbox::http::request;

use hopbox::agent::config::Peer;
use hopbox::agent::front::backend::{Backend, Caller};
use hopbox::agent::joint::Work;
use hopbox::base::failure::Failure;
use hopbox::base::field::label;
use hopbox::base::key;
use hopbox::rpc::types::{PeerView, Status, TunnelMode};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::LazyLock;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789ABCDEF";
pub const LAPTOP: Caller = Caller::Laptop([7; 32]);

pub struct OneLaptop;

fn peer(public_key: [u8; 32], name: &str) -> Peer {
    assert!(label(name).is_ok(), "{name:?} is no name");
    Peer {
        name: name.to_owned(),
        public_key,
        preshared_key: None,
        address: Ipv4Addr::new(10, 10, 0, 1),
        token: key::encode(&[4; 32]),
        agent_key: [5; 32],
        replaces: None,
    }
}

impl Backend for OneLaptop {
    fn caller(&self, token: &str, _: Ipv4Addr) -> Option<Caller> {
        (token == TOKEN).then_some(LAPTOP)
    }

    fn is_laptop(&self, from: Ipv4Addr) -> bool {
        from == Ipv4Addr::new(10, 10, 0, 1)
    }

    fn is_called(&self, name: &str) -> bool {
        name == "a"
    }

    fn work(&self) -> &Work {
        static NOWHERE: LazyLock<Work> = LazyLock::new(|| Work::at(Path::new("/nowhere")));
        &NOWHERE
    }

    fn tunnel_mode(&self) -> TunnelMode {
        TunnelMode::Kernel
    }

    fn status(&self) -> Status {
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
            heard: false,
            refused_datagrams: 0,
            firewall: None,
            peers: Vec::new(),
            drops: Default::default(),
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        vec![peer([7; 32], "laptop").view(None)]
    }

    fn add(&self, public_key: [u8; 32], name: &str) -> Result<(Peer, bool), Failure> {
        Ok((peer(public_key, name), true))
    }

    fn remove(&self, which: &str) -> Result<Peer, Failure> {
        assert_ne!(which, "laptop", "a laptop removes itself");
        Err(hopbox::agent::no_laptop(which, &["laptop"]))
    }

    fn rotate(&self, old: &[u8; 32], new: [u8; 32]) -> Result<Peer, Failure> {
        assert_eq!(*old, [7; 32], "the keys of another");
        Ok(peer(new, "laptop"))
    }

    fn reload(&self) -> Result<(), Failure> {
        panic!("a laptop had the files read");
    }
}
