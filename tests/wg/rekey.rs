//! Sessions follow each other: who renews, when, and which one carries what.

use hopbox::wg::{Drop, Inbound, Outbound};

use super::sim::*;
use super::stranger::{self, ADDRESS, joined, letter};

// R59
#[test]
fn the_initiator_renews_when_sending_at_the_age_of_120_seconds() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    s.run(SEC);
    let born = 2 * DELAY;
    s.run(born + REKEY_AFTER - 1 - s.now);
    s.send(A, B, b"young");
    assert_eq!(s.count(A, Kind::Initiation), 1);
    s.run(1);
    s.send(A, B, b"old");
    assert_eq!(s.count(A, Kind::Initiation), 2);
    assert_eq!(s.sent(A, Kind::Data).len(), 3, "and the packet goes out on the old session");
    s.run(SEC);
    s.send(A, B, b"new");
    s.run(SEC);
    assert_eq!(s.delivered(B).len(), 4);
    assert_eq!(s.last(A, Kind::Data).counter(), 1, "0 was the keepalive that confirms");
}

// R59; boringtun #258 and relatives.
#[test]
fn the_responder_does_not_renew_by_age() {
    let mut s = Sim::connected();
    for _ in 0..17 {
        s.run(10 * SEC);
        s.send(B, A, b"x");
    }
    assert_eq!(s.count(B, Kind::Initiation), 0);
    // R61: A renewed when it received at 165 s.
    assert_eq!(s.count(A, Kind::Initiation), 1);
}

// R61
#[test]
fn the_initiator_renews_when_receiving_after_165_seconds_and_only_once() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    s.run(SEC);
    let born = 2 * DELAY;
    s.link(A, B).cut = true;
    s.forget();
    s.run(born + 165 * SEC - 2 * DELAY - s.now);
    s.send(B, A, b"at 164.99");
    s.run(DELAY);
    assert_eq!(s.count(A, Kind::Initiation), 0);
    s.run(DELAY);
    s.send(B, A, b"at 165.01");
    s.run(DELAY);
    assert_eq!(s.count(A, Kind::Initiation), 1);
    for _ in 0..12 {
        s.send(B, A, b"more");
        s.run(SEC);
    }
    let times = s.times(A, Kind::Initiation);
    assert_eq!(times.len(), 3, "the first and its retries at 5 s, no other: {times:?}");
}

// R61: the flag is per session.
#[test]
fn each_session_may_renew_on_receipt_once() {
    let mut s = Sim::connected();
    for _ in 0..5 {
        for _ in 0..17 {
            s.run(10 * SEC);
            s.send(B, A, b"x");
            s.run(SEC / 10);
        }
    }
    assert_eq!(s.delivered(A).len(), 85);
    let times = s.times(A, Kind::Initiation);
    assert!(times.len() >= 4, "{times:?}");
    assert_eq!(s.count(B, Kind::Initiation), 0);
}

// R59 R62; boringtun #363: endless rekeying.
#[test]
fn with_steady_traffic_there_is_one_handshake_every_120_seconds() {
    let mut s = Sim::connected();
    let hours = 2;
    for _ in 0..hours * 3600 {
        s.send(A, B, b"ping");
        s.run(DELAY);
        s.send(B, A, b"pong");
        s.run(SEC - DELAY);
    }
    let n = s.count(A, Kind::Initiation) as u64 + s.count(B, Kind::Initiation) as u64;
    assert!((58..=60).contains(&(n / hours * 2)), "{n} handshakes in {hours} h");
    assert_eq!(s.delivered(A).len() as u64, hours * 3600);
    assert_eq!(s.delivered(B).len() as u64, hours * 3600);
    let times = s.times(A, Kind::Initiation);
    assert!(times.windows(2).all(|w| w[1] - w[0] >= 100 * SEC));
}

