//! Cryptokey routing: who may speak for an address, and who gets what is sent to it.

use std::net::IpAddr;

use hopbox::wg::{Drop, Inbound, Outbound, PeerUpdate};

use super::sim::*;
use super::stranger::{self, ADDRESS, joined};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Three devices; A knows B and C with these prefixes, and has sessions with both.
fn hub(b: &[(&str, u8)], c: &[(&str, u8)]) -> Sim {
    let mut s = Sim::strangers(6, 3);
    s.introduce(A, B);
    s.introduce(A, C);
    for (dev, prefixes) in [(B, b), (C, c)] {
        s.configure(A, dev, |u| {
            u.replace_allowed_ips = true;
            u.allowed_ips = prefixes.iter().map(|(p, len)| (ip(p), *len, true)).collect();
        })
        .unwrap();
        // The spokes take everything from the hub.
        s.configure(dev, A, |u| {
            u.allowed_ips = vec![(ip("0.0.0.0"), 0, true), (ip("::"), 0, true)]
        })
        .unwrap();
        s.set_keepalive(A, dev, 25);
        s.run(SEC);
        s.set_keepalive(A, dev, 0);
    }
    s.run(30 * SEC);
    s.forget();
    s
}

/// Which device a packet of A to `dst` goes to.
fn way(s: &mut Sim, dst: &str) -> Option<Dev> {
    let src = if dst.contains(':') { inner6(A) } else { inner(A) };
    match s.send_packet(A, &packet(src, ip(dst), 0, b"x")) {
        Outbound::Send { to, .. } => (0..3).find(|&d| s.seen_as(d) == to.remote),
        _ => None,
    }
}

// R75 R80
#[test]
fn the_longest_prefix_picks_the_peer() {
    let mut s = hub(
        &[("10.0.0.0", 8), ("10.1.2.3", 32), ("fd00::", 16), ("fd00:1:2::3", 128)],
        &[("10.1.0.0", 16), ("10.1.2.0", 24), ("fd00:1::", 32)],
    );
    for (dst, want) in [
        ("10.0.0.9", Some(B)),
        ("10.255.255.255", Some(B)),
        ("10.1.0.1", Some(C)),
        ("10.1.2.2", Some(C)),
        ("10.1.2.3", Some(B)),
        ("11.0.0.0", None),
        ("9.255.255.255", None),
        ("fd00::1", Some(B)),
        ("fd00:1::1", Some(C)),
        ("fd00:1:2::3", Some(B)),
        ("fd01::", None),
    ] {
        assert_eq!(way(&mut s, dst), want, "{dst}");
    }
    assert_eq!(s.drops(A, Drop::NoRoute), 3);
}

// R80
#[test]
fn a_default_route_takes_what_nobody_else_has() {
    let mut s = hub(&[("0.0.0.0", 0), ("::", 0)], &[("10.0.0.0", 8)]);
    assert_eq!(way(&mut s, "203.0.113.9"), Some(B));
    assert_eq!(way(&mut s, "10.3.3.3"), Some(C));
    assert_eq!(way(&mut s, "2001:db8::1"), Some(B));
}

// R77: by longest prefix over the whole device, not merely "one of its prefixes".
#[test]
fn a_source_address_is_believed_only_from_the_very_peer_that_routes_to_it() {
    let mut s = hub(&[("10.9.0.0", 16)], &[("10.9.9.9", 32)]);
    for (from, src, want) in [
        (B, "10.9.0.1", true),
        (B, "10.9.9.9", false),
        (C, "10.9.9.9", true),
        (C, "10.9.0.1", false),
        (B, "172.16.0.1", false),
    ] {
        let before = s.delivered(A).len();
        let dst = inner(A);
        s.send_packet(from, &packet(ip(src), dst, 0, b"x"));
        s.run(SEC);
        assert_eq!(s.delivered(A).len() > before, want, "{src} from {from}");
    }
    assert_eq!(s.drops(A, Drop::WrongSource), 3);
}

