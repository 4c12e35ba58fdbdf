//! Endpoints: what moves them, what never does, and which of our own addresses is used.

use hopbox::wg::{Arrival, Drop, Inbound, Local};

use super::sim::*;
use super::stranger::{self, ADDRESS, Later, joined, letter, stamp};

const FIRST: u8 = ADDRESS;
const NEW: u8 = 77;

fn endpoint(s: &Sim) -> Option<std::net::SocketAddr> {
    s.endpoints(B)[0]
}

// R88; boringtun #187, gotatun #91: each of the four messages.
#[test]
fn an_initiation_roams() {
    let (mut s, mut who, _) = joined();
    s.run(SEC);
    let (_, d) = who.initiation(5, stamp(1_700_000_000, 0).later(s.now));
    s.inject(B, v4(NEW), &d);
    assert_eq!(endpoint(&s), Some(v4(NEW)));
    assert_eq!(s.last(B, Kind::Response).to, v4(NEW));
}

// R88
#[test]
fn a_response_roams() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    s.run(DELAY + MS);
    s.nodes[B].nat = Some(v4(NEW));
    let response = s.last(B, Kind::Response).bytes;
    assert_eq!(s.inject(A, v4(NEW), &response), Inbound::Consumed);
    assert_eq!(s.status(A, B).endpoint, Some(v4(NEW)));
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
}

// R88
#[test]
fn a_data_packet_roams() {
    let (mut s, _, keys) = joined();
    s.inject(B, v4(NEW), &keys.data(1, &letter(B, b"x")));
    assert_eq!(endpoint(&s), Some(v4(NEW)));
    s.inject(B, v6(3), &keys.data(2, &letter(B, b"x")));
    assert_eq!(endpoint(&s), Some(v6(3)));
}

// R88
#[test]
fn a_keepalive_roams() {
    let (mut s, _, keys) = joined();
    s.inject(B, v4(NEW), &keys.data(1, &[]));
    assert_eq!(endpoint(&s), Some(v4(NEW)));
}

// R88: on a previous session, too.
#[test]
fn a_packet_on_the_previous_session_roams() {
    let (mut s, mut who, old) = joined();
    s.run(SEC);
    let new = stranger::join(&mut s, B, &mut who, 2);
    s.inject(B, v4(FIRST), &new.data(0, &[]));
    s.inject(B, v4(NEW), &old.data(1, &[]));
    assert_eq!(endpoint(&s), Some(v4(NEW)));
}

// R88: a change of the port alone, as by a NAT.
#[test]
fn a_change_of_the_port_alone_is_followed() {
    let (mut s, _, keys) = joined();
    let mut from = v4(FIRST);
    from.set_port(1024);
    s.inject(B, from, &keys.data(1, &[]));
    assert_eq!(endpoint(&s), Some(from));
}

// R89
#[test]
fn forged_replayed_and_malformed_datagrams_never_roam() {
    let (mut s, mut who, keys) = joined();
    let seen = keys.data(1, &letter(B, b"x"));
    s.inject(B, v4(FIRST), &seen);
    s.run(SEC);
    let (_, init) = who.initiation(5, stamp(1_700_000_000, 0).later(s.now));
    let (_, old) = who.initiation(6, stamp(1, 0));
    let flip = |d: &[u8], at: usize| {
        let mut d = d.to_vec();
        d[at] ^= 1;
        d
    };
    let mut expired = keys.data(9, &[]);
    expired[4] ^= 1;
    let foes = [
        seen.clone(),
        flip(&keys.data(2, &letter(B, b"x")), 20),
        keys.data(u64::MAX, &[]),
        flip(&init, 130),
        who.remac(&flip(&init, 90)),
        who.remac(&flip(&init, 50)),
        old,
        expired,
        vec![0; 148],
    ];
    for (n, d) in foes.iter().enumerate() {
        assert!(matches!(s.inject(B, v4(NEW), d), Inbound::Dropped(_)), "{n}");
        assert_eq!(endpoint(&s), Some(v4(FIRST)), "{n}");
    }
    s.load(B);
    assert_eq!(s.inject(B, v4(NEW), &init), Inbound::Dropped(Drop::CookieSent));
    assert_eq!(endpoint(&s), Some(v4(FIRST)));
    s.run(REJECT_AFTER);
    assert_eq!(s.inject(B, v4(NEW), &keys.data(3, &[])), Inbound::Dropped(Drop::Expired));
    assert_eq!(endpoint(&s), Some(v4(FIRST)));
}

