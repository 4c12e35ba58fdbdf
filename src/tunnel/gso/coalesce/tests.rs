//! What is merged, what must not be, and that cutting gives back what was merged (R86).

use super::super::super::test_packets::{DF, TestPacket, is_right};
use super::super::checksum;
use super::super::segment::Segments;
use super::super::virtio_header::HEADER_LEN;
use super::*;

/// Bytes in front of a packet in the receive buffer.
const ROOM: usize = 32;

fn joined(parts: &[IoSlice<'_>]) -> Vec<u8> {
    parts.iter().flat_map(|p| p.iter()).copied().collect()
}

/// What is written to a TUN of this kind for these packets: each with its virtio-net header.
pub(super) fn written(packets: &[Vec<u8>], offload: Offload) -> Vec<Vec<u8>> {
    let mut merge = Coalescer::new(offload);
    let mut space = Vec::new();
    let mut places = Vec::new();
    for p in packets {
        space.extend([0xdd; ROOM]);
        places.push((space.len(), p.len()));
        space.extend(p);
    }
    let mut out = Vec::new();
    for (start, len) in places {
        if merge.is_full() {
            merge.drain(&mut space, |parts| out.push(joined(parts)));
        }
        merge.push(&space, start, len);
    }
    merge.drain(&mut space, |parts| out.push(joined(parts)));
    out
}

/// How many packets each write stands for, after checking that cutting gives the packets back.
fn counts_with(packets: &[Vec<u8>], offload: Offload) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut all = Vec::new();
    for mut w in written(packets, offload) {
        let (header, packet) = w.split_first_chunk_mut().expect("a header");
        let header = Header::read(header).expect("ours");
        let before = all.len();
        let mut split = Segments::new(&header, packet).expect("consistent");
        while let Some(len) = split.next_len() {
            let mut out = vec![0; len];
            split.next(&mut out).expect("room");
            all.push(out);
        }
        counts.push(all.len() - before);
    }
    let sorted = |list: &[Vec<u8>]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    assert!(sorted(&all) == sorted(packets), "cut again, they are what they were");
    counts
}

pub(super) fn counts(packets: &[Vec<u8>]) -> Vec<usize> {
    counts_with(packets, Offload::Udp)
}

/// `n` segments in a row, of `len` bytes each.
fn row(v6: bool, n: usize, len: usize) -> Vec<TestPacket> {
    let next = |i: usize| {
        let mut c = TestPacket::tcp(v6, 1000u32.wrapping_add((i * len) as u32), len);
        c.id = 0xfffe_u16.wrapping_add(i as u16);
        c
    };
    (0..n).map(next).collect()
}

fn packets(row: &[TestPacket]) -> Vec<Vec<u8>> {
    row.iter().map(TestPacket::packet).collect()
}

#[test]
fn a_row_becomes_one() {
    for v6 in [false, true] {
        let mut r = row(v6, 5, 100);
        r[4].payload.truncate(30);
        assert_eq!(counts(&packets(&r)), [5]);
        // Sequence numbers wrap.
        for (i, c) in r.iter_mut().enumerate() {
            c.seq = (u32::MAX - 150).wrapping_add(100 * i as u32);
        }
        assert_eq!(counts(&packets(&r)), [5]);
        assert_eq!(counts_with(&packets(&r), Offload::Tcp), [5]);
        assert_eq!(counts_with(&packets(&r), Offload::Checksums), [1; 5]);
        assert_eq!(counts_with(&packets(&r), Offload::Nothing), [1; 5]);
    }
}

#[test]
fn a_push_or_a_short_one_ends_it() {
    for v6 in [false, true] {
        let mut r = row(v6, 4, 100);
        r[1].flags |= 0x08;
        assert_eq!(counts(&packets(&r)), [2, 2]);
        let mut r = row(v6, 4, 100);
        r[0].flags |= 0x08;
        assert_eq!(counts(&packets(&r)), [1, 3]);
        let mut r = row(v6, 3, 100);
        r[1].payload.truncate(99);
        r[2].seq -= 1;
        assert_eq!(counts(&packets(&r)), [2, 1]);
        // A longer one cannot follow.
        let mut r = row(v6, 2, 100);
        r[1].payload.push(1);
        assert_eq!(counts(&packets(&r)), [1, 1]);
    }
}