// R77 R88: the content is refused, and yet it was the peer who sent it.
#[test]
fn a_packet_with_a_wrong_source_still_counts_as_a_sign_of_life() {
    let (mut s, _, keys) = joined();
    let foreign = packet(ip("172.16.0.1"), inner(B), 0, b"x");
    let got = s.inject(B, v4(44), &keys.data(1, &foreign));
    assert_eq!(got, Inbound::Dropped(Drop::WrongSource));
    assert_eq!(s.endpoints(B), [Some(v4(44))]);
    assert!(s.delivered(B).is_empty());
    s.run(11 * SEC);
    assert_eq!(s.count(B, Kind::Keepalive), 1, "R68: it was data");
}

// R75
#[test]
fn a_packet_for_nobody_is_dropped_counted_and_answered_by_icmp() {
    let mut s = Sim::connected();
    let p = packet(inner(A), ip("198.51.100.1"), 0, b"12345678");
    assert_eq!(s.send_packet(A, &p), Outbound::Dropped(Drop::NoRoute));
    let p6 = packet(inner6(A), ip("2001:db8::99"), 0, b"12345678");
    assert_eq!(s.send_packet(A, &p6), Outbound::Dropped(Drop::NoRoute));
    let icmp: Vec<Vec<u8>> = s
        .log
        .iter()
        .filter_map(|e| match &e.fact {
            Fact::Icmp(p) => Some(p.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(icmp.len(), 2);
    assert_eq!(icmp[0][9], 1);
    assert_eq!(icmp[0][12..16], [198, 51, 100, 1]);
    assert_eq!(icmp[0][16..20], [10, 0, 0, 1]);
    assert_eq!(icmp[0][20..22], [3, 1], "host unreachable");
    assert_eq!((checksum(&icmp[0][..20]), checksum(&icmp[0][20..])), (0, 0));
    assert_eq!(icmp[0][28..], p[..28]);
    assert_eq!((icmp[1][6], &icmp[1][40..42]), (58, &[1, 3][..]), "address unreachable");
    assert!(s.wire.is_empty());
}

// R76
#[test]
fn a_packet_for_a_peer_without_endpoint_is_dropped_and_not_staged() {
    let mut s = Sim::strangers(6, 2);
    let mut who = stranger::introduce(&mut s, B);
    let p = packet(inner(B), inner(stranger::INNER), 0, b"12345678");
    assert_eq!(s.send_packet(B, &p), Outbound::Dropped(Drop::NoEndpoint));
    assert!(s.log.iter().any(|e| matches!(e.fact, Fact::Icmp(_))));
    assert_eq!(s.nodes[B].device.next_deadline(), None);
    let keys = stranger::join(&mut s, B, &mut who, 1);
    s.inject(B, v4(ADDRESS), &keys.data(0, &[]));
    assert_eq!(s.count(B, Kind::Data), 0, "nothing had waited");
}

// R80
#[test]
fn a_prefix_given_to_another_peer_moves_at_once() {
    let mut s = hub(&[("10.7.0.0", 16)], &[("10.8.0.0", 16)]);
    assert_eq!(way(&mut s, "10.7.1.1"), Some(B));
    s.configure(A, C, |u| u.allowed_ips = vec![(ip("10.7.99.99"), 16, true)]).unwrap();
    assert_eq!(way(&mut s, "10.7.1.1"), Some(C), "masked, and moved");
    assert!(s.status(A, B).allowed_ips.is_empty());
    s.send_packet(B, &packet(ip("10.7.1.1"), inner(A), 0, b"x"));
    s.run(SEC);
    assert_eq!(s.drops(A, Drop::WrongSource), 1);
}

// R80
#[test]
fn removing_prefixes_and_replacing_them_takes_effect_at_once() {
    let mut s = hub(&[("10.7.0.0", 16), ("10.8.0.0", 16)], &[("10.9.0.0", 16)]);
    s.configure(A, B, |u| u.allowed_ips = vec![(ip("10.7.0.0"), 16, false)]).unwrap();
    assert_eq!((way(&mut s, "10.7.0.1"), way(&mut s, "10.8.0.1")), (None, Some(B)));
    s.configure(A, B, |u| u.allowed_ips = vec![(ip("10.9.0.0"), 16, false)]).unwrap();
    assert_eq!(way(&mut s, "10.9.0.1"), Some(C), "only its owner gives a prefix up");
    s.configure(A, B, |u| {
        u.replace_allowed_ips = true;
        u.allowed_ips = vec![(ip("10.5.0.0"), 16, true)];
    })
    .unwrap();
    assert_eq!((way(&mut s, "10.8.0.1"), way(&mut s, "10.5.0.1")), (None, Some(B)));
    assert_eq!(s.status(A, B).allowed_ips, [(ip("10.5.0.0"), 16)]);
}

// R80 R96
#[test]
fn removing_a_peer_removes_its_prefixes() {
    let mut s = hub(&[("10.7.0.0", 16)], &[("10.0.0.0", 8)]);
    s.configure(A, B, |u| u.remove = true).unwrap();
    assert_eq!(way(&mut s, "10.7.0.1"), Some(C), "the wider prefix of another peer applies");
    assert_eq!(s.nodes[A].device.peers().len(), 1);
}

// R80: all lengths, against a slow reference.
#[test]
fn routing_agrees_with_a_linear_search_over_random_tables() {
    let mut s = Sim::strangers(8, 1);
    let mut table: Vec<(u32, u8, usize)> = Vec::new();
    let keys: Vec<[u8; 32]> = (0..8).map(|_| stranger::public(&s.rng.bytes())).collect();
    let mask = |len: u8| u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    for _ in 0..600 {
        let len = s.rng.below(33) as u8;
        let bits = (0x0a00_0000 | s.rng.next() as u32 & 0x0003_0f3f) & mask(len);
        let who = s.rng.below(8) as usize;
        let add = s.rng.below(5) > 0;
        let mut u = PeerUpdate::default();
        u.public_key = keys[who];
        u.endpoint = Some(v4(100 + who as u8));
        u.allowed_ips = vec![(IpAddr::from(bits.to_be_bytes()), len, add)];
        s.act(A, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
        table.retain(|&(b, l, w)| (b, l) != (bits, len) || (!add && w != who));
        if add {
            table.push((bits, len, who));
        }
        let dst = 0x0a00_0000 | s.rng.next() as u32 & 0x0003_0f3f;
        let hit = table.iter().filter(|(b, l, _)| dst & mask(*l) == *b).max_by_key(|t| t.1);
        s.wire.clear();
        let p = packet(inner(A), IpAddr::from(dst.to_be_bytes()), 0, b"x");
        let out = s.send_packet(A, &p);
        match hit {
            None => assert_eq!(out, Outbound::Dropped(Drop::NoRoute)),
            Some((_, _, who)) => {
                assert_eq!(out, Outbound::Staged);
                let status = s.nodes[A].device.peers();
                let mine = status.iter().find(|p| p.public_key == keys[*who]).unwrap();
                assert!(mine.allowed_ips.iter().any(|(p, l)| {
                    let IpAddr::V4(p) = p else { return false };
                    dst & mask(*l) == p.to_bits()
                }));
                // The first packet to a peer shows where it went.
                assert!(s.wire.iter().all(|w| w.to == v4(100 + *who as u8)));
            }
        }
    }
}

// R75 R77: both families of the inner side over both of the outer.
#[test]
fn all_four_mixes_of_inner_and_outer_family_work() {
    let six = |n: u8| v6(n.into());
    for outer in [v4 as fn(u8) -> std::net::SocketAddr, six] {
        let mut s = Sim::strangers(6, 2);
        (s.nodes[A].addr, s.nodes[B].addr) = (outer(1), outer(2));
        s.introduce(A, B);
        s.send(A, B, b"4");
        s.run(SEC);
        for (from, to) in [(A, B), (B, A)] {
            s.send_packet(from, &packet(inner6(from), inner6(to), 0, b"6"));
            s.send(from, to, b"four");
        }
        s.run(SEC);
        assert_eq!(s.delivered(B), [b"4".to_vec(), b"6".to_vec(), b"four".to_vec()]);
        assert_eq!(s.delivered(A), [b"6".to_vec(), b"four".to_vec()]);
    }
}