// R88, target "new network": the next packet is enough, and the answer finds its way.
#[test]
fn a_client_that_changes_its_address_is_followed_within_one_packet() {
    let mut s = Sim::settled();
    for hop in [v4(50), v6(51), v4(52)] {
        s.nodes[A].addr = hop;
        s.send(A, B, b"I am here now");
        s.run(2 * DELAY);
        s.send(B, A, b"I see");
        s.run(2 * DELAY);
        assert_eq!(s.delivered(A).last().unwrap(), b"I see");
        assert_eq!(s.status(B, A).endpoint, Some(hop));
        s.run(SEC);
    }
    assert_eq!(s.count(A, Kind::Initiation), 0);
}

// R88 R70: a NAT that forgets its mapping.
#[test]
fn a_nat_that_rebinds_is_followed_with_the_next_keepalive() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 25);
    for port in 0..20u16 {
        let mut outside = v4(200);
        outside.set_port(4000 + port);
        s.nodes[A].nat = Some(outside);
        s.run(26 * SEC);
        s.send(B, A, &port.to_be_bytes());
        s.run(SEC);
        assert_eq!(s.delivered(A).last().unwrap(), &port.to_be_bytes());
    }
}

// R90: answer from the address that was addressed.
#[test]
fn datagrams_leave_from_the_local_address_the_peer_last_wrote_to() {
    let (mut s, _, keys) = joined();
    for (n, ip) in [v4(130).ip(), v6(131).ip()].into_iter().enumerate() {
        let local = Some(Local { ip, port: 1, ifindex: 7 });
        let from = Arrival { remote: v4(FIRST), local, ecn: 0 };
        let mut d = keys.data(1 + n as u64, &[]);
        s.act(B, |dev, now, sink| dev.from_wire(now, &mut d, &from, sink));
        s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
        assert_eq!(s.last(B, Kind::Data).local, local);
    }
}

// R90: a configured endpoint has no source address yet.
#[test]
fn a_newly_configured_endpoint_pins_no_source_address() {
    let mut s = Sim::connected();
    s.configure(A, B, |u| u.endpoint = Some(v4(2))).unwrap();
    s.send(A, B, b"x");
    assert_eq!(s.last(A, Kind::Data).local, None);
    s.run(SEC);
    s.send(B, A, b"y");
    s.run(SEC);
    s.send(A, B, b"z");
    assert_eq!(s.last(A, Kind::Data).local.unwrap().ip, v4(1).ip());
}

// R91
#[test]
fn the_ipv6_scope_is_part_of_the_endpoint() {
    let (mut s, _, keys) = joined();
    let from: std::net::SocketAddr = "[fe80::1%3]:51820".parse().unwrap();
    s.inject(B, from, &keys.data(1, &[]));
    assert_eq!(endpoint(&s), Some(from));
    s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    assert_eq!(s.last(B, Kind::Data).to, from);
}

// R88: a configured endpoint is a first guess, and the peer's own packets correct it.
#[test]
fn configuration_and_packets_both_set_the_endpoint_and_the_later_wins() {
    let (mut s, who, keys) = joined();
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.endpoint = Some(v4(NEW));
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    assert_eq!(endpoint(&s), Some(v4(NEW)));
    s.inject(B, v4(FIRST), &keys.data(1, &[]));
    assert_eq!(endpoint(&s), Some(v4(FIRST)));
}

// R101: after a change of network the peer is shown the new address at once.
#[test]
fn a_network_change_shows_the_new_address_and_renews_the_session() {
    let mut s = Sim::settled();
    s.nodes[A].addr = v4(50);
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    let kinds: Vec<Kind> = s.wire.iter().map(Wire::kind).collect();
    assert_eq!(kinds, [Kind::Keepalive, Kind::Initiation]);
    assert!(s.wire.iter().all(|w| w.local.is_none()), "R90: the old source is forgotten");
    s.run(SEC);
    assert_eq!(s.status(B, A).endpoint, Some(v4(50)));
    s.send(B, A, b"found you");
    s.run(SEC);
    assert_eq!(s.delivered(A), [b"found you".to_vec()]);
}

// R59 R62 R101: the keepalive that shows the new address renews a session of age by itself; then
// there is no second initiation 200 ms later.
#[test]
fn a_network_change_on_an_old_session_initiates_once() {
    let mut s = Sim::settled();
    s.run(125 * SEC);
    s.stop(B);
    s.forget();
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    s.run(4 * SEC);
    let kinds: Vec<Kind> = s.wire.iter().map(Wire::kind).collect();
    assert_eq!(kinds, [Kind::Keepalive, Kind::Initiation]);
}

