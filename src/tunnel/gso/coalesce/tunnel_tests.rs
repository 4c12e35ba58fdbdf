//! Datagrams and packets of tunnels (VXLAN, GENEVE, IPIP, GRE) that go through this one.

use super::super::super::test_packets::{TestPacket, vxlan};
use super::super::virtio_header::HEADER_LEN;
use super::tests::{counts, written};
use super::*;

/// Segments of one TCP flow.
fn segments(v6: bool) -> impl Iterator<Item = (u16, TestPacket)> {
    (0..6).map(move |n| {
        let mut c = TestPacket::tcp(v6, 500 * u32::from(n), 500);
        c.id = n;
        (n, c)
    })
}

/// Those, each in a datagram of a VXLAN.
fn datagrams(outer_v6: bool, inner_v6: bool) -> Vec<Vec<u8>> {
    let outer = |n, inner: TestPacket| {
        let mut c = TestPacket::udp(outer_v6, 0);
        c.id = n + 9;
        c.payload = [vxlan(inner_v6), inner.packet()].concat();
        c.packet()
    };
    segments(inner_v6).map(|(n, inner)| outer(n, inner)).collect()
}

#[test]
fn datagrams_with_a_checksum_are_merged_and_come_back_as_they_were() {
    for (outer, inner) in [(false, false), (false, true), (true, false), (true, true)] {
        assert_eq!(counts(&datagrams(outer, inner)), [6]);
    }
}

/// A kernel cuts and merges no such datagrams either: there is no way to say "none" of many.
#[test]
fn datagrams_without_a_checksum_stay_without_and_in_order() {
    for v6 in [false, true] {
        let mut all = datagrams(v6, false);
        for p in &mut all {
            let at = if v6 { 46 } else { 26 };
            p[at..at + 2].fill(0);
        }
        let out: Vec<_> =
            written(&all, Offload::Udp).iter().map(|w| w[HEADER_LEN..].to_vec()).collect();
        assert!(out == all);
    }
}

/// Nor may what they carry be taken for the flow itself.
#[test]
fn packets_in_packets_pass_as_they_are_and_in_order() {
    for (protocol, front, v6) in [
        (4, &[][..], false),
        (41, &[], true),
        (47, &[0, 0, 8, 0], false),
        (47, &[0x20, 0, 0x86, 0xdd, 0, 0, 0, 42], true),
    ] {
        for outer in [TestPacket::udp(false, 0), TestPacket::udp(true, 0)] {
            let carried = segments(v6).map(|(n, inner)| {
                let body = [front, &inner.packet()].concat();
                TestPacket { id: n, ..outer.clone() }.carry(protocol, &body)
            });
            let own = segments(v6).map(|(_, inner)| inner.packet());
            let all: Vec<_> = carried.zip(own).flat_map(|(a, b)| [a, b]).collect();
            let out: Vec<_> =
                written(&all, Offload::Udp).iter().map(|w| w[HEADER_LEN..].to_vec()).collect();
            assert!(out == all, "protocol {protocol}");
        }
    }
}