#[test]
fn the_limits_of_length_and_number_hold() {
    assert_eq!(counts(&packets(&row(false, 100, 10))), [64, 36]);
    // 52 bytes of headers and 45 × 1448 are 65,212; one more would be too many.
    assert_eq!(counts(&packets(&row(false, 50, 1448))), [45, 5]);
    // IPv6: 72 bytes of headers; the length that they carry is 40 less, but one bound does.
    assert_eq!(counts(&packets(&row(true, 50, 1428))), [45, 5]);
    let exactly = (65_535 - 52) / 3;
    assert_eq!(counts(&packets(&row(false, 4, exactly))), [3, 1]);
}

/// Whether the second of two segments in a row is kept apart after this change to it.
#[track_caller]
fn apart(v6: bool, change: impl Fn(&mut TestPacket)) {
    let mut r = row(v6, 2, 100);
    change(&mut r[1]);
    assert_eq!(counts(&packets(&r)), [1, 1], "{:?}", r[1]);
    // And the other way round: what is odd is not continued by what is not.
    let mut r = row(v6, 2, 100);
    change(&mut r[0]);
    assert_eq!(counts(&packets(&r)), [1, 1], "{:?}", r[0]);
}

#[test]
fn whatever_differs_keeps_them_apart() {
    for v6 in [false, true] {
        apart(v6, |c| c.tos = 3);
        apart(v6, |c| c.ttl = 63);
        apart(v6, |c| c.hosts[0] = 9);
        apart(v6, |c| c.hosts[1] = 9);
        apart(v6, |c| c.ports[0] = 9);
        apart(v6, |c| c.ports[1] = 9);
        apart(v6, |c| c.seq += 1);
        apart(v6, |c| c.ack += 1);
        apart(v6, |c| c.window += 1);
        apart(v6, |c| c.urgent = 1);
        apart(v6, |c| c.options[11] = 9);
        apart(v6, |c| c.options.truncate(8));
        apart(v6, |c| c.options.clear());
        apart(v6, |c| c.udp = true);
        // FIN, SYN, RST, URG, ECE, CWR; and no ACK.
        for flag in [0x01, 0x02, 0x04, 0x20, 0x40, 0x80] {
            apart(v6, move |c| c.flags |= flag);
        }
        apart(v6, |c| c.flags = 0);
        apart(v6, |c| c.payload.clear());
    }
    apart(false, |c| c.id = c.id.wrapping_add(5));
    apart(false, |c| c.fragment = DF);
    apart(false, |c| c.fragment = 0x8000);
    // Fragments, first and later.
    apart(false, |c| c.fragment = 0x2000);
    apart(false, |c| c.fragment = 0x0010);
}

#[test]
fn flags_that_all_have_alike_are_kept() {
    // ECE stands on every packet of a round trip.
    let mut r = row(false, 3, 100);
    r.iter_mut().for_each(|c| c.flags |= 0x40);
    assert_eq!(counts(&packets(&r)), [3]);
    // The others not even if all have them.
    for flag in [0x01, 0x02, 0x04, 0x20, 0x80] {
        let mut r = row(true, 3, 100);
        r.iter_mut().for_each(|c| c.flags |= flag);
        assert_eq!(counts(&packets(&r)), [1; 3]);
    }
}

#[test]
fn an_id_may_stand_still_where_fragments_are_forbidden() {
    let mut r = row(false, 4, 100);
    for c in &mut r {
        (c.id, c.fragment) = (0, DF);
    }
    let out = written(&packets(&r), Offload::Udp);
    assert_eq!(out.len(), 1);
    r.iter_mut().for_each(|c| c.fragment = 0);
    assert_eq!(written(&packets(&r), Offload::Udp).len(), 4);
    // First one way, then the other.
    r.iter_mut().for_each(|c| c.fragment = DF);
    r[3].id = 3;
    assert_eq!(written(&packets(&r), Offload::Udp).len(), 2);
}

#[test]
fn a_wrong_checksum_is_never_repaired() {
    for v6 in [false, true] {
        let len = packets(&row(v6, 1, 100))[0].len();
        // Every bit of every byte of the middle one, as far as headers and checksums reach.
        // The length of IPv6 has none; it was held against the packet before.
        let covered = |bit: &usize| !v6 || !(32..48).contains(bit);
        for bit in (0..len * 8).step_by(7).filter(covered) {
            let mut p = packets(&row(v6, 3, 100));
            p[1][bit / 8] ^= 1 << (bit % 8);
            let wrong = p[1].clone();
            let merged = written(&p, Offload::Udp);
            let alone = |w: &Vec<u8>| w[..HEADER_LEN] == PLAIN && w[HEADER_LEN..] == wrong;
            assert!(merged.iter().any(alone), "bit {bit} of {len} bytes");
        }
        // In the first, which is only looked at when there is a second.
        for at in [20, len - 1] {
            let mut p = packets(&row(v6, 3, 100));
            p[0][at] ^= 1;
            assert!(written(&p, Offload::Udp).contains(&[&PLAIN[..], &p[0]].concat()));
            if at == len - 1 {
                assert_eq!(counts(&p), [1, 2]);
            }
        }
    }
}

