//! Lengths, ECN and the one ICMP error we make, judged by an independent checksum.

use super::*;

/// Internet checksum over whole words, in the slow way: 0 if a stored checksum is right.
fn sum_is_right(parts: &[&[u8]]) -> bool {
    let mut bytes: Vec<u8> = parts.concat();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let total: u64 = bytes.chunks(2).map(|w| u64::from(w[0]) * 256 + u64::from(w[1])).sum();
    // Ones' complement: modulo 65,535, where all ones is the other zero.
    total > 0 && total % 65_535 == 0
}

/// Computes and stores the checksum of an IPv4 header.
fn fix_v4(header: &mut [u8]) {
    header[10..12].fill(0);
    let total: u64 = header.chunks(2).map(|w| u64::from(w[0]) * 256 + u64::from(w[1])).sum();
    let sum = 65_535 - (total - 1) % 65_535 - 1;
    header[10..12].copy_from_slice(&(sum as u16).to_be_bytes());
    assert!(sum_is_right(&[header]));
}

const SRC4: [u8; 4] = [10, 0, 0, 1];
const DST4: [u8; 4] = [192, 0, 2, 9];

fn v4(proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0; V4_HEADER];
    p[0] = 0x45;
    p[2..4].copy_from_slice(&((V4_HEADER + payload.len()) as u16).to_be_bytes());
    p[8] = 64;
    p[9] = proto;
    p[12..16].copy_from_slice(&SRC4);
    p[16..20].copy_from_slice(&DST4);
    fix_v4(&mut p);
    p.extend(payload);
    p
}

fn src6() -> Ipv6Addr {
    "fd00::1".parse().unwrap()
}

fn dst6() -> Ipv6Addr {
    "2001:db8::9".parse().unwrap()
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0; V6_HEADER];
    p[0] = 0x60;
    p[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    p[6] = next;
    p[7] = 64;
    p[8..24].copy_from_slice(&src6().octets());
    p[24..40].copy_from_slice(&dst6().octets());
    p.extend(payload);
    p
}

#[test]
fn only_versions_4_and_6() {
    // R78
    assert_eq!(view(&[]), None);
    for version in 0..16 {
        let mut p = vec![0; 64];
        p[0] = version << 4 | 5;
        p[2..4].copy_from_slice(&64u16.to_be_bytes());
        assert_eq!(view(&p).is_some(), version == 4 || version == 6, "version {version}");
    }
}

#[test]
fn ipv4_lengths() {
    // R78: bytes at hand, what the header says, what is seen.
    for (have, says, want) in [
        (20, 20, Some(20)),
        (21, 20, Some(20)),
        (36, 21, Some(21)),
        (1420, 1420, Some(1420)),
        (65_535, 65_535, Some(65_535)),
        (65_536, 65_535, Some(65_535)),
        (19, 19, None),
        (19, 20, None),
        (20, 19, None),
        (20, 0, None),
        (20, 21, None),
        (64, 65, None),
        (64, 65_535, None),
        (1, 20, None),
    ] {
        let mut p = vec![0; have.max(4)];
        p[0] = 0x45;
        p[2..4].copy_from_slice(&u16::to_be_bytes(says));
        assert_eq!(view(&p[..have]).map(|v| v.len), want, "have {have}, header says {says}");
    }
}

#[test]
fn ipv6_lengths_do_not_wrap() {
    // R78: 40 + 65,535 is more than 16 bits hold.
    for (have, says, want) in [
        (40, 0, Some(40)),
        (48, 0, Some(40)),
        (41, 1, Some(41)),
        (1420, 1380, Some(1420)),
        (65_575, 65_535, Some(65_575)),
        (65_600, 65_535, Some(65_575)),
        (39, 0, None),
        (40, 1, None),
        (65_574, 65_535, None),
        (64, 65_495, None),
        (64, 65_496, None),
        (64, 65_497, None),
        (64, 65_512, None),
        (65_535, 65_496, None),
        (1420, 65_535, None),
    ] {
        let mut p = vec![0; have.max(6)];
        p[0] = 0x60;
        p[4..6].copy_from_slice(&u16::to_be_bytes(says));
        assert_eq!(view(&p[..have]).map(|v| v.len), want, "have {have}, header says {says}");
    }
}

