//! Padding, the traffic class and ECN: what the outer packet shows of the inner one.

use hopbox::wg::Outbound;

use super::sim::*;
use super::stranger::{self, joined};

/// Plaintext lengths, padding included, of packets of `sizes` bytes, at this MTU.
fn padded(mtu: u16, sizes: &[usize]) -> Vec<usize> {
    let (mut s, _, keys) = joined();
    s.act(B, |d, _, _| d.set_mtu(mtu));
    sizes
        .iter()
        .map(|&n| {
            let p = packet(inner(B), inner(stranger::INNER), 0, &vec![0x55; n - 20]);
            let Outbound::Send { len, .. } = s.send_packet(B, &p) else { panic!("not sent") };
            let text = keys.open(&s.last(B, Kind::Data).bytes).unwrap();
            assert_eq!(len, text.len() + 32);
            assert!(text[n..].iter().all(|b| *b == 0), "R07: padding is zeros");
            assert_eq!(text[..n], p);
            text.len()
        })
        .collect()
}

// R07
#[test]
fn plaintext_is_padded_with_zeros_to_a_multiple_of_16() {
    for n in 20..120usize {
        assert_eq!(padded(1420, &[n]), [n.div_ceil(16) * 16]);
    }
}

// R07 R87; OpenBSD 350e952: wrong at the edge.
#[test]
fn padding_never_lengthens_a_packet_beyond_the_mtu() {
    assert_eq!(padded(1420, &[1408, 1409, 1416, 1419, 1420]), [1408, 1420, 1420, 1420, 1420]);
    assert_eq!(padded(1300, &[1296, 1297, 1299, 1300]), [1296, 1300, 1300, 1300]);
    assert_eq!(padded(1299, &[1298, 1299]), [1299, 1299]);
    assert_eq!(padded(1424, &[1409, 1424]), [1424, 1424]);
    assert_eq!(padded(1300, &[1301, 1400]), [1301, 1400], "longer than the MTU: as it is");
    assert_eq!(padded(0, &[33]), [33]);
}

// R87: 1500 less the 80 bytes of an outer IPv6 path, until the shell says otherwise.
#[test]
fn the_mtu_is_1420_until_it_is_set() {
    let (mut s, _, _) = joined();
    for (n, want) in [(1408, 1408), (1409, 1420), (1420, 1420), (1421, 1421)] {
        let p = packet(inner(B), inner(stranger::INNER), 0, &vec![0x55; n - 20]);
        let Outbound::Send { len, .. } = s.send_packet(B, &p) else { panic!("not sent") };
        assert_eq!(len, want + 32);
    }
}

// R07 R49: also what waited for a session.
#[test]
fn packets_that_waited_are_padded_alike() {
    let mut s = Sim::pair();
    s.act(A, |d, _, _| d.set_mtu(1420));
    for n in [0usize, 1, 12, 13, 1390, 1400] {
        s.send(A, B, &vec![1; n]);
    }
    s.run(SEC);
    let lens: Vec<usize> = s.sent(A, Kind::Data).iter().map(|w| w.bytes.len() - 32).collect();
    assert_eq!(lens, [32, 32, 32, 48, 1420, 1420]);
}

// R07
#[test]
fn a_keepalive_is_exactly_32_bytes() {
    let mut s = Sim::connected();
    s.set_keepalive(A, B, 25);
    assert_eq!(s.last(A, Kind::Keepalive).bytes.len(), 32);
}

// R81 R83: ECN out, and nothing of the inner DSCP.
#[test]
fn the_outer_traffic_class_carries_ecn_and_hides_dscp() {
    let mut s = Sim::connected();
    for (inner_ecn, outer) in [(0u8, 0u8), (1, 1), (2, 2), (3, 2)] {
        for dscp in [0u8, 0xb8, 0xfc] {
            for (src, dst) in [(inner(A), inner(B)), (inner6(A), inner6(B))] {
                s.send_packet(A, &packet(src, dst, dscp | inner_ecn, b"x"));
                assert_eq!(s.last(A, Kind::Data).tos, outer, "{inner_ecn} under {dscp:#x}");
            }
        }
    }
}

// R81 R49: what waited keeps its mark.
#[test]
fn packets_that_waited_carry_their_ecn() {
    let mut s = Sim::pair();
    for ecn in [0, 1, 2, 3] {
        s.send_packet(A, &packet(inner(A), inner(B), ecn, b"x"));
    }
    s.run(SEC);
    let tos: Vec<u8> = s.sent(A, Kind::Data).iter().map(|w| w.tos).collect();
    assert_eq!(tos, [0, 1, 2, 2]);
}

// R83
#[test]
fn handshake_messages_are_af41_and_keepalives_are_plain() {
    let mut s = Sim::pair();
    s.load(B);
    s.set_keepalive(A, B, 25);
    s.run(7 * SEC);
    let tos = |dev, kind| s.last(dev, kind).tos;
    assert_eq!(tos(A, Kind::Initiation), 0x88);
    assert_eq!(tos(B, Kind::Response), 0x88);
    assert_eq!(tos(B, Kind::Cookie), 0x88);
    assert_eq!(tos(A, Kind::Keepalive), 0);
}

// R82
#[test]
fn congestion_on_the_outer_path_marks_ecn_capable_inner_packets() {
    for (outer, inner_ecn, want) in [
        (3u8, 0u8, 0u8),
        (3, 1, 3),
        (3, 2, 3),
        (3, 3, 3),
        (0, 2, 2),
        (1, 2, 2),
        (2, 1, 1),
        (0, 3, 3),
    ] {
        let mut s = Sim::connected();
        s.link(A, B).mark = Some(outer);
        s.send_packet(A, &packet(inner(A), inner(B), 0xb8 | inner_ecn, b"4"));
        s.send_packet(A, &packet(inner6(A), inner6(B), 0xb8 | inner_ecn, b"6"));
        s.run(SEC);
        let got: Vec<Vec<u8>> = s
            .facts(B)
            .into_iter()
            .filter_map(|f| if let Fact::Delivered(p) = f { Some(p) } else { None })
            .collect();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0][1], 0xb8 | want, "outer {outer} inner {inner_ecn}");
        assert_eq!(checksum(&got[0][..20]), 0, "the IPv4 checksum is kept right");
        let class = got[1][0] << 4 | got[1][1] >> 4;
        assert_eq!(class, 0xb8 | want, "outer {outer} inner {inner_ecn}, IPv6");
    }
}
