//! Packets in tunnels, cut; and whole ones, whose checksum lies deep in them.

use super::super::super::test_packets::{TestPacket, leave_partial, vxlan};
use super::super::segment::Segments;
use super::super::segment::tests::{all, partial};
use super::super::virtio_header::{Header, Kind};
use super::*;

/// What stands between the outer UDP header and the inner packet: VXLAN; GENEVE with an option of
/// 12 bytes; nothing, as with FOU; and, so that no word lies even, something of 7 bytes.
fn middles(inner_v6: bool) -> [Vec<u8>; 4] {
    let ethernet = &vxlan(inner_v6)[8..];
    let geneve = [&[3, 0, 0x65, 0x58, 0, 0, 42, 0][..], &[1, 2, 0x80, 2], &[7; 8], ethernet];
    [vxlan(inner_v6), geneve.concat(), Vec::new(), vec![9; 7]]
}

/// `inner` as it is, in a datagram.
fn around(outer: &TestPacket, checksum: bool, middle: &[u8], inner: &[u8]) -> Vec<u8> {
    let payload = [middle, inner].concat();
    let mut packet = TestPacket { payload, ..outer.clone() }.packet();
    if !checksum {
        let at = if outer.v6 { 46 } else { 26 };
        packet[at..at + 2].fill(0);
    }
    packet
}

/// What a kernel hands out for `inner`, which is to be cut, in a datagram.
fn handed_out(
    outer: &TestPacket,
    checksum: bool,
    middle: &[u8],
    inner: &TestPacket,
    segment: u16,
) -> (Header, Vec<u8>) {
    let (header, inner) = partial(inner, segment);
    let mut packet = around(outer, checksum, middle, &inner);
    let udp = if outer.v6 { 40 } else { 20 };
    if checksum {
        leave_partial(&mut packet, udp, UDP_CSUM);
    }
    let network = (udp + UDP_LEN + middle.len()) as u16;
    let tunnel = Some(Tunnel { v6: outer.v6, udp: udp as u16, network, checksum });
    let checksum = header.checksum.map(|(start, offset)| (start + network, offset));
    (Header { checksum, tunnel, ..header }, packet)
}

/// The packets that `inner`, of 2500 bytes, is cut into.
fn pieces(inner: &TestPacket) -> Vec<TestPacket> {
    let piece = |(n, (from, to)): (usize, (usize, usize))| {
        let mut piece = inner.clone();
        piece.payload = inner.payload[from..to].to_vec();
        piece.id = inner.id.wrapping_add(n as u16);
        piece.seq = inner.seq.wrapping_add(from as u32);
        piece
    };
    [(0, 1000), (1000, 2000), (2000, 2500)].into_iter().enumerate().map(piece).collect()
}

/// Every network in and outside, TCP and UDP inside, with and without a checksum outside.
fn every_case(mut check: impl FnMut(&TestPacket, bool, &[u8], &TestPacket)) {
    for (outer_v6, inner_v6) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut outer = TestPacket::udp(outer_v6, 0);
        outer.ports = [50_123, 4789];
        outer.id = 0xffff;
        outer.hosts = [3, 4];
        for inner in [TestPacket::tcp(inner_v6, 0xffff_ff00, 2500), TestPacket::udp(inner_v6, 2500)]
        {
            for middle in middles(inner_v6) {
                check(&outer, true, &middle, &inner);
                check(&outer, false, &middle, &inner);
            }
        }
    }
}

#[test]
fn packets_in_a_tunnel_are_what_the_kernel_would_have_sent() {
    every_case(|outer, checksum, middle, inner| {
        let (header, mut packet) = handed_out(outer, checksum, middle, inner, 1000);
        let cut = all(Segments::new(&header, &mut packet).expect("fits"));
        let expected: Vec<_> = pieces(inner)
            .iter()
            .enumerate()
            .map(|(n, piece)| {
                let id = outer.id.wrapping_add(n as u16);
                around(&TestPacket { id, ..outer.clone() }, checksum, middle, &piece.packet())
            })
            .collect();
        assert!(cut == expected, "{header:?}");
    });
}

/// A single packet needs no cutting, but its checksum, which may lie behind any headers. The outer
/// one was made for the inner one finished.
#[test]
fn a_checksum_deep_in_a_whole_packet_is_finished() {
    let finished = |start: usize, offset: u16, expected: &[u8]| {
        let mut packet = expected.to_vec();
        leave_partial(&mut packet, start, usize::from(offset));
        assert_ne!(packet, expected, "there is something to do");
        let checksum = Some((start as u16, offset));
        let header = Header { kind: Kind::Whole, segment: 0, head: 0, checksum, tunnel: None };
        assert_eq!(all(Segments::new(&header, &mut packet).expect("fits")), [expected]);
    };
    every_case(|outer, checksum, middle, inner| {
        let packet = around(outer, checksum, middle, &inner.packet());
        let network = packet.len() - inner.packet().len();
        let transport = network + if inner.v6 { 40 } else { 20 };
        finished(transport, if inner.udp { 6 } else { 16 }, &packet);
    });
    // IPIP and its kin; GRE with a key, and GRE of Ethernet frames.
    for (inner, ip, ethertype) in [
        (TestPacket::tcp(false, 5, 301), 4, [8, 0]),
        (TestPacket::udp(false, 33), 4, [8, 0]),
        (TestPacket::tcp(true, 5, 300), 41, [0x86, 0xdd]),
    ] {
        let offset = if inner.udp { 6 } else { 16 };
        let frame = [&vxlan(inner.v6)[8..], &inner.packet()].concat();
        let key = [&[0x20, 0][..], &ethertype, &[0, 0, 0, 42], &inner.packet()].concat();
        let tap = [&[0, 0, 0x65, 0x58][..], &frame].concat();
        for outer in [TestPacket::udp(false, 0), TestPacket::udp(true, 0)] {
            for (protocol, body) in [(ip, inner.packet()), (47, key.clone()), (47, tap.clone())] {
                let packet = outer.carry(protocol, &body);
                let network = packet.len() - inner.packet().len();
                finished(network + if inner.v6 { 40 } else { 20 }, offset, &packet);
            }
        }
    }
}

#[test]
fn tunnels_that_lie_are_refused() {
    let (outer, inner) = (TestPacket::udp(false, 0), TestPacket::tcp(false, 5, 100));
    let (header, packet) = handed_out(&outer, true, &vxlan(false), &inner, 50);
    let refused = |header: Header, packet: &[u8]| {
        assert!(Segments::new(&header, &mut packet.to_vec()).is_none(), "{header:?}");
    };
    let tunnel = header.tunnel.expect("a tunnel");
    for lie in [
        Tunnel { v6: true, ..tunnel },
        Tunnel { udp: 0, ..tunnel },
        Tunnel { udp: 24, ..tunnel },
        Tunnel { udp: u16::MAX, ..tunnel },
        Tunnel { network: 27, ..tunnel },
        Tunnel { network: 49, ..tunnel },
        Tunnel { network: 70, ..tunnel },
        Tunnel { network: u16::MAX, ..tunnel },
    ] {
        refused(Header { tunnel: Some(lie), ..header }, &packet);
    }
    refused(Header { tunnel: None, ..header }, &packet);
    refused(Header { kind: Kind::Tcp6, ..header }, &packet);
    refused(Header { checksum: None, ..header }, &packet);
    for len in 0..102 {
        refused(header, &packet[..len]);
    }
}