// R101: nobody is bothered who was not spoken to.
#[test]
fn a_network_change_sends_nothing_to_idle_peers_nor_when_stopped() {
    let mut s = Sim::pair();
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    assert!(s.wire.is_empty());
    s.set_keepalive(A, B, 25);
    s.run(SEC);
    s.stop(A);
    s.forget();
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    assert!(s.wire.is_empty());
}

// R101: after a long sleep a session that is wanted comes back by itself.
#[test]
fn a_network_change_after_a_long_sleep_brings_a_wanted_tunnel_back() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 25);
    s.sleep(A, 8 * HOUR);
    s.nodes[A].addr = v4(60);
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    s.run(6 * SEC);
    s.send(B, A, b"welcome back");
    s.run(SEC);
    assert_eq!(s.delivered(A), [b"welcome back".to_vec()]);
}

// R62 R101: what went over the old network says nothing about the new one, so that the 5 s do not
// hold; and a network that changes all the time is no flood.
#[test]
fn a_network_change_initiates_at_once_and_at_most_every_200_ms() {
    let mut s = Sim::settled();
    s.cut(A, B);
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    s.run(SEC);
    s.heal(A, B);
    let changed = s.now;
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    assert_eq!(s.times(A, Kind::Initiation).last(), Some(&changed));
    s.run(SEC);
    assert_eq!(s.status(A, B).last_handshake_boot.map(|t| t.as_nanos() >= changed), Some(true));

    s.cut(A, B);
    s.forget();
    for _ in 0..1000 {
        s.act(A, |d, now, sink| d.network_changed(now, sink));
        s.run(10 * MS);
    }
    let times = s.times(A, Kind::Initiation);
    assert!(times.len() <= 51 && times.len() > 40, "{}", times.len());
    assert!(times.windows(2).all(|w| w[1] - w[0] >= 200 * MS), "{times:?}");
    // The exception ends with the change: from here on it is 5 s again.
    let last = *times.last().unwrap();
    s.run(20 * SEC);
    let later: Vec<u64> = s.times(A, Kind::Initiation).into_iter().filter(|t| *t > last).collect();
    assert!(later.len() >= 2, "{later:?}");
    assert!(later.windows(2).all(|w| w[1] - w[0] >= REKEY_TIMEOUT), "{later:?}");
}

// R88: a name with several addresses. All are tried at once, and what answers is the endpoint.
#[test]
fn of_several_addresses_the_first_to_answer_is_the_endpoint() {
    let key = |s: &Sim| s.nodes[B].public;
    let good = Sim::pair().seen_as(B);
    let (dead, other) = (v6(77), v4(78));
    for list in [[dead, good, other], [good, dead, other], [dead, other, good]] {
        let mut s = Sim::pair();
        s.configure(A, B, |u| u.endpoint = Some(dead)).unwrap();
        let key = key(&s);
        s.act(A, |d, now, sink| {
            d.set_candidates(&key, &list);
            d.network_changed(now, sink);
        });
        s.send(A, B, b"anywhere");
        let sent: Vec<_> = s.wire.iter().map(|w| (w.to, w.bytes.clone())).collect();
        assert_eq!(sent.len(), 3, "one initiation, three ways");
        assert!(sent.iter().all(|(_, bytes)| *bytes == sent[0].1));
        s.run(SEC);
        assert_eq!(s.delivered(B), [b"anywhere".to_vec()]);
        assert_eq!(s.status(A, B).endpoint, Some(good));
        // With the handshake done nobody else is bothered.
        s.forget();
        s.run(200 * SEC);
        s.send(A, B, b"again");
        s.run(SEC);
        assert!(s.wire.iter().filter(|w| w.from == A).all(|w| w.to == good));
    }
}

// R88: an address in use stays while it is among the candidates, so that a tunnel that works is
// not moved.
#[test]
fn candidates_that_hold_the_endpoint_do_not_move_it() {
    let mut s = Sim::settled();
    let (good, key) = (s.seen_as(B), s.nodes[B].public);
    s.act(A, |d, _, _| d.set_candidates(&key, &[v6(77), good]));
    assert_eq!(s.status(A, B).endpoint, Some(good));
    s.act(A, |d, _, _| d.set_candidates(&key, &[]));
    s.act(A, |d, _, _| d.set_candidates(&[9; 32], &[v6(77)]));
    assert_eq!(s.status(A, B).endpoint, Some(good));
    s.configure(A, B, |u| u.endpoint = Some(v4(5))).unwrap();
    s.act(A, |d, now, sink| d.network_changed(now, sink));
    assert!(s.wire.iter().all(|w| w.to == v4(5)), "who names an endpoint means that one alone");
}

