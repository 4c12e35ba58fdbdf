//! Under load: who gets a cookie, what a cookie proves, and what it must never do.

use hopbox::wg::{Drop, Inbound};

use super::sim::*;
use super::stranger::{
    self, ADDRESS, Later, Stranger, introduce, mac2_is_right, stamp, with_cookie,
};

/// An initiation of the stranger with a timestamp of now.
fn initiation(s: &Sim, who: &mut Stranger) -> Vec<u8> {
    who.initiation(0x77, stamp(1_700_000_000, 0).later(s.now)).1
}

/// Device B, loaded, and a cookie for the stranger at `ADDRESS`.
fn with_cookie_of(s: &mut Sim, who: &mut Stranger) -> [u8; 16] {
    let d = initiation(s, who);
    s.load(B);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::CookieSent));
    who.cookie(&s.last(B, Kind::Cookie).bytes, &d).expect("a cookie that opens")
}

fn start() -> (Sim, Stranger) {
    let mut s = Sim::strangers(4, 2);
    let who = introduce(&mut s, B);
    (s, who)
}

// R33 R34 R39
#[test]
fn under_load_an_initiation_without_cookie_gets_one_and_nothing_else() {
    let (mut s, mut who) = start();
    let d = initiation(&s, &mut who);
    s.load(B);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::CookieSent));
    assert_eq!(s.wire.len(), 1);
    let reply = s.last(B, Kind::Cookie);
    assert_eq!((reply.bytes.len(), reply.to, reply.tos), (64, v4(ADDRESS), 0x88));
    assert_eq!(reply.bytes[..8], [3, 0, 0, 0, 0x77, 0, 0, 0]);
    assert!(who.cookie(&reply.bytes, &d).is_some());
    let other = initiation(&s, &mut who);
    assert!(who.cookie(&reply.bytes, &other).is_none(), "bound to the mac1 it answers");
    assert_eq!(s.nodes[B].device.live_indices(), 0, "R34: stateless");
    assert_eq!(s.endpoints(B), [None]);
}

// R29: no cookie for noise.
#[test]
fn under_load_a_wrong_mac1_gets_no_cookie() {
    let (mut s, mut who) = start();
    let mut d = initiation(&s, &mut who);
    d[116] ^= 1;
    s.load(B);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::BadMac1));
    assert!(s.wire.is_empty());
}

// R31 R39
#[test]
fn under_load_an_initiation_with_the_cookie_is_served() {
    let (mut s, mut who) = start();
    let cookie = with_cookie_of(&mut s, &mut who);
    s.run(500 * MS);
    s.load(B);
    let d = with_cookie(&initiation(&s, &mut who), &cookie);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Consumed);
    assert_eq!(s.count(B, Kind::Response), 1);
}

// R32; gotatun once forgot the port.
#[test]
fn a_cookie_is_good_for_its_address_and_port_only() {
    let (mut s, mut who) = start();
    let cookie = with_cookie_of(&mut s, &mut who);
    let d = with_cookie(&initiation(&s, &mut who), &cookie);
    let mut port = v4(ADDRESS);
    port.set_port(51821);
    for from in [port, v4(10), v6(9)] {
        assert_eq!(s.inject(B, from, &d), Inbound::Dropped(Drop::CookieSent), "{from}");
    }
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Consumed);
}

// R32
#[test]
fn ipv6_sources_get_cookies_of_their_own() {
    let (mut s, mut who) = start();
    let d = initiation(&s, &mut who);
    s.load(B);
    s.inject(B, v6(9), &d);
    let cookie = who.cookie(&s.last(B, Kind::Cookie).bytes, &d).unwrap();
    let d = with_cookie(&d, &cookie);
    assert_eq!(s.inject(B, v6(10), &d), Inbound::Dropped(Drop::CookieSent));
    assert_eq!(s.inject(B, v6(9), &d), Inbound::Consumed);
}

// R32: the secret lives for 120 s from its first use.
#[test]
fn a_cookie_dies_with_the_secret_after_120_seconds() {
    for (age, good) in [(119 * SEC, true), (120 * SEC - 1, true), (120 * SEC, false)] {
        let (mut s, mut who) = start();
        let cookie = with_cookie_of(&mut s, &mut who);
        s.run(age);
        s.load(B);
        let d = with_cookie(&initiation(&s, &mut who), &cookie);
        let want = if good { Inbound::Consumed } else { Inbound::Dropped(Drop::CookieSent) };
        assert_eq!(s.inject(B, v4(ADDRESS), &d), want, "{age}");
    }
}