// R52
#[test]
fn a_session_sends_until_180_seconds_and_not_at_180() {
    for (age, want_staged) in [(REJECT_AFTER - 1, false), (REJECT_AFTER, true)] {
        let mut s = Sim::pair();
        s.send(B, A, b"x");
        s.run(SEC);
        // A responded, and so does not renew by age; its session was born with the response.
        s.run(DELAY + age - s.now);
        let out = s.send(A, B, b"y");
        assert_eq!(out == Outbound::Staged, want_staged, "{age}");
        assert_eq!(s.count(A, Kind::Initiation), usize::from(want_staged));
    }
}

// R53
#[test]
fn a_session_opens_until_180_seconds_and_not_at_180() {
    for (age, want) in [
        (REJECT_AFTER - 1, None),
        (REJECT_AFTER, Some(Drop::Expired)),
        (REJECT_AFTER + 100 * SEC, Some(Drop::Expired)),
    ] {
        let (mut s, _, keys) = joined();
        s.run(age);
        let got = s.inject(B, v4(ADDRESS), &keys.data(1, &letter(B, b"x")));
        match want {
            None => assert!(matches!(got, Inbound::Packet { .. })),
            Some(why) => assert_eq!(got, Inbound::Dropped(why)),
        }
    }
}

// R62
#[test]
fn two_initiations_are_never_closer_than_5_seconds() {
    let mut s = Sim::pair();
    s.both(A, B, |l| l.loss = 600);
    for _ in 0..6000 {
        s.send(A, B, b"x");
        s.send(B, A, b"y");
        s.run(300 * MS);
    }
    let mut all = 0;
    for dev in [A, B] {
        let times = s.times(dev, Kind::Initiation);
        all += times.len();
        assert!(times.windows(2).all(|w| w[1] - w[0] >= REKEY_TIMEOUT), "{times:?}");
    }
    assert!(all > 20, "{all}");
}

// R62
#[test]
fn a_response_restarts_the_5_seconds() {
    let mut s = Sim::pair();
    s.link(B, A).cut = true;
    s.send(A, B, b"x");
    s.run(DELAY);
    let responded = s.now;
    s.run(2 * SEC);
    assert_eq!(s.send(B, A, b"y"), Outbound::Staged);
    assert_eq!(s.count(B, Kind::Initiation), 0);
    s.link(A, B).cut = true;
    s.run(20 * SEC);
    let first = s.times(B, Kind::Initiation)[0];
    assert!(first >= responded + REKEY_TIMEOUT, "{first}");
    assert!(first <= responded + REKEY_TIMEOUT + 8 * JITTER, "the wish is not forgotten");
}

// R46 R47 R58: a reordered tail on the old session.
#[test]
fn the_previous_session_keeps_opening() {
    let mut s = Sim::connected();
    s.run(REKEY_AFTER);
    s.link(A, B).delay = 3 * SEC;
    s.send(A, B, b"slow, on the old session");
    s.link(A, B).delay = DELAY;
    s.send(A, B, b"quick, on the old session, and renews");
    s.run(SEC);
    s.send(A, B, b"quick, on the new session");
    s.run(5 * SEC);
    assert_eq!(s.delivered(B).len(), 3);
    assert_eq!(s.delivered(B)[2], b"slow, on the old session".to_vec());
}

// R48 R58: displaced by the second renewal.
#[test]
fn a_session_two_renewals_old_opens_no_more() {
    let (mut s, mut who, first) = joined();
    s.run(SEC);
    let second = stranger::join(&mut s, B, &mut who, 2);
    s.inject(B, v4(ADDRESS), &second.data(0, &[]));
    assert_eq!(s.inject(B, v4(ADDRESS), &first.data(1, &[])), Inbound::Consumed);
    s.run(SEC);
    let third = stranger::join(&mut s, B, &mut who, 3);
    let got = s.inject(B, v4(ADDRESS), &first.data(2, &[]));
    assert_eq!(got, Inbound::Dropped(Drop::UnknownIndex), "R48: displaced by the new next");
    assert_eq!(s.inject(B, v4(ADDRESS), &second.data(1, &[])), Inbound::Consumed);
    s.inject(B, v4(ADDRESS), &third.data(0, &[]));
    assert_eq!(s.inject(B, v4(ADDRESS), &second.data(2, &[])), Inbound::Consumed);
}

