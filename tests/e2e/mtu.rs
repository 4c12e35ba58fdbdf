//! Sizes: what a link in the middle may do to a datagram, and that padding respects the MTU.

use crate::need_root;
use crate::netns::Host;
use crate::tunnel::{B_V4, B_V6, Engine, Pair};

#[test]
fn padding_never_exceeds_the_mtu() {
    // R07 R87; netns 9, E07. The kernel's scenario sets the MTU of a route; a program behind a TUN
    // never learns that one, so here it is the interface's. 32 for WireGuard, 28 for UDP over IPv4.
    need_root!("padding_never_exceeds_the_mtu");
    let p = Pair::of_hop();
    p.a.ping(1, "10.10.0.2");
    for mtu in [1300, 1299] {
        for host in [&p.a, &p.b] {
            host.sh(&format!("ip link set wg0 mtu {mtu}"));
            host.nft(&format!(
                "table inet t {{}}; flush table inet t; table inet t {{
                 counter long {{}}; counter longest {{}}
                 chain in {{ type filter hook input priority 0;
                   iif wan udp length > {long} counter name long drop;
                   iif wan udp length {long} counter name longest; }} }}",
                long = 8 + 32 + mtu,
            ));
        }
        p.b.sh("sleep 0.1");
        for payload in (mtu - 28 - 17)..=(mtu - 28) {
            p.b.sh(&format!("ping -n -c 1 -W 2 -M do -s {payload} 10.10.0.1"));
            p.a.sh(&format!("ping -n -c 1 -W 2 -M do -s {} fd10::2", payload - 20));
        }
        for host in [&p.a, &p.b] {
            assert_eq!(host.counted("long"), 0, "MTU {mtu}");
            // 16 does not divide the MTU: all but a few of these would have been padded past it.
            assert!(host.counted("longest") > 4, "MTU {mtu}: the check saw the longest ones");
        }
        for host in [&p.a, &p.b] {
            host.sh("nft delete table inet t");
        }
    }
}

#[test]
fn a_smaller_link_below_gets_fragments() {
    // R84, E08: at the sender's own link.
    need_root!("a_smaller_link_below_gets_fragments");
    let p = Pair::of_hop();
    for mtu in [1280, 1400] {
        for host in [&p.a, &p.b] {
            host.sh(&format!("ip link set wan mtu {mtu}"));
        }
        for outer in [B_V4, B_V6] {
            p.a_knows(outer);
            for to in ["10.10.0.2", "fd10::2"] {
                p.a.sh(&format!("ping -n -c 3 -i 0.05 -W 2 -M do -s 1372 {to}"));
            }
            p.b.sh("ping -n -c 3 -i 0.05 -W 2 -M do -s 1392 10.10.0.1");
        }
    }
}

#[test]
fn a_smaller_link_on_the_way_gets_fragments() {
    // R84, E08: in the middle. An IPv4 router fragments, because DF is not set; for IPv6 the sender
    // must believe the router's complaint, and the first large packet is lost.
    need_root!("a_smaller_link_on_the_way_gets_fragments");
    let (a, b, r) = (Host::new("a"), Host::new("b"), Host::new("r"));
    r.join_as("left", &a, "wan");
    r.join_as("right", &b, "wan");
    r.sh("ip addr add 203.0.113.1/24 dev left; ip addr add 198.51.100.1/24 dev right; \
          ip addr add fd01::1/64 dev left; ip addr add fd02::1/64 dev right; \
          echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; \
          ip link set right mtu 1300");
    a.sh("ip addr add 203.0.113.2/24 dev wan; ip route add default via 203.0.113.1; \
          ip addr add fd01::2/64 dev wan; ip -6 route add default via fd01::1");
    b.sh("ip addr add 198.51.100.2/24 dev wan; ip route add default via 198.51.100.1; \
          ip addr add fd02::2/64 dev wan; ip -6 route add default via fd02::1; \
          ip link set wan mtu 1300");
    let p = Pair::apart(a, b, [Engine::Hop, Engine::Hop], false);
    p.a_knows("198.51.100.2:51820");
    p.a.sh("ping -n -c 3 -i 0.05 -W 2 -M do -s 1392 10.10.0.2");
    p.b.sh("ping -n -c 3 -i 0.05 -W 2 -M do -s 1392 10.10.0.1");
    p.a_knows("[fd02::2]:51820");
    p.a.ping(1, "10.10.0.2");
    let _ = p.a.try_sh("ping -n -c 1 -W 1 -M do -s 1392 10.10.0.2");
    p.a.sh("ping -n -c 3 -i 0.05 -W 2 -M do -s 1392 10.10.0.2");
    p.b.sh("ping -n -c 3 -i 0.05 -W 2 -M do -s 1392 10.10.0.1");
}