// R05
#[test]
fn every_cookie_reply_has_a_fresh_nonce() {
    let (mut s, mut who) = start();
    let d = initiation(&s, &mut who);
    s.load(B);
    let mut nonces: Vec<Vec<u8>> = (0..50)
        .map(|_| {
            s.inject(B, v4(ADDRESS), &d);
            s.last(B, Kind::Cookie).bytes[8..32].to_vec()
        })
        .collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 50);
}

// R40
#[test]
fn without_load_mac2_is_not_looked_at() {
    let (mut s, mut who) = start();
    let d = with_cookie(&initiation(&s, &mut who), &[0x42; 16]);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Consumed);
}

// R38
#[test]
fn load_begins_at_an_eighth_of_the_ring_and_lasts_one_second() {
    let (mut s, mut who) = start();
    let d = initiation(&s, &mut who);
    s.act(B, |d, now, _| d.set_queued(now, LOADED - 1));
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Consumed);
    s.load(B);
    s.run(SEC - 1);
    let d = initiation(&s, &mut who);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::CookieSent));
    s.act(B, |d, now, _| d.set_queued(now, 1));
    s.run(1);
    let d = initiation(&s, &mut who);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Consumed);
}

// R38 R39: responses are judged like initiations.
#[test]
fn under_load_responses_need_a_cookie_too() {
    let mut s = Sim::pair();
    s.link(B, A).delay = 100 * MS;
    s.send(A, B, b"x");
    s.run(50 * MS);
    s.run(59 * MS);
    s.load(A);
    s.run(2 * MS);
    assert_eq!(s.drops(A, Drop::CookieSent), 1);
    let (response, cookie) = (s.last(B, Kind::Response).bytes, s.last(A, Kind::Cookie).bytes);
    let a = Stranger::new(s.nodes[B].private, s.nodes[A].public);
    let cookie = a.cookie(&cookie, &response).unwrap();
    s.load(A);
    let again = with_cookie(&response, &cookie);
    assert_eq!(s.inject(A, v4(2), &again), Inbound::Consumed);
}

// R31 R35 R36: both of ours, through a whole exchange.
#[test]
fn a_retry_carries_the_cookie_and_is_served() {
    let mut s = Sim::pair();
    s.load(B);
    s.send(A, B, b"x");
    s.run(SEC);
    assert_eq!((s.count(B, Kind::Cookie), s.count(B, Kind::Response)), (1, 0));
    assert_eq!(s.count(A, Kind::Initiation), 1, "R36: receiving a cookie does not resend");
    s.run(3 * SEC + 500 * MS);
    s.load(B);
    s.run(SEC);
    let sent = s.sent(A, Kind::Initiation);
    assert_eq!(sent.len(), 2);
    assert!(!sent[0].has_mac2() && sent[1].has_mac2());
    assert!((5 * SEC..=5 * SEC + JITTER).contains(&sent[1].t), "R64 as without cookie");
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
    assert_eq!(s.count(B, Kind::Cookie), 1);
}

// R31: from a peer that answers with a cookie of its choice.
#[test]
fn mac2_is_made_of_the_cookie_for_115_seconds() {
    let (mut s, mut who) = start();
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.endpoint = Some(v4(ADDRESS));
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    let say = |s: &mut Sim| s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    say(&mut s);
    let first = s.last(B, Kind::Initiation).bytes;
    let cookie = [0x5c; 16];
    let reply = who.cookie_reply(&first, cookie);
    let t0 = s.now;
    assert_eq!(s.inject(B, v4(ADDRESS), &reply), Inbound::Consumed);
    while s.now < t0 + 150 * SEC {
        say(&mut s);
        s.run(SEC);
    }
    for w in &s.sent(B, Kind::Initiation)[1..] {
        let fresh = w.t - t0 < 115 * SEC;
        assert_eq!(mac2_is_right(&w.bytes, &cookie), fresh, "at {} s", (w.t - t0) / SEC);
        assert_eq!(w.has_mac2(), fresh);
    }
    assert!(s.count(B, Kind::Initiation) > 25);
}

