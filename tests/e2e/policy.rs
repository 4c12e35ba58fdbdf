//! Marks, bound sockets and policy routing around the tunnel, as wg-quick(8) sets them up.

use crate::need_root;
use crate::netns::Host;
use crate::tunnel::{Engine, Pair};

/// a behind a router r, b beyond it: 192.168.1.100 and 203.0.113.100.
fn routed() -> (Pair, Host) {
    let (a, b, r) = (Host::new("a"), Host::new("b"), Host::new("r"));
    r.join_as("home", &a, "wan");
    r.join_as("net", &b, "wan");
    r.sh("ip addr add 192.168.1.1/24 dev home; ip addr add 203.0.113.1/24 dev net; \
         ip addr add fd01::1/64 dev home; ip addr add fd02::1/64 dev net; \
         echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    a.sh("ip addr add 192.168.1.100/24 dev wan; ip route add default via 192.168.1.1; \
         ip addr add fd01::2/64 dev wan; ip -6 route add default via fd01::1");
    b.sh("ip addr add 203.0.113.100/24 dev wan; ip route add default via 203.0.113.1; \
         ip addr add fd02::2/64 dev wan; ip -6 route add default via fd02::1");
    let p = Pair::apart(a, b, [Engine::Hop, Engine::Hop], true);
    p.a_knows("203.0.113.100:51820");
    (p, r)
}

#[test]
fn bound_and_marked_sockets_are_routed_through() {
    // netns 17
    need_root!("bound_and_marked_sockets_are_routed_through");
    let (p, _r) = routed();
    p.a.ping(1, "10.10.0.2");
    p.a.ping(1, "-I wg0 10.10.0.2");
    // Every packet is marked on its way out, ours too, and then routed once more.
    p.a.nft(
        "table inet m { chain out { type route hook output priority -150; meta mark set 1; } }",
    );
    p.a.ping(1, "10.10.0.2");
    p.a.ping(1, "-I wg0 10.10.0.2");
    p.a.ping(1, "-I wg0 fd10::2");
}

#[test]
fn the_default_route_goes_through_the_tunnel_but_for_the_tunnel_itself() {
    // netns 19: what wg-quick does for a default route; a hundred at once.
    need_root!("the_default_route_goes_through_the_tunnel_but_for_the_tunnel_itself");
    let (p, r) = routed();
    p.b.sh("ip addr add 192.168.99.7/32 dev wg0; ip addr add abab::1111/128 dev wg0");
    // What reaches the router outside of the tunnel would be counted here.
    r.nft(
        "table inet t { counter bare {}; counter marked {}
         chain in { type filter hook prerouting priority 0;
           iif home ip daddr 192.168.99.7 counter name bare;
           iif home ip6 daddr abab::1111 counter name bare;
           iif home udp dport 51820 counter name marked; } }",
    );
    p.a.sh(&format!(
        "wg set wg0 fwmark 51820 peer {} allowed-ips 192.168.99.7,abab::1111",
        p.public_b
    ));
    assert_eq!(p.a.sh("wg show wg0 fwmark").trim(), "0xca6c");
    for family in ["-6", "-4"] {
        p.a.sh(&format!(
            "ip {family} route add default dev wg0 table 51820; \
             ip {family} rule add not fwmark 51820 table 51820; \
             ip {family} rule add table main suppress_prefixlength 0"
        ));
    }
    p.a.sh("echo 0 >/proc/sys/net/ipv4/conf/wan/rp_filter");
    p.a.sh("ping -q -W 2 -c 100 -f 192.168.99.7");
    p.a.sh("ping -q -W 2 -c 100 -f abab::1111");
    assert_eq!(r.counted("bare"), 0);
    assert!(r.counted("marked") >= 200);

    // Without the mark its datagrams go the same way as everything else: into itself.
    let [_, before] = crate::tunnel::transfer(&p.a, "wg0");
    p.a.sh("wg set wg0 fwmark 0");
    p.a.no_ping("192.168.99.7");
    let [_, after] = crate::tunnel::transfer(&p.a, "wg0");
    assert!(after - before < 70_000, "{} bytes", after - before);
    p.a.sh("wg set wg0 fwmark 51820");
    p.a.ping(1, "192.168.99.7");
}

#[test]
fn an_error_for_a_translated_packet_finds_its_sender() {
    // R75; netns 20: r speaks through b, which translates; b's tunnel knows no peer. The error says
    // so to r, and not to b. (It comes from the address that was not reached, since a program
    // behind a TUN does not choose among its host's addresses as the kernel does.)
    need_root!("an_error_for_a_translated_packet_finds_its_sender");
    let (p, r) = routed();
    p.b.nft(
        "table inet n { chain post { type nat hook postrouting priority 100;
           ip saddr 203.0.113.0/24 ip daddr 10.10.0.0/24 snat ip to 10.10.0.2; } }",
    );
    p.b.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
    r.sh("ip route add 10.10.0.1 via 203.0.113.100");
    // With the peer known, the translation works.
    p.a.ping(1, "10.10.0.2");
    r.ping(1, "10.10.0.1");
    p.b.sh(&format!("wg set wg0 peer {} remove", p.public_a));
    let said = r.no_ping("10.10.0.1");
    assert!(said.contains("icmp_seq=1 Destination Host Unreachable"), "{said}");
}