#[test]
fn addresses_and_ecn_are_read_from_their_places() {
    // R75 R77 R81
    let mut p = v4(17, &[1, 2, 3]);
    p[1] = 0b1011_1001;
    p.extend([0; 9]);
    let want = View { src: SRC4.into(), dst: DST4.into(), len: 23, ecn: 1 };
    assert_eq!(view(&p), Some(want));
    let mut p = v6(17, &[1, 2, 3]);
    // Traffic class 0b1011_1010 over the nibbles, and a flow label of all ones.
    (p[0], p[1], p[2], p[3]) = (0x6b, 0xaf, 0xff, 0xff);
    let want = View { src: src6().into(), dst: dst6().into(), len: 43, ecn: 2 };
    assert_eq!(view(&p), Some(want));
}

#[test]
fn ecn_on_the_way_out() {
    // R81: not-ECT, ECT(1), ECT(0), CE.
    assert_eq!([0, 1, 2, 3].map(ecn_encapsulate), [0, 1, 2, 2]);
}

/// R82, all sixteen: only an outer CE marks, and only an ECN-capable inner packet.
fn decapsulated(outer: u8, inner: u8) -> u8 {
    match (outer, inner) {
        (3, 1 | 2) => 3,
        _ => inner,
    }
}

#[test]
fn ecn_on_the_way_in_over_ipv4() {
    // R82: every TOS byte, so that DSCP is seen to stay; the checksum exactly as if made anew.
    for (outer, tos) in (0..4).flat_map(|o| (0..=255u8).map(move |t| (o, t))) {
        for ident in [0u16, 1, 0x00ff, 0xfeff, 0xff00, 0xfffe, 0xffff] {
            let mut p = v4(6, b"segment");
            p[1] = tos;
            p[4..6].copy_from_slice(&ident.to_be_bytes());
            fix_v4(&mut p[..20]);
            let mut want = p.clone();
            want[1] = tos & 0xfc | decapsulated(outer, tos & 3);
            fix_v4(&mut want[..20]);
            ecn_decapsulate(outer, &mut p);
            assert_eq!(p, want, "outer {outer} TOS {tos:02x} id {ident:04x}");
        }
    }
}

#[test]
fn ecn_on_the_way_in_over_any_ipv4_header() {
    // R82: options, and headers whose checksum words run through all carries.
    let mut r = Random(82);
    for n in 0..20_000 {
        let words = 5 + r.next() as usize % 11;
        let mut p: Vec<u8> = (0..words * 4).map(|_| r.next() as u8).collect();
        p[0] = 0x40 | words as u8;
        fix_v4(&mut p);
        let mut want = p.clone();
        want[1] = p[1] & 0xfc | decapsulated(3, p[1] & 3);
        fix_v4(&mut want);
        ecn_decapsulate(3, &mut p);
        assert_eq!(p, want, "header {n}");
    }
}

#[test]
fn a_wrong_ipv4_checksum_stays_wrong() {
    // R82 R85: it is corrected for our change only.
    let mut p = v4(6, b"segment");
    p[1] |= ECN_ECT0;
    p[11] ^= 0x40;
    assert!(!sum_is_right(&[&p[..20]]));
    ecn_decapsulate(ECN_CE, &mut p);
    assert_eq!(p[1] & 3, ECN_CE);
    assert!(!sum_is_right(&[&p[..20]]));
}

#[test]
fn ecn_on_the_way_in_over_ipv6() {
    // R82: every traffic class, with a flow label that must not be touched.
    for (outer, class) in (0..4).flat_map(|o| (0..=255u8).map(move |c| (o, c))) {
        let mut p = v6(6, b"segment");
        let word = |class: u8| (6u32 << 28 | u32::from(class) << 20 | 0xa5f0f).to_be_bytes();
        p[..4].copy_from_slice(&word(class));
        let mut want = p.clone();
        want[..4].copy_from_slice(&word(class & 0xfc | decapsulated(outer, class & 3)));
        ecn_decapsulate(outer, &mut p);
        assert_eq!(p, want, "outer {outer} class {class:02x}");
    }
}