// R67: a device that starts anew and knows where its peer is does not leave it to the 15 s of
// silence in which the peer sends into a session that is gone.
#[test]
fn a_handshake_after_a_restart_needs_no_silence() {
    let mut s = Sim::settled();
    s.reboot(B);
    let at = s.seen_as(A);
    s.configure(B, A, |u| {
        u.endpoint = Some(at);
        u.allowed_ips = vec![(inner(A), 32, true)];
    })
    .unwrap();
    s.forget();
    s.send(A, B, b"lost");
    assert_eq!(s.delivered(B), Vec::<Vec<u8>>::new());
    s.act(B, |d, now, sink| d.handshake_all(now, sink));
    s.run(SEC);
    s.send(A, B, b"heard");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"heard".to_vec()]);
    assert_eq!(s.times(B, Kind::Initiation).len(), 1);
    assert_eq!(s.times(A, Kind::Initiation).len(), 0, "it noticed nothing");
    // With a session there is nothing to do.
    s.forget();
    s.act(B, |d, now, sink| d.handshake_all(now, sink));
    s.run(SEC);
    assert_eq!(s.times(B, Kind::Initiation).len(), 0);
}

// R102: a peer that is heard at another address is there from then on, and loses nothing.
#[test]
fn where_a_try_is_answered_the_peer_is_from_then_on() {
    let mut s = Sim::settled();
    let (good, key) = (s.seen_as(B), s.nodes[B].public);
    s.configure(A, B, |u| u.endpoint = Some(v4(5))).unwrap();
    s.send(A, B, b"lost");
    s.forget();
    s.act(A, |d, now, sink| d.try_at(now, &key, &[v6(77), good], sink));
    let sent: Vec<_> = s.wire.iter().map(|w| w.to).collect();
    assert_eq!(sent, [v6(77), good], "and nothing to the address in use");
    s.run(SEC);
    assert_eq!(s.status(A, B).endpoint, Some(good));
    s.send(A, B, b"heard");
    s.send(B, A, b"and back");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"heard".to_vec()]);
    assert_eq!(s.delivered(A), [b"and back".to_vec()]);
    s.stop(A);
    s.forget();
    s.act(A, |d, now, sink| d.try_at(now, &key, &[good], sink));
    s.act(A, |d, now, sink| d.try_at(now, &[9; 32], &[good], sink));
    assert!(s.wire.is_empty());
}

// R59 R62 R102: tries in vain, for long: what is sent goes where it went, a session is renewed when
// it is time, and no retry is made of any of them.
#[test]
fn tries_in_vain_disturb_nothing() {
    let mut s = Sim::settled();
    let (good, key) = (s.seen_as(B), s.nodes[B].public);
    let mut tries = 0;
    for n in 0..400u32 {
        for _ in 0..2 {
            s.act(A, |d, now, sink| d.try_at(now, &key, &[v4(5)], sink));
        }
        tries += 1;
        s.send(A, B, &n.to_be_bytes());
        s.run(SEC);
        assert_eq!(s.delivered(B).len() as u32, n + 1, "after {n} s");
        assert_eq!(s.status(A, B).endpoint, Some(good));
    }
    let (vain, others): (Vec<Wire>, Vec<Wire>) =
        s.sent(A, Kind::Initiation).into_iter().partition(|w| w.to == v4(5));
    assert_eq!(vain.len(), tries, "two at once are one");
    let renewals = others.len();
    assert!((3..=4).contains(&renewals), "{renewals} in 400 s");
    assert_eq!(s.status(A, B).endpoint, Some(good));
}

// R102: datagrams get out and none comes back that way; the peer answers over the way in use as
// soon as it has heard from there.
#[test]
fn a_try_that_only_arrives_costs_no_more_than_an_answer() {
    let mut s = Sim::settled();
    let (good, key) = (s.seen_as(B), s.nodes[B].public);
    s.act(A, |d, now, sink| d.try_at(now, &key, &[good], sink));
    // Its answer goes elsewhere, and so would data.
    let try_ = s.wire.last().unwrap().clone();
    s.forget();
    s.link(B, A).cut = true;
    s.run(SEC);
    s.heal(A, B);
    assert_eq!(try_.kind(), Kind::Initiation);
    s.send(A, B, b"still here");
    s.send(B, A, b"and heard");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"still here".to_vec()]);
    assert_eq!(s.delivered(A), [b"and heard".to_vec()]);
}
