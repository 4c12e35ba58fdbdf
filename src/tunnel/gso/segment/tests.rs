//! Known packets, cut; and headers that lie.

use super::super::super::test_packets::{DF, TestPacket, is_right, leave_partial};
use super::*;

pub fn all(mut split: Segments<'_>) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some(len) = split.next_len() {
        let mut out = vec![0xee; len + 7];
        assert_eq!(split.next(&mut out), Some(len));
        assert_eq!(out[len..], [0xee; 7], "nothing behind it is touched");
        out.truncate(len);
        packets.push(out);
    }
    packets
}

/// What a kernel hands out: `whole` with the sum over the pseudo-header alone.
pub fn partial(whole: &TestPacket, segment: u16) -> (Header, Vec<u8>) {
    let mut packet = whole.packet();
    let (transport, kind) = if whole.v6 { (40, Kind::Tcp6) } else { (20, Kind::Tcp4) };
    let kind = if whole.udp { Kind::Udp } else { kind };
    let offset = if whole.udp { 6 } else { 16 };
    leave_partial(&mut packet, transport, offset);
    let checksum = Some((transport as u16, offset as u16));
    (Header { kind, segment, head: 0, checksum, tunnel: None }, packet)
}

#[test]
fn segments_are_what_the_kernel_would_have_sent() {
    for v6 in [false, true] {
        let mut whole = TestPacket::tcp(v6, 0xffff_ff00, 3000);
        whole.flags = 0x10 | 0x08 | 0x01 | 0x80 | 0x40;
        whole.id = 0xffff;
        whole.tos = 0x2e << 2 | 1;
        let (header, mut packet) = partial(&whole, 1380);
        let cut = all(Segments::new(&header, &mut packet).expect("fits"));
        let mut expected = Vec::new();
        for (n, (from, to)) in [(0, 1380), (1380, 2760), (2760, 3000)].into_iter().enumerate() {
            let mut piece = whole.clone();
            piece.seq = whole.seq.wrapping_add(from as u32);
            piece.id = whole.id.wrapping_add(n as u16);
            piece.payload = whole.payload[from..to].to_vec();
            piece.flags = match n {
                0 => 0x10 | 0x80 | 0x40,
                1 => 0x10 | 0x40,
                _ => 0x10 | 0x08 | 0x01 | 0x40,
            };
            expected.push(piece.packet());
        }
        assert_eq!(cut, expected);
        assert!(cut.iter().all(|p| is_right(p)));
    }
}

#[test]
fn datagrams_are_cut_with_lengths_of_their_own() {
    for v6 in [false, true] {
        let mut whole = TestPacket::udp(v6, 2500);
        whole.fragment = DF;
        let (header, mut packet) = partial(&whole, 1000);
        let cut = all(Segments::new(&header, &mut packet).expect("fits"));
        let expected: Vec<_> = [(0, 1000), (1000, 2000), (2000, 2500)]
            .into_iter()
            .enumerate()
            .map(|(n, (from, to))| {
                let mut piece = whole.clone();
                piece.id += n as u16;
                piece.payload = whole.payload[from..to].to_vec();
                piece.packet()
            })
            .collect();
        assert_eq!(cut, expected);
    }
}

#[test]
fn the_largest_packet_and_the_smallest_pieces() {
    let whole = TestPacket::tcp(false, 1, 65_535 - 52);
    for segment in [1, 8, 1460, u16::MAX] {
        let (header, mut packet) = partial(&whole, segment);
        let cut = all(Segments::new(&header, &mut packet).expect("fits"));
        assert_eq!(cut.len(), whole.payload.len().div_ceil(usize::from(segment)));
        assert!(cut.iter().all(|p| is_right(p)));
        let payload: Vec<u8> = cut.iter().flat_map(|p| &p[52..]).copied().collect();
        assert!(payload == whole.payload);
    }
}