#[test]
fn ecn_leaves_what_is_no_packet() {
    // R82
    for (first, len) in [(0x45, 19), (0x60, 39), (0x50, 60), (0x00, 60), (0x45, 1), (0x60, 1)] {
        let mut p = vec![0x02; len];
        p[0] = first;
        let before = p.clone();
        ecn_decapsulate(ECN_CE, &mut p);
        assert_eq!(p, before);
    }
    ecn_decapsulate(ECN_CE, &mut []);
}

/// Checks everything about an ICMP error for the IPv4 packet `p`.
fn check_unreachable_v4(p: &[u8], quoted: usize) {
    let e = unreachable(p).expect("an answer");
    assert_eq!(e[0], 0x45);
    assert_eq!(usize::from(u16::from_be_bytes([e[2], e[3]])), e.len());
    assert_eq!((e[9], &e[12..16], &e[16..20]), (1, &p[16..20], &p[12..16]));
    assert!(e[8] > 0, "time to live");
    assert_eq!(u16::from_be_bytes([e[6], e[7]]) & 0x3fff, 0, "no fragment");
    // Host unreachable; the second word is unused.
    assert_eq!((e[20], e[21], &e[24..28]), (3, 1, &[0; 4][..]));
    assert_eq!(e[28..], p[..quoted], "the header and 8 bytes");
    assert!(sum_is_right(&[&e[..20]]), "header checksum");
    assert!(sum_is_right(&[&e[20..]]), "ICMP checksum");
    assert_eq!(view(&e).map(|v| v.len), Some(e.len()));
    assert_eq!(unreachable(&e), None, "no answer to an answer");
}

#[test]
fn unreachable_over_ipv4() {
    // R75
    check_unreachable_v4(&v4(17, b"eight bytes and more of a datagram"), 28);
    check_unreachable_v4(&v4(6, b"odd"), 23);
    check_unreachable_v4(&v4(17, b""), 20);
    check_unreachable_v4(&v4(6, &[0xff; 1400]), 28);
    // Padding behind the packet is not quoted.
    let mut padded = v4(17, b"abc");
    padded.extend([0xee; 13]);
    check_unreachable_v4(&padded, 23);
    // Options count as header.
    let mut options = v4(17, &[7; 30]);
    options[0] = 0x47;
    check_unreachable_v4(&options, 36);
    // The first fragment is answered, with or without "don't fragment" or "more fragments".
    for flags in [0x40, 0x20] {
        let mut first = v4(17, &[7; 30]);
        first[6] = flags;
        check_unreachable_v4(&first, 28);
    }
}

#[test]
fn unreachable_over_ipv6() {
    // R75: address unreachable, pseudo-header in the checksum, never above 1280 bytes.
    for len in [0, 1, 7, 8, 100, 1191, 1192, 1193, 1400, 9000] {
        let p = v6(17, &vec![0xa5; len]);
        let e = unreachable(&p).expect("an answer");
        assert_eq!((e[0] >> 4, e[6]), (6, 58));
        assert_eq!(usize::from(u16::from_be_bytes([e[4], e[5]])), e.len() - 40);
        assert_eq!((&e[8..24], &e[24..40]), (&p[24..40], &p[8..24]));
        assert_eq!((e[40], e[41], &e[44..48]), (1, 3, &[0; 4][..]));
        assert_eq!(e[48..], p[..p.len().min(1232)]);
        assert!(e.len() <= 1280);
        let pseudo = ((e.len() - 40) as u32).to_be_bytes();
        assert!(sum_is_right(&[&e[8..40], &pseudo, &[0, 0, 0, 58], &e[40..]]), "{len} bytes");
        assert_eq!(unreachable(&e), None, "no answer to an answer");
    }
}