// R48: an unconfirmed next gives way to a newer one.
#[test]
fn an_unconfirmed_session_is_displaced_by_the_next_initiation() {
    let (mut s, mut who, current) = joined();
    s.run(SEC);
    let lost = stranger::join(&mut s, B, &mut who, 2);
    s.run(SEC);
    let kept = stranger::join(&mut s, B, &mut who, 3);
    assert_eq!(s.inject(B, v4(ADDRESS), &lost.data(0, &[])), Inbound::Dropped(Drop::UnknownIndex));
    assert_eq!(s.inject(B, v4(ADDRESS), &current.data(1, &[])), Inbound::Consumed);
    assert_eq!(s.inject(B, v4(ADDRESS), &kept.data(0, &[])), Inbound::Consumed);
}

// R50
#[test]
fn while_a_new_session_waits_for_its_first_packet_the_old_one_sends() {
    let (mut s, mut who, old) = joined();
    s.run(SEC);
    let new = stranger::join(&mut s, B, &mut who, 2);
    let say = |s: &mut Sim| {
        s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
        s.last(B, Kind::Data).word(4)
    };
    assert_eq!(say(&mut s), old.local);
    s.inject(B, v4(ADDRESS), &old.data(1, &[]));
    assert_eq!(say(&mut s), old.local);
    s.inject(B, v4(ADDRESS), &new.data(0, &[]));
    assert_eq!(say(&mut s), new.local);
    s.inject(B, v4(ADDRESS), &old.data(2, &[]));
    assert_eq!(say(&mut s), new.local, "what came on previous does not turn back");
}

// R55: only what authenticates promotes.
#[test]
fn a_forged_packet_does_not_confirm_a_session() {
    let (mut s, mut who, old) = joined();
    s.run(SEC);
    let new = stranger::join(&mut s, B, &mut who, 2);
    let before = s.nodes[B].device.peers()[0].last_handshake_boot;
    let mut forged = new.data(0, &[]);
    forged[20] ^= 1;
    assert_eq!(s.inject(B, v4(ADDRESS), &forged), Inbound::Dropped(Drop::Forged));
    s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    assert_eq!(s.last(B, Kind::Data).word(4), old.local);
    assert_eq!(s.nodes[B].device.peers()[0].last_handshake_boot, before);
}

// R74
#[test]
fn roles_belong_to_the_session_and_may_swap() {
    let mut s = Sim::connected();
    s.run(REJECT_AFTER);
    s.send(B, A, b"B initiates now");
    s.run(SEC);
    s.forget();
    s.run(REKEY_AFTER);
    s.send(A, B, b"A is responder now and does not renew");
    s.run(SEC);
    assert_eq!(s.count(A, Kind::Initiation), 0);
    s.send(B, A, b"B is");
    assert_eq!(s.count(B, Kind::Initiation), 1);
}

// R59 R54: renewal under load loses nothing and repeats nothing.
#[test]
fn nothing_is_lost_across_renewals_on_a_clean_path() {
    let mut s = Sim::connected();
    let mut sent = Vec::new();
    for i in 0..6000u32 {
        s.send(A, B, &i.to_le_bytes());
        sent.push(i.to_le_bytes().to_vec());
        s.run(100 * MS);
    }
    assert_eq!(s.delivered(B), sent);
    assert!(s.count(A, Kind::Initiation) >= 4);
}

// R44
#[test]
fn a_peer_holds_four_indices_at_most() {
    let mut s = Sim::pair();
    s.both(A, B, |l| (l.loss, l.delay, l.spread) = (300, 200 * MS, SEC));
    for _ in 0..1000 {
        s.send(A, B, b"x");
        s.send(B, A, b"y");
        s.run(SEC);
        for dev in [A, B] {
            assert!(s.nodes[dev].device.live_indices() <= 4);
        }
    }
}