// R35
#[test]
fn a_cookie_reply_is_taken_once_and_only_for_the_last_message() {
    let (mut s, mut who) = start();
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.endpoint = Some(v4(ADDRESS));
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    let first = s.last(B, Kind::Initiation).bytes;
    s.run(6 * SEC);
    let second = s.last(B, Kind::Initiation).bytes;
    let mut stale = who.cookie_reply(&first, [1; 16]);
    assert_eq!(s.inject(B, v4(ADDRESS), &stale), Inbound::Dropped(Drop::UnknownIndex));
    stale[4..8].copy_from_slice(&second[4..8]);
    assert_eq!(s.inject(B, v4(ADDRESS), &stale), Inbound::Dropped(Drop::BadCookie));
    let good = who.cookie_reply(&second, [2; 16]);
    for at in 8..64 {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(s.inject(B, v4(ADDRESS), &bad), Inbound::Dropped(Drop::BadCookie));
    }
    assert_eq!(s.inject(B, v4(ADDRESS), &good), Inbound::Consumed);
    let again = who.cookie_reply(&second, [3; 16]);
    assert_eq!(s.inject(B, v4(ADDRESS), &again), Inbound::Dropped(Drop::BadCookie), "used up");
    s.run(6 * SEC);
    assert!(mac2_is_right(&s.last(B, Kind::Initiation).bytes, &[2; 16]));
}

// R35: the reply to a response is addressed to the new session's index.
#[test]
fn a_responder_takes_a_cookie_for_its_response() {
    let (mut s, mut who) = start();
    let _ = stranger::join(&mut s, B, &mut who, 3);
    let response = s.last(B, Kind::Response).bytes;
    let reply = who.cookie_reply(&response, [7; 16]);
    assert_eq!(s.inject(B, v4(ADDRESS), &reply), Inbound::Consumed);
    s.run(SEC);
    let _ = stranger::join(&mut s, B, &mut who, 4);
    assert!(mac2_is_right(&s.last(B, Kind::Response).bytes, &[7; 16]));
}

// R37 R89; gotatun #159, boringtun #489: off-path redirection by a cookie reply.
#[test]
fn a_cookie_reply_neither_roams_nor_touches_a_timer_nor_counts_as_traffic() {
    let mut s = Sim::pair();
    s.link(A, B).cut = true;
    s.send(A, B, b"x");
    let mut b = Stranger::new(s.nodes[B].private, s.nodes[A].public);
    let reply = b.cookie_reply(&s.last(A, Kind::Initiation).bytes, [1; 16]);
    let due = s.nodes[A].device.next_deadline();
    let rx = s.status(A, B).rx_bytes;
    assert_eq!(s.inject(A, v4(66), &reply), Inbound::Consumed);
    assert_eq!(s.status(A, B).endpoint, Some(v4(2)));
    assert_eq!(s.nodes[A].device.next_deadline(), due);
    assert_eq!(s.status(A, B).rx_bytes, rx);
    assert_eq!(s.wire.len(), 1);
}

// R37
#[test]
fn a_cookie_reply_does_not_stop_the_timer_for_unanswered_data() {
    let mut s = Sim::pair();
    s.send(B, A, b"first");
    s.run(SEC);
    s.cut(A, B);
    s.run(130 * SEC);
    s.forget();
    s.send(B, A, b"unanswered");
    let t0 = s.now;
    let mut a = Stranger::new(s.nodes[A].private, s.nodes[B].public);
    assert_eq!(s.count(B, Kind::Initiation), 1, "renewal by age");
    let reply = a.cookie_reply(&s.last(B, Kind::Initiation).bytes, [1; 16]);
    s.inject(B, v4(1), &reply);
    s.run(16 * SEC);
    let woke = s.log.iter().find(|e| e.fact == Fact::Woke("new handshake after silence"));
    let t = woke.expect("the timer of R67 fired").t - t0;
    assert!((SILENCE..=SILENCE + JITTER).contains(&t));
}

// R33: a cookie sealed under another key than the one the responder's public key gives.
#[test]
fn a_cookie_reply_from_somebody_else_is_refused() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    let mut mallory = Stranger::new([9; 32], s.nodes[A].public);
    let reply = mallory.cookie_reply(&s.last(A, Kind::Initiation).bytes, [1; 16]);
    assert_eq!(s.inject(A, v4(2), &reply), Inbound::Dropped(Drop::BadCookie));
    s.run(6 * SEC);
    assert!(!s.last(A, Kind::Initiation).has_mac2());
}