#[test]
fn icmp_errors_are_never_answered_and_questions_are() {
    // R75; RFC 1122 section 3.2.2, RFC 4443 section 2.4.
    for kind in 0..=255 {
        let p = v4(1, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        let informational = [0, 8, 13, 14].contains(&kind);
        assert_eq!(unreachable(&p).is_some(), informational, "ICMP type {kind}");
        let p = v6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(unreachable(&p).is_some(), kind >= 128 && kind != 137, "ICMPv6 type {kind}");
    }
    // A hop-by-hop header before the error (RFC 4443 section 2.4e).
    assert_eq!(unreachable(&v6(0, &[58, 0, 1, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])), None);
    // Without a type there is nothing to go by. The type stands behind the options.
    assert_eq!(unreachable(&v4(1, b"")), None);
    assert_eq!(unreachable(&v6(58, b"")), None);
    let mut options = v4(1, &[8, 8, 8, 8, 3, 0, 0, 0]);
    options[0] = 0x46;
    assert_eq!(unreachable(&options), None);
}

#[test]
fn what_no_single_host_sent_to_a_single_host_is_never_answered() {
    // R75; RFC 1122 section 3.2.2: broadcast, multicast, unspecified sources; later fragments.
    let with = |src: [u8; 4], dst: [u8; 4]| {
        let mut p = v4(17, &[7; 16]);
        p[12..16].copy_from_slice(&src);
        p[16..20].copy_from_slice(&dst);
        unreachable(&p)
    };
    assert!(with(SRC4, DST4).is_some());
    assert_eq!(with([0; 4], DST4), None);
    assert_eq!(with([255; 4], DST4), None);
    assert_eq!(with([224, 0, 0, 1], DST4), None);
    assert_eq!(with(SRC4, [224, 0, 0, 251]), None);
    assert_eq!(with(SRC4, [239, 255, 255, 250]), None);
    assert_eq!(with(SRC4, [255; 4]), None);
    for (high, low) in [(0x00, 0x01), (0x20, 0x01), (0x1f, 0xff), (0x01, 0x00)] {
        let mut p = v4(17, &[7; 16]);
        (p[6], p[7]) = (high, low);
        assert_eq!(unreachable(&p), None, "fragment offset {high:02x}{low:02x}");
    }
    let with = |src: &str, dst: &str| {
        let mut p = v6(17, &[7; 16]);
        p[8..24].copy_from_slice(&src.parse::<Ipv6Addr>().unwrap().octets());
        p[24..40].copy_from_slice(&dst.parse::<Ipv6Addr>().unwrap().octets());
        unreachable(&p)
    };
    assert!(with("fd00::1", "2001:db8::1").is_some());
    assert_eq!(with("::", "2001:db8::1"), None);
    assert_eq!(with("ff02::1", "2001:db8::1"), None);
    assert_eq!(with("fd00::1", "ff02::fb"), None);
    assert_eq!(with("fd00::1", "ff0e::1"), None);
}

#[test]
fn a_header_shorter_than_a_header_is_not_answered() {
    // R78: header lengths of 0 to 4 words, and one that runs past the packet.
    for words in 0..5 {
        let mut p = v4(17, &[7; 16]);
        p[0] = 0x40 | words;
        assert_eq!(unreachable(&p), None, "{words} words");
    }
    let mut p = v4(1, &[8; 8]);
    p[0] = 0x4f;
    assert_eq!(unreachable(&p), None);
}

/// SplitMix64: a seed makes the whole run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Whatever the bytes: no panic, lengths within bounds, ECN changes nothing but its bits.
fn hold_together(p: &[u8], seed: u64) {
    if let Some(v) = view(p) {
        let least = if v.src.is_ipv4() { V4_HEADER } else { V6_HEADER };
        assert!(least <= v.len && v.len <= p.len(), "seed {seed}");
    }
    if let Some(e) = unreachable(p) {
        let (asked, answer) = (view(p).unwrap(), view(&e).unwrap());
        assert_eq!((answer.src, answer.dst), (asked.dst, asked.src), "seed {seed}");
        assert!(answer.len == e.len() && e.len() <= 1280, "seed {seed}");
        assert_eq!(unreachable(&e), None, "seed {seed}");
    }
    for outer in 0..4 {
        let mut q = p.to_vec();
        ecn_decapsulate(outer, &mut q);
        let same = |range: std::ops::Range<usize>| p.get(range.clone()) == q.get(range);
        assert!(p.len() == q.len() && same(2..10.min(p.len())), "seed {seed}");
        assert!(p.first() == q.first() && p.get(12..) == q.get(12..), "seed {seed}");
    }
}

#[test]
fn any_bytes_are_survived() {
    // R78 R08: random bytes, packets with damage, and every truncation of good ones.
    for seed in 0..20_000 {
        let mut r = Random(seed);
        let len = r.next() as usize % if seed % 50 == 0 { 2000 } else { 90 };
        let mut p: Vec<u8> = (0..len).map(|_| r.next() as u8).collect();
        if let Some(first) = p.first_mut() {
            *first = [0x45, 0x60, *first, 0x40 | *first & 15][seed as usize % 4];
        }
        if seed % 3 != 0 && len > 6 {
            // Mostly believable lengths, so that the later checks are reached.
            let says = (len as u16).wrapping_sub(r.next() as u16 % 4);
            let (at, less) = if p[0] >> 4 == 6 { (4, 40) } else { (2, 0) };
            p[at..at + 2].copy_from_slice(&says.wrapping_sub(less).to_be_bytes());
        }
        hold_together(&p, seed);
    }
    for whole in [v4(1, &[3; 60]), v4(17, &[9; 60]), v6(58, &[3; 60]), v6(17, &[9; 60])] {
        for len in 0..=whole.len() {
            hold_together(&whole[..len], u64::MAX);
            assert_eq!(view(&whole[..len]).is_some(), len == whole.len());
        }
    }
}

#[test]
fn udp_payloads_are_found_and_fragments_are_not() {
    let udp = [&[0u8; 8][..], b"WG"].concat();
    assert_eq!(udp_payload(&v4(17, &udp)), Some(&b"WG"[..]));
    assert_eq!(udp_payload(&v6(17, &udp)), Some(&b"WG"[..]));
    assert_eq!(udp_payload(&v4(6, &udp)), None);
    assert_eq!(udp_payload(&v6(6, &udp)), None);
    // More fragments follow; this is one of those.
    let (mut first, mut later) = (v4(17, &udp), v4(17, &udp));
    first[6] = 0x20;
    later[7] = 1;
    assert_eq!((udp_payload(&first), udp_payload(&later)), (Some(&b"WG"[..]), None));
    let fragment = |offset: u8| v6(44, &[&[17, 0, 0, offset, 0, 0, 0, 0][..], &udp].concat());
    assert_eq!((udp_payload(&fragment(1)), udp_payload(&fragment(8))), (Some(&b"WG"[..]), None));
    for whole in [v4(17, &udp), v6(17, &udp), fragment(0)] {
        for len in 0..whole.len() - 2 {
            assert_eq!(udp_payload(&whole[..len]), None, "{len}");
        }
    }
}

/// R104: RFC 1191 has the size in the last two bytes of the second word.
#[test]
fn too_long_says_how_long_it_may_be() {
    let packet = v4(17, &[7; 1400]);
    let e = too_long(&packet, 1232).expect("an answer");
    assert_eq!(e[20..28], [3, 4, e[22], e[23], 0, 0, 0x04, 0xd0]);
    assert_eq!(e[28..], packet[..28]);
    assert_eq!((&e[12..16], &e[16..20]), (&packet[16..20], &packet[12..16]));
    assert_eq!(checksum(0, &e[20..]), [0, 0]);
    assert_eq!(too_long(&e, 1232), None, "no answer to an answer");
    assert_eq!(too_long(&packet[..19], 1232), None);
}
