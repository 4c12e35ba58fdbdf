//! A router between the peers that translates addresses and forgets.

use std::time::Duration;

use crate::need_root;
use crate::netns::Host;
use crate::tunnel::{Engine, Pair};

/// a behind a router that forgets a UDP mapping after two silent seconds and chooses a new port
/// for the next one; b in the open.
struct Behind {
    pair: Pair,
    router: Host,
}

impl Behind {
    fn new(engine_b: Engine) -> Behind {
        let (a, b, router) = (Host::new("a"), Host::new("b"), Host::new("r"));
        router.join_as("home", &a, "wan");
        router.join_as("net", &b, "wan");
        a.sh("ip addr add 192.168.1.100/24 dev wan; ip route add default via 192.168.1.1");
        b.sh("ip addr add 203.0.113.100/24 dev wan");
        router.sh("ip addr add 192.168.1.1/24 dev home; ip addr add 203.0.113.1/24 dev net; \
             echo 1 >/proc/sys/net/ipv4/ip_forward");
        router.nft(
            "table inet t { counter back {}
             chain post { type nat hook postrouting priority 100; oif net masquerade random; }
             chain pass { type filter hook forward priority 0;
               iif net ct state established,related counter name back accept;
               iif net drop; } }",
        );
        router.sh("echo 2 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout; \
             echo 2 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream");
        let pair = Pair::apart(a, b, [Engine::Hop, engine_b], true);
        pair.a_knows("203.0.113.100:51820");
        Behind { pair, router }
    }

    fn keepalive(&self, seconds: u32) {
        let peer = &self.pair.public_b;
        self.pair.a.sh(&format!("wg set wg0 peer {peer} persistent-keepalive {seconds}"));
    }
}

fn silence() {
    std::thread::sleep(Duration::from_millis(3300));
}

#[test]
fn a_keepalive_keeps_the_way_back_open() {
    // R70 R88; netns 16, E12
    need_root!("a_keepalive_keeps_the_way_back_open");
    for server in [Engine::Hop, Engine::WireguardGo] {
        let behind = Behind::new(server);
        let p = &behind.pair;
        behind.keepalive(1);
        p.a.ping(1, "10.10.0.2");
        p.b.ping(1, "10.10.0.1");
        let seen = p.a_seen();
        assert!(seen.starts_with("203.0.113.1:"), "the router's address: {seen}");
        silence();
        p.b.ping(1, "10.10.0.1");
        assert_eq!(p.a_seen(), seen, "the same mapping still");
    }
}

#[test]
fn a_forgotten_mapping_ends_the_way_back_until_the_client_speaks() {
    // R88, E12: off, and longer than the router remembers; then the next packet makes a new one.
    need_root!("a_forgotten_mapping_ends_the_way_back_until_the_client_speaks");
    let behind = Behind::new(Engine::Hop);
    let p = &behind.pair;
    behind.keepalive(25);
    p.a.ping(1, "10.10.0.2");
    let seen = p.a_seen();
    silence();
    let came = behind.router.counted("back");
    p.b.no_ping("10.10.0.1");
    assert_eq!(behind.router.counted("back"), came, "the router let nothing back");
    p.a.ping(1, "10.10.0.2");
    assert_ne!(p.a_seen(), seen, "a new mapping, followed");
    p.b.ping(1, "10.10.0.1");
}
