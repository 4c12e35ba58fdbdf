//! More than a device wants: what is bounded, what is refused, and that data keeps flowing.

use hopbox::wg::{Drop, Inbound};

use super::sim::*;
use super::stranger::{ADDRESS, Later, Stranger, introduce, join, letter, stamp, with_cookie};

fn initiation(s: &Sim, who: &mut Stranger) -> Vec<u8> {
    who.initiation(1, stamp(1_700_000_000, 0).later(s.now)).1
}

/// A stranger whose initiations carry a valid cookie for `from`, at a loaded device B.
fn cookie_for(s: &mut Sim, who: &mut Stranger, from: std::net::SocketAddr) -> [u8; 16] {
    let d = initiation(s, who);
    s.load(B);
    s.inject(B, from, &d);
    who.cookie(&s.last(B, Kind::Cookie).bytes, &d).unwrap()
}

// R39: bursts of 5, then 20 a second; over → silence.
#[test]
fn under_load_a_source_with_cookie_gets_5_handshakes_at_once_and_20_a_second() {
    let mut s = Sim::strangers(5, 2);
    let mut who = introduce(&mut s, B);
    let cookie = cookie_for(&mut s, &mut who, v4(ADDRESS));
    s.forget();
    let attempt = |s: &mut Sim, who: &mut Stranger| {
        s.load(B);
        let d = with_cookie(&initiation(s, who), &cookie);
        s.inject(B, v4(ADDRESS), &d) != Inbound::Dropped(Drop::RateLimited)
    };
    let burst = (0..10).filter(|_| attempt(&mut s, &mut who)).count();
    assert_eq!(burst, 5);
    assert_eq!(s.count(B, Kind::Cookie), 0, "the rest is met with silence");
    let mut served = 0;
    for _ in 0..500 {
        s.run(10 * MS);
        served += usize::from(attempt(&mut s, &mut who));
    }
    assert!((99..=101).contains(&served), "{served} in 5 s");
}

// R39: one busy source does not eat the share of another.
#[test]
fn the_limit_is_per_source() {
    let mut s = Sim::strangers(5, 2);
    let (mut one, mut two) = (introduce(&mut s, B), introduce(&mut s, B));
    let (mine, other) = (v4(20), v4(21));
    let (c1, c2) = (cookie_for(&mut s, &mut one, mine), cookie_for(&mut s, &mut two, other));
    for _ in 0..10 {
        let d = with_cookie(&initiation(&s, &mut one), &c1);
        s.inject(B, mine, &d);
    }
    let d = with_cookie(&initiation(&s, &mut two), &c2);
    assert_eq!(s.inject(B, other, &d), Inbound::Consumed);
}

// R39, §6: an IPv6 source is its /64.
#[test]
fn ipv6_sources_of_one_network_share_a_limit() {
    let mut s = Sim::strangers(5, 2);
    let mut who = introduce(&mut s, B);
    let mut served = 0;
    for host in 1..20 {
        let cookie = cookie_for(&mut s, &mut who, v6(host));
        let d = with_cookie(&initiation(&s, &mut who), &cookie);
        served += u64::from(s.inject(B, v6(host), &d) != Inbound::Dropped(Drop::RateLimited));
    }
    assert_eq!(served, 5);
    assert_eq!(s.drops(B, Drop::RateLimited), 14);
}

// R38 R42: the shell's ring in front of the device.
#[test]
fn a_flood_through_the_ring_is_bounded_and_answered_by_cookies_alone() {
    let mut s = Sim::strangers(5, 2);
    let mut who = introduce(&mut s, B);
    for i in 0..1000u64 {
        let (_, d) = who.initiation(i as u32, stamp(1_700_000_000 + i, 0));
        s.post(B, v4((i % 200) as u8 + 20), &d);
    }
    s.run(SEC);
    assert_eq!(s.drops(B, Drop::HandshakeQueueFull), 1000 - 256);
    assert_eq!(s.drops(B, Drop::CookieSent), 256);
    assert_eq!(s.count(B, Kind::Response), 0);
}

