//! Tunnels inside tunnels, and tunnels that lead into themselves.

use crate::need_root;
use crate::netns::{Host, Running};
use crate::traffic::tcp;
use crate::tunnel::{Engine, Pair, file, keys, start_as, transfer};

/// wg1 on both hosts of a pair, whose datagrams go through its wg0: 10.11.0.1 and 10.11.0.2.
struct Nested {
    pair: Pair,
    _engines: [Running; 2],
}

impl Nested {
    fn new(engine_b: Engine) -> Nested {
        let pair = Pair::of_hop();
        let engines = [start_as(&pair.a, Engine::Hop, "wg1"), start_as(&pair.b, engine_b, "wg1")];
        let (one, two) = (keys(&pair.a), keys(&pair.b));
        for (host, (private, _), (_, peer), n, m) in
            [(&pair.a, &one, &two, 1, 2), (&pair.b, &two, &one, 2, 1)]
        {
            host.sh(&format!(
                "wg set wg1 listen-port 5 private-key {} peer {peer} endpoint [fd10::{m}]:5 \
                 allowed-ips 10.11.0.{m}/32,fd11::{m}/128 && \
                 ip addr add 10.11.0.{n}/24 dev wg1 && ip addr add fd11::{n}/64 dev wg1 nodad && \
                 ip link set wg1 mtu 1340 up",
                file(host, private)
            ));
        }
        Nested { pair, _engines: engines }
    }
}

#[test]
fn a_tunnel_runs_inside_a_tunnel() {
    // netns 14; R84: 1340 + 80 fits into 1420 exactly.
    need_root!("a_tunnel_runs_inside_a_tunnel");
    for engine in [Engine::Hop, Engine::WireguardGo] {
        let n = Nested::new(engine);
        n.pair.a.sh("ping -q -c 10 -f -W 2 10.11.0.2");
        n.pair.b.sh("ping -q -c 10 -f -W 2 fd11::1");
        n.pair.a.sh("ping -n -c 1 -W 2 -M do -s 1312 10.11.0.2");
        tcp(&n.pair.a, &n.pair.b, "10.11.0.2", 2 << 20);
        tcp(&n.pair.b, &n.pair.a, "[fd11::1]", 2 << 20);
    }
}

#[test]
fn a_ring_of_two_tunnels_can_be_broken() {
    // netns 15. The kernel drops what has grown past an interface's MTU; a program that sends by a
    // plain socket gets fragments instead (R84), and neither of the two can know of the other. So
    // the ring turns until somebody breaks it: what must hold is that it can be broken at once.
    need_root!("a_ring_of_two_tunnels_can_be_broken");
    let (a, b, c) = (Host::new("a"), Host::new("b"), Host::new("c"));
    c.join(&b);
    c.sh("ip addr add 198.51.100.1/24 dev wan");
    b.sh("ip addr add 198.51.100.2/24 dev wan");
    let _engines = [
        start_as(&c, Engine::Hop, "wg0"),
        start_as(&a, Engine::Hop, "wg1"),
        start_as(&b, Engine::Hop, "wg0"),
        start_as(&b, Engine::Hop, "wg1"),
    ];
    let configure = |host: &Host, link: &str, key: &str, peer: &str, rest: &str| {
        let key = file(host, key);
        host.sh(&format!(
            "wg set {link} listen-port 5{} private-key {key} peer {peer} {rest}",
            &link[2..]
        ));
    };
    for (near, link, net, endpoint) in
        [(&c, "wg0", "10.10.0", "198.51.100.2:50"), (&a, "wg1", "10.11.0", "10.10.0.2:51")]
    {
        let (one, two) = (keys(&b), keys(&b));
        let there = format!("allowed-ips {net}.2/32 endpoint {endpoint}");
        configure(near, link, &one.0, &two.1, &there);
        configure(&b, link, &two.0, &one.1, &format!("allowed-ips {net}.1/32"));
        b.sh(&format!("ip addr add {net}.2/24 dev {link}; ip link set {link} up"));
    }
    // wg0 in a with its datagrams in c, wg1 in c with its datagrams in a.
    c.move_link("wg0", &a);
    a.sh("ip addr add 10.10.0.1/24 dev wg0; ip link set wg0 up");
    a.move_link("wg1", &c);
    c.sh("ip addr add 10.11.0.1/24 dev wg1; ip link set wg1 mtu 1340 up");
    c.sh("ping -n -c 1 -W 7 10.11.0.2");
    let peer = c.sh("wg show wg0 peers").trim().to_string();
    b.sh("ip link del wg0; ip link del wg1");
    let [_, before] = transfer(&a, "wg1");
    c.sh(&format!("wg set wg0 peer {peer} endpoint 10.11.0.2:7"));
    assert!(c.try_sh("ping -c 10 -f -W 1 10.11.0.2").is_err());
    let [_, after] = transfer(&a, "wg1");
    println!("the ring sent {} bytes within a second", after - before);
    c.sh(&format!("wg set wg0 peer {peer} endpoint 198.51.100.2:50; sleep 0.2"));
    let [_, still] = transfer(&a, "wg1");
    a.sh("sleep 0.3");
    assert_eq!(transfer(&a, "wg1")[1], still, "it stands still");
}

#[test]
fn a_tunnel_whose_endpoint_lies_within_it_does_not_feed_itself() {
    // netns 15, for one interface: with a session that lives, and with packets that fragment.
    need_root!("a_tunnel_whose_endpoint_lies_within_it_does_not_feed_itself");
    for endpoint in ["10.10.0.2:51820", "[fd10::2]:51820"] {
        let p = Pair::of_hop();
        p.a.ping(1, "10.10.0.2");
        p.a_knows(endpoint);
        let [_, before] = transfer(&p.a, "wg0");
        assert!(p.a.try_sh("ping -q -c 10 -i 0.02 -W 1 10.10.0.2").is_err());
        assert!(p.a.try_sh("ping -q -c 5 -i 0.02 -s 1392 -W 1 10.10.0.2").is_err());
        let [_, after] = transfer(&p.a, "wg0");
        assert!(after - before < 70_000, "{endpoint}: {} bytes", after - before);
        p.a_knows("198.51.100.2:51820");
        p.a.ping(1, "10.10.0.2");
    }
}

#[test]
fn a_peer_is_reached_through_another_peer_of_the_same_interface() {
    // netns 18: onion routing; and when it loops, nothing but silence.
    need_root!("a_peer_is_reached_through_another_peer_of_the_same_interface");
    let p = Pair::of_hop();
    let _second = start_as(&p.b, Engine::Hop, "wg1");
    let (private, public) = keys(&p.b);
    p.b.sh(&format!(
        "wg set wg1 private-key {} listen-port 5 peer {} allowed-ips 10.12.0.1/32 && \
         ip addr add 10.12.0.2/24 dev wg1 && ip link set wg1 up",
        file(&p.b, &private),
        p.public_a
    ));
    p.a.sh(&format!(
        "ip addr add 10.12.0.1/24 dev wg0; \
         wg set wg0 peer {public} allowed-ips 10.12.0.2/32 endpoint 10.10.0.2:5"
    ));
    p.a.ping(2, "10.12.0.2");
    p.a.sh(&format!("wg set wg0 peer {public} endpoint 10.12.0.2:5"));
    let [_, before] = transfer(&p.b, "wg0");
    p.a.no_ping("10.12.0.2");
    let [_, after] = transfer(&p.b, "wg0");
    assert!(after - before < 1000, "nothing of it comes out");
    p.a.ping(2, "10.10.0.2");
}
