//! The traffic class byte: congestion marks cross the tunnel both ways, nothing else does.

use crate::capture::Capture;
use crate::need_root;
use crate::tunnel::{B_V4, B_V6, Pair};

/// Handshakes and data by their type, as (type, traffic class byte).
fn marks(seen: &mut Capture) -> Vec<(u8, u8)> {
    let all = seen.take();
    all.iter().filter(|d| d.dst_port == 51820).map(|d| (d.payload[0], d.tos)).collect()
}

#[test]
fn congestion_marks_of_the_path_appear_inside() {
    // R82, E18
    need_root!("congestion_marks_of_the_path_appear_inside");
    let p = Pair::of_hop();
    p.b.nft(
        "table inet t { counter v4 {}; counter v6 {}; counter plain {}
         chain path { type filter hook prerouting priority -300;
           iif wan udp dport 51820 ip ecn set ce; iif wan udp dport 51820 ip6 ecn set ce; }
         chain in { type filter hook input priority 0;
           iif wg0 meta l4proto icmp ip ecn ce counter name v4;
           iif wg0 meta l4proto icmpv6 ip6 ecn ce counter name v6;
           iif wg0 meta l4proto { icmp, icmpv6 } counter name plain; } }",
    );
    let mut marked = [0, 0];
    let mut all = 0;
    for outer in [B_V4, B_V6] {
        p.a_knows(outer);
        // ECT(1), ECT(0) and CE inside: all CE at the end. With DSCP EF, too.
        for tos in [1, 2, 3, 0xba] {
            p.a.sh(&format!("ping -n -c 2 -i 0.02 -W 2 -Q {tos} 10.10.0.2"));
            p.a.sh(&format!("ping -n -c 2 -i 0.02 -W 2 -Q {tos} fd10::2"));
            marked = [marked[0] + 2, marked[1] + 2];
            all += 4;
            assert_eq!([p.b.counted("v4"), p.b.counted("v6")], marked, "{outer}, {tos}");
        }
        // Not capable of ECN: passes as it is.
        for to in ["10.10.0.2", "fd10::2"] {
            p.a.sh(&format!("ping -n -c 2 -i 0.02 -W 2 -Q 0xb8 {to}"));
            all += 2;
        }
        assert_eq!([p.b.counted("v4"), p.b.counted("v6")], marked, "{outer}, not capable");
        assert!(p.b.counted("plain") >= all);
    }
}

#[test]
fn the_outer_class_tells_ecn_and_nothing_else() {
    // R81 R83, E18: CE inside leaves as ECT(0), DSCP stays inside, handshakes are AF41.
    need_root!("the_outer_class_tells_ecn_and_nothing_else");
    let p = Pair::of_hop();
    let mut seen = Capture::start(&p.b);
    p.a.ping(1, "10.10.0.2");
    let first = marks(&mut seen);
    assert_eq!(first.first(), Some(&(1, 0x88)), "an initiation first: {first:?}");
    for (inner, outer) in [(0, 0), (1, 1), (2, 2), (3, 2), (0xb8, 0), (0xba, 2), (0xbb, 2)] {
        for to in ["10.10.0.2", "fd10::2"] {
            p.a.sh(&format!("ping -n -c 1 -W 10 -Q {inner} {to}"));
            let data = marks(&mut seen);
            assert!(data.contains(&(4, outer)), "{to}, inner {inner:#x}: {data:?}");
            assert!(data.iter().all(|(_, tos)| *tos == outer), "{to}, inner {inner:#x}: {data:?}");
        }
    }
}
