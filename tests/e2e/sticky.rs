//! The address a peer is answered from: kept while it is right, left when it is not (R90).

use crate::need_root;
use crate::netns::Host;
use crate::tunnel::{Engine, Pair};

/// Joined by `wan`, without addresses on it.
fn bare() -> Pair {
    let (a, b) = (Host::new("a"), Host::new("b"));
    a.join(&b);
    Pair::apart(a, b, [Engine::Hop, Engine::Hop], true)
}

/// Within 10 s: what is sent in the moment of a change may find neither address usable.
fn reaches_soon(host: &Host, to: &str) {
    host.sh(&format!("for i in $(seq 10); do ping -n -c 1 -W 1 {to} && exit; done; exit 1"));
}

#[test]
fn a_vanished_source_address_is_replaced_by_another() {
    // R90; netns 21–22
    need_root!("a_vanished_source_address_is_replaced_by_another");
    let p = bare();
    p.a.sh("echo 1 >/proc/sys/net/ipv4/conf/wan/promote_secondaries; \
         ip addr add 10.0.0.1/24 dev wan; ip addr add fd00:aa::1/96 dev wan");
    p.b.sh("ip addr add 10.0.0.2/24 dev wan; ip addr add fd00:aa::2/96 dev wan");
    p.a_knows("10.0.0.2:51820");
    p.a.sh("ping -n -c 1 -W 10 10.10.0.2");
    assert_eq!(p.a_seen(), "10.0.0.1:51821");
    p.a.sh("ip addr add 10.0.0.10/24 dev wan; ip addr del 10.0.0.1/24 dev wan");
    reaches_soon(&p.a, "10.10.0.2");
    assert_eq!(p.a_seen(), "10.0.0.10:51821");

    p.a_knows("[fd00:aa::2]:51820");
    p.a.sh("ping -n -c 1 -W 10 10.10.0.2");
    assert_eq!(p.a_seen(), "[fd00:aa::1]:51821");
    p.a.sh("ip addr add fd00:aa::10/96 dev wan; ip addr del fd00:aa::1/96 dev wan");
    reaches_soon(&p.a, "10.10.0.2");
    assert_eq!(p.a_seen(), "[fd00:aa::10]:51821");
}

#[test]
fn the_answer_comes_from_the_address_that_was_asked() {
    // R90 R92; netns 23–27: two addresses of each family, and one of another interface.
    need_root!("the_answer_comes_from_the_address_that_was_asked");
    let p = bare();
    p.a.sh("ip addr add 10.0.0.1/24 dev wan; ip addr add 10.0.0.2/24 dev wan; \
         ip addr add fd00:aa::1/96 dev wan; ip addr add fd00:aa::2/96 dev wan; \
         ip link add dummy0 type bridge; ip addr add 10.50.0.1/24 dev dummy0; \
         ip addr add fd50::1/64 dev dummy0 nodad; ip link set dummy0 up");
    p.b.sh("ip addr add 10.0.0.3/24 dev wan; ip addr add fd00:aa::3/96 dev wan; \
         ip route add 10.50.0.0/24 dev wan; ip route add fd50::/64 via fd00:aa::1");
    for at in ["10.0.0.1", "[fd00:aa::1]", "10.0.0.2", "[fd00:aa::2]", "10.50.0.1", "[fd50::1]"] {
        let endpoint = format!("{at}:51821");
        p.b_knows(&endpoint);
        p.b.sh("ping -n -c 1 -W 10 10.10.0.1");
        assert_eq!(p.a_seen(), endpoint, "another answer would have moved it");
        // The other way, too: a has learned where it is known.
        p.a.ping(1, "10.10.0.2");
        assert_eq!(p.a_seen(), endpoint);
    }
}

#[test]
fn a_better_route_takes_over() {
    // R90; netns 28
    need_root!("a_better_route_takes_over");
    let p = bare();
    p.a.join_as("wan3", &p.b, "wan4");
    p.a.sh("ip addr add 10.0.0.1/24 dev wan; ip addr add 10.0.0.3/24 dev wan3; \
         ip route flush dev wan; ip route flush dev wan3; \
         ip route add 10.0.0.0/24 dev wan src 10.0.0.1 metric 2");
    p.b.sh("ip addr add 10.0.0.2/24 dev wan");
    p.a_knows("10.0.0.2:51820");
    p.a.sh("ping -n -c 1 -W 10 10.10.0.2");
    assert_eq!(p.a_seen(), "10.0.0.1:51821");
    p.a.sh("ip route add 10.0.0.0/24 dev wan3 src 10.0.0.3 metric 1");
    for (host, links) in [(&p.a, ["all", "wan"]), (&p.b, ["all", "wan4"])] {
        for link in links {
            host.sh(&format!("echo 0 >/proc/sys/net/ipv4/conf/{link}/rp_filter"));
        }
    }
    p.a.sh("ping -n -c 1 -W 10 10.10.0.2");
    assert_eq!(p.a_seen(), "10.0.0.3:51821");
}
