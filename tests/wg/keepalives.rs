//! Keepalives, passive and persistent: when they are owed, when not, and that they end.

use super::sim::*;

// R68
#[test]
fn received_data_is_answered_by_a_keepalive_after_10_seconds() {
    let mut s = Sim::settled();
    s.send(A, B, b"x");
    let t = s.now + DELAY + KEEPALIVE;
    s.run(HOUR);
    assert_eq!(s.times(B, Kind::Keepalive), [t]);
    assert_eq!(s.count(A, Kind::Keepalive), 0, "R69: a keepalive provokes none");
}

// R68: data during the wait asks for one further period, whatever its amount.
#[test]
fn more_data_during_the_wait_earns_one_further_keepalive() {
    let mut s = Sim::settled();
    let t = s.now + DELAY;
    for _ in 0..5 {
        s.send(A, B, b"x");
        s.run(SEC);
    }
    s.run(60 * SEC);
    assert_eq!(s.times(B, Kind::Keepalive), [t + KEEPALIVE, t + 2 * KEEPALIVE]);
}

// R69
#[test]
fn any_send_cancels_the_keepalive_that_was_due() {
    let mut s = Sim::settled();
    s.send(A, B, b"question");
    s.run(5 * SEC);
    s.send(B, A, b"answer");
    s.run(30 * SEC);
    assert_eq!(s.count(B, Kind::Keepalive), 0);
    assert_eq!(s.count(A, Kind::Keepalive), 1, "A owes one for the answer");
}

// R69; firezone-boringtun #16: keepalives answered for ever.
#[test]
fn an_idle_pair_sends_nothing() {
    let mut s = Sim::connected();
    s.run(30 * SEC);
    s.forget();
    s.run(HOUR);
    assert_eq!(s.wire.len(), 0);
    assert!(s.log.iter().filter(|e| matches!(e.fact, Fact::Woke(_))).count() <= 8);
}

// R57 R70; the sum of idleness: nothing is sent, nothing is held, nobody wakes.
#[test]
fn an_idle_pair_sleeps_for_100_hours() {
    let mut s = Sim::connected();
    s.run(100 * HOUR);
    assert_eq!(s.count(A, Kind::Initiation) + s.count(B, Kind::Initiation), 0);
    assert!(s.log.len() < 20, "{:?}", s.log);
    assert_eq!((s.nodes[A].device.live_indices(), s.nodes[B].device.live_indices()), (0, 0));
    s.send(A, B, b"good morning");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"good morning".to_vec()]);
}

// R67: a keepalive asks for no answer.
#[test]
fn unanswered_keepalives_start_no_handshake() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 5);
    s.cut(A, B);
    s.run(80 * SEC);
    assert_eq!(s.count(A, Kind::Initiation), 0);
    assert!(s.count(A, Kind::Keepalive) == 17);
}

// R70
#[test]
fn a_persistent_keepalive_goes_out_every_interval_of_silence() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 25);
    let t0 = s.now;
    s.run(100 * SEC);
    let want: Vec<u64> = (0..5).map(|i| t0 + i * 25 * SEC).collect();
    assert_eq!(s.times(A, Kind::Keepalive), want);
    assert_eq!(s.count(B, Kind::Keepalive) + s.count(B, Kind::Data), 0);
}

// R70
#[test]
fn traffic_in_either_direction_postpones_the_persistent_keepalive() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 25);
    s.run(20 * SEC);
    s.send(B, A, b"inward");
    s.run(9 * SEC);
    s.forget();
    s.send(A, B, b"outward");
    s.run(5 * SEC);
    s.send(B, A, b"inward again");
    let t = s.now + DELAY;
    s.run(9 * SEC);
    s.set_keepalive(B, A, 1000);
    s.run(DELAY);
    let t2 = s.now;
    assert!(s.wire.iter().all(|w| w.kind() == Kind::Data || w.from == B), "{t}");
    s.run(26 * SEC);
    assert_eq!(s.times(A, Kind::Keepalive), [t + KEEPALIVE, t + KEEPALIVE + 25 * SEC]);
    assert!(t2 < t + KEEPALIVE);
}

// R70
#[test]
fn turning_the_persistent_keepalive_on_sends_at_once_and_off_ends_it() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 30);
    assert_eq!(s.count(A, Kind::Keepalive), 1);
    s.set_keepalive(A, B, 40);
    assert_eq!(s.count(A, Kind::Keepalive), 1, "it was on already");
    s.run(30 * SEC);
    assert_eq!(s.count(A, Kind::Keepalive), 2);
    s.run(39 * SEC);
    assert_eq!(s.count(A, Kind::Keepalive), 2, "the new interval holds from the next traffic on");
    s.set_keepalive(A, B, 0);
    s.run(HOUR);
    assert_eq!(s.count(A, Kind::Keepalive), 2);
}

// R70: with nobody there, the tunnel is tried again for as long as it is wanted.
#[test]
fn a_persistent_keepalive_keeps_trying_and_finds_a_peer_that_comes_back() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.set_keepalive(A, B, 25);
    s.run(2 * HOUR);
    s.heal(A, B);
    s.run(125 * SEC);
    assert!(s.status(B, A).last_handshake.is_some());
    let times = s.times(A, Kind::Initiation);
    assert!(times.windows(2).all(|w| w[1] - w[0] >= REKEY_TIMEOUT));
}

// R70 R76: an endpoint that comes later must not find the keepalive asleep.
#[test]
fn a_persistent_keepalive_set_before_the_endpoint_starts_when_the_endpoint_comes() {
    let mut s = Sim::strangers(1, 2);
    s.configure(A, B, |u| u.persistent_keepalive = Some(25)).unwrap();
    s.run(60 * SEC);
    assert!(s.wire.is_empty());
    s.configure(B, A, |_| ()).unwrap();
    s.configure(A, B, |u| u.endpoint = Some(v4(2))).unwrap();
    s.run(SEC);
    assert!(s.status(A, B).last_handshake.is_some());
}

// R70: an update of something else is no reason to send.
#[test]
fn an_update_of_a_peer_whose_keepalive_is_on_sends_nothing() {
    for secs in [1, 2, 25] {
        let mut s = Sim::settled();
        s.set_keepalive(A, B, secs);
        s.forget();
        s.configure(A, B, |u| u.allowed_ips = vec![(inner(C), 32, true)]).unwrap();
        s.configure(A, B, |u| u.endpoint = Some(v4(2))).unwrap();
        assert!(s.wire.is_empty(), "{secs}");
    }
}