#[test]
fn a_whole_packet_passes_with_its_checksum_finished() {
    for whole in [TestPacket::tcp(false, 5, 100), TestPacket::udp(true, 33)] {
        let (header, mut packet) = partial(&whole, 0);
        let header = Header { kind: Kind::Whole, ..header };
        assert_eq!(all(Segments::new(&header, &mut packet).expect("fits")), [whole.packet()]);
    }
    let mut odd = vec![1, 2, 3];
    let header = Header { kind: Kind::Whole, segment: 0, head: 0, checksum: None, tunnel: None };
    assert_eq!(all(Segments::new(&header, &mut odd).expect("whole")), [vec![1, 2, 3]]);
}

#[test]
fn headers_that_lie_are_refused() {
    let (header, packet) = partial(&TestPacket::tcp(false, 5, 100), 50);
    let refused = |header: Header, packet: &[u8]| {
        assert!(Segments::new(&header, &mut packet.to_vec()).is_none(), "{header:?}");
    };
    refused(Header { checksum: None, ..header }, &packet);
    refused(Header { segment: 0, ..header }, &packet);
    refused(Header { kind: Kind::Tcp6, ..header }, &packet);
    refused(Header { checksum: Some((24, 16)), ..header }, &packet);
    refused(Header { checksum: Some((0, 16)), ..header }, &packet);
    refused(Header { checksum: Some((u16::MAX, 16)), ..header }, &packet);
    refused(Header { kind: Kind::Whole, checksum: Some((120, 40)), ..header }, &packet);
    for len in 0..52 {
        refused(header, &packet[..len]);
    }
    let mut short = packet.clone();
    short[32] = 0x40;
    refused(header, &short);
}

#[test]
fn no_room_is_no_panic() {
    let (header, mut packet) = partial(&TestPacket::tcp(true, 5, 100), 50);
    let mut split = Segments::new(&header, &mut packet).expect("fits");
    assert_eq!(split.next(&mut [0; 10]), None);
    assert_eq!(split.next(&mut [0; 200]), Some(122));
}

/// R104
#[test]
fn tcp_is_cut_to_a_limit_and_nothing_else_is() {
    let limited = |packet: &mut Vec<u8>, header: &Header, most: usize| {
        let mut segments = Segments::new(header, packet).expect("fits");
        segments.limit(most);
        all(segments)
    };
    let plain = Header { kind: Kind::Whole, segment: 0, head: 0, checksum: None, tunnel: None };
    for flags in [0x10, 0x18, 0x11, 0x10 | 0x80] {
        let mut whole = TestPacket::tcp(false, 77, 1368);
        whole.flags = flags;
        // One packet, and the same as the first of many.
        let (many, mut partial) = partial(&whole, 1368);
        let cut = limited(&mut whole.packet(), &plain, 1232);
        assert_eq!(cut, limited(&mut partial, &many, 1232));
        assert_eq!(cut.len(), 2);
        assert_eq!(cut[0].len(), 1232);
        assert!(cut.iter().all(|p| is_right(p)));
        assert_eq!(limited(&mut whole.packet(), &plain, 1420), [whole.packet()]);
    }
    let as_it_is = |packet: Vec<u8>| {
        assert_eq!(limited(&mut packet.clone(), &plain, 1232), [packet]);
    };
    for flags in [0x02, 0x14, 0x30] {
        let mut whole = TestPacket::tcp(false, 77, 1368);
        whole.flags = flags;
        as_it_is(whole.packet());
    }
    let mut wrong = TestPacket::tcp(false, 77, 1368).packet();
    wrong[1000] ^= 1;
    as_it_is(wrong);
    let mut fragment = TestPacket::tcp(false, 77, 1368);
    fragment.fragment = 0x2000;
    as_it_is(fragment.packet());
    as_it_is(TestPacket::udp(false, 1368).packet());
    as_it_is(TestPacket::tcp(true, 77, 1348).packet());
}