#[test]
fn flows_are_merged_beside_each_other_and_each_keeps_its_order() {
    let mut mixed = Vec::new();
    for i in 0..10 {
        for (n, v6) in [(1, false), (2, false), (3, true)] {
            let mut c = row(v6, 10, 50)[i].clone();
            c.ports[0] = n;
            mixed.push(c.packet());
        }
    }
    assert_eq!(counts(&mixed), [10, 10, 10]);
    // A gap, and what was missing behind it: nothing moves.
    let r = row(false, 6, 100);
    let order: Vec<_> = [0, 1, 3, 4, 2, 5].iter().map(|i| r[*i].packet()).collect();
    assert_eq!(counts(&order), [2, 2, 1, 1]);
    // More flows than are looked back at: fewer are merged, none is moved.
    let many: Vec<_> = (0..3 * LOOK_BACK)
        .flat_map(|round| {
            (0..LOOK_BACK as u16 + 1).map(move |port| {
                let mut c = TestPacket::tcp(false, 100 * round as u32, 100);
                (c.ports[0], c.id) = (port, round as u16);
                c.packet()
            })
        })
        .collect();
    assert_eq!(counts(&many), vec![1; many.len()]);
}

#[test]
fn nothing_moves_past_what_is_not_understood() {
    let r = row(false, 4, 100);
    let mut fragment = r[1].clone();
    fragment.fragment = 0x2000;
    let order = [r[0].packet(), fragment.packet(), r[1].packet(), r[2].packet()];
    assert_eq!(counts(&order), [1, 1, 2]);
    let out = written(&order, Offload::Udp);
    assert_eq!(out[1][HEADER_LEN..], fragment.packet());
    // A closed one of the same flow is a wall, too.
    let mut ack = r[1].clone();
    ack.payload.clear();
    assert_eq!(counts(&[r[0].packet(), ack.packet(), r[1].packet()]), [1, 1, 1]);
}

#[test]
fn datagrams_are_merged_where_the_kernel_has_it() {
    for v6 in [false, true] {
        let next = |i: u16| {
            let mut c = TestPacket::udp(v6, if i == 4 { 20 } else { 64 });
            c.id = i;
            c.payload[0] = i as u8;
            c
        };
        let all: Vec<_> = (0..6).map(|i| next(i).packet()).collect();
        assert_eq!(counts(&all), [5, 1]);
        assert_eq!(counts_with(&all, Offload::Tcp), [1; 6]);
        // Without a checksum, or with a length that says less than is there.
        for at in [if v6 { 46 } else { 26 }, if v6 { 44 } else { 24 }] {
            let mut odd = all.clone();
            odd[1][at] = 0;
            odd[1][at + 1] = 0;
            assert_eq!(counts(&odd), [1, 1, 3, 1]);
        }
    }
}

#[test]
fn the_whole_is_a_packet_that_the_kernel_understands() {
    for (v6, kind) in [(false, Kind::Tcp4), (true, Kind::Tcp6)] {
        let mut r = row(v6, 3, 100);
        r[2].flags |= 0x08;
        let out = written(&packets(&r), Offload::Udp);
        let (header, packet) = out[0].split_first_chunk().expect("a header");
        let transport = if v6 { 40u16 } else { 20 };
        let head = transport + 32;
        let checksum = Some((transport, 16));
        assert_eq!(
            Header::read(header),
            Some(Header { kind, segment: 100, head, checksum, tunnel: None })
        );
        let mut whole = r[0].clone();
        whole.payload = r.iter().flat_map(|c| c.payload.clone()).collect();
        whole.flags |= 0x08;
        // The checksum is left to whoever sends it on; finished, it is right.
        let mut finished = packet.to_vec();
        assert!(checksum::finish(&mut finished, (transport, 16)));
        assert!(is_right(&finished) && finished == whole.packet());
    }
}
