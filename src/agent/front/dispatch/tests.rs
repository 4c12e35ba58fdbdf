//! A laptop in the middle of a rotation asks.

use std::net::Ipv4Addr;

use super::*;
use crate::agent::config::Peer;
use crate::agent::joint::Work;
use crate::base::key::{self, KEY_BYTES};
use crate::rpc::types::{PeerView, Status, TunnelMode};
use serde_json::json;

const OLD: [u8; KEY_BYTES] = [10; KEY_BYTES];
const NEW: [u8; KEY_BYTES] = [20; KEY_BYTES];
const OTHER: [u8; KEY_BYTES] = [11; KEY_BYTES];

/// Laptop "a" with both its keys, and laptop "b".
struct Rotating;

fn peer(public_key: [u8; KEY_BYTES], name: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        public_key,
        preshared_key: None,
        address: Ipv4Addr::new(10, 10, 0, 1),
        token: key::encode(&public_key),
        agent_key: [5; KEY_BYTES],
        replaces: None,
    }
}

impl Backend for Rotating {
    fn caller(&self, _: &str, _: Ipv4Addr) -> Option<Caller> {
        None
    }

    fn is_laptop(&self, _: Ipv4Addr) -> bool {
        true
    }

    fn is_called(&self, _: &str) -> bool {
        true
    }

    fn work(&self) -> &Work {
        panic!("nobody asks");
    }

    fn tunnel_mode(&self) -> TunnelMode {
        TunnelMode::Kernel
    }

    fn status(&self) -> Status {
        panic!("nobody asks");
    }

    fn peers(&self) -> Vec<PeerView> {
        vec![peer(OLD, "a").view(Some(&peer(NEW, "a"))), peer(OTHER, "b").view(None)]
    }

    fn add(&self, key: [u8; KEY_BYTES], name: &str) -> Result<(Peer, bool), Failure> {
        Ok((peer(key, name), true))
    }

    fn remove(&self, which: &str) -> Result<Peer, Failure> {
        Ok(peer(OTHER, which))
    }

    fn rotate(&self, _: &[u8; KEY_BYTES], new: [u8; KEY_BYTES]) -> Result<Peer, Failure> {
        Ok(peer(new, "a"))
    }

    fn reload(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn once(own: Caller, body: &str) -> Result<Value, Refusal> {
    match call(&Rotating, own, body) {
        Asked::Once(outcome) => outcome,
        Asked::Stream(..) => panic!("no stream was asked for"),
    }
}

#[test]
fn under_either_key_it_is_the_same_laptop_and_does_not_lock_itself_out() {
    let text = |key: &[u8; KEY_BYTES]| key::encode(key).to_string();
    for own in [OLD, NEW] {
        let own = Caller::Laptop(own);
        let list = once(own, r#"{"method":"peers.list"}"#).ok().unwrap();
        assert_eq!(list["you"], text(&OLD).as_str());
        assert_eq!(list["peers"].as_array().unwrap().len(), 2);
        assert_eq!(list["peers"][0]["next_key"], text(&NEW).as_str());
        for (which, itself) in [("a".to_owned(), true), (text(&OLD), true), (text(&NEW), true)]
            .into_iter()
            .chain([("b".to_owned(), false), (text(&OTHER), false)])
        {
            let request = json!({"method": "peers.remove", "params": {"peer": which}});
            let refusal = once(own, &request.to_string()).err();
            assert_eq!(
                refusal.map(|refusal| refusal.code),
                itself.then_some(Code::Conflict.word())
            );
        }
    }
}

#[test]
fn what_runs_is_told_to_laptops_alone() {
    let ask = |from| once(from, r#"{"method":"agent.running"}"#);
    let told = ask(Caller::Laptop(OLD)).ok().unwrap();
    assert_eq!(told["programs"][0]["name"], "hop-agent");
    let refusal = ask(Caller::Local).err().unwrap();
    assert_eq!(refusal.code, Code::UnknownMethod.word());
}