// R38: load is noticed at the 32nd waiting handshake, not before.
#[test]
fn a_burst_of_31_handshakes_is_served_without_cookies() {
    let mut s = Sim::strangers(5, 2);
    let mut all: Vec<Stranger> = (0..31).map(|_| introduce(&mut s, B)).collect();
    for (i, who) in all.iter_mut().enumerate() {
        let (_, d) = who.initiation(i as u32, stamp(1_700_000_000, 0));
        s.post(B, v4(i as u8 + 20), &d);
    }
    s.run(SEC);
    assert_eq!((s.count(B, Kind::Response), s.count(B, Kind::Cookie)), (31, 0));
}

// R42 E21 in small: sessions that exist are not touched by a handshake flood.
#[test]
fn data_flows_during_a_handshake_flood() {
    let mut s = Sim::strangers(5, 3);
    s.introduce(A, B);
    s.send(A, B, b"first");
    s.run(SEC);
    let mut who = introduce(&mut s, B);
    s.forget();
    for round in 0..6u64 {
        for i in 0..300u64 {
            let (_, d) = who.initiation(i as u32, stamp(1_800_000_000 + round * 300 + i, 0));
            s.post(B, v4((i % 200) as u8 + 20), &d);
        }
        s.send(A, B, &round.to_le_bytes());
        s.run(100 * MS);
    }
    assert_eq!(s.delivered(B).len(), 6);
    assert_eq!(s.count(B, Kind::Response), 0);
    assert!(s.nodes[B].device.live_indices() <= 4);
}

// R42: a peer of ours that floods us with valid initiations holds three sessions at most.
#[test]
fn a_peer_that_initiates_all_the_time_does_not_make_us_grow() {
    let mut s = Sim::strangers(5, 2);
    let mut who = introduce(&mut s, B);
    for i in 0..200 {
        let keys = join(&mut s, B, &mut who, i);
        if i % 3 == 0 {
            s.inject(B, v4(ADDRESS), &keys.data(0, &letter(B, b"x")));
        }
        s.run(20 * MS);
        assert!(s.nodes[B].device.live_indices() <= 3);
    }
    assert_eq!(s.count(B, Kind::Response), 200);
}

// R26 R94: bytes out never exceed bytes in, towards somebody who proved nothing.
#[test]
fn nothing_is_amplified() {
    let mut s = Sim::strangers(5, 2);
    let mut who = introduce(&mut s, B);
    let from = v4(66);
    let mut inward = 0;
    for i in 0..300u64 {
        s.run(3 * MS);
        if i % 3 == 0 {
            s.load(B);
        }
        let mut d = initiation(&s, &mut who);
        if i % 2 == 0 {
            let at = s.rng.below(148) as usize;
            d[at] ^= 1;
        }
        inward += d.len();
        s.inject(B, from, &d);
        let outward: usize = s.sent_to(from).iter().map(|w| w.bytes.len()).sum();
        assert!(outward <= inward);
    }
}

// R38 R95: load and the limiter's memory do not outlive a stop.
#[test]
fn a_restart_forgets_the_load() {
    let mut s = Sim::strangers(5, 2);
    let mut who = introduce(&mut s, B);
    s.load(B);
    s.stop(B);
    s.start(B);
    let d = initiation(&s, &mut who);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Consumed);
}

// R75, bounded answers of our own.
#[test]
fn icmp_errors_for_unroutable_packets_are_limited_to_10_a_second() {
    let mut s = Sim::strangers(5, 1);
    let p = packet(inner(A), "198.51.100.1".parse().unwrap(), 0, b"12345678");
    let mut total = 0;
    for round in 0..5 {
        s.forget();
        for _ in 0..100 {
            s.send_packet(A, &p);
        }
        let n = s.log.iter().filter(|e| matches!(e.fact, Fact::Icmp(_))).count();
        assert_eq!(n, 10, "second {round}");
        total += n;
        s.run(SEC);
    }
    assert_eq!(total, 50);
}
