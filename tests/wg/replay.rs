//! Replays: each datagram has its effect once, in any order, for as long as its session lives.

use hopbox::wg::{Drop, Inbound};

use super::sim::*;
use super::stranger::{self, ADDRESS, joined, letter};

const WINDOW: u64 = 8128;

// R55 R56
#[test]
fn a_datagram_is_delivered_once_however_often_it_comes() {
    let mut s = Sim::connected();
    s.send(A, B, b"once");
    s.run(SEC);
    let d = s.last(A, Kind::Data).bytes;
    for _ in 0..5 {
        assert_eq!(s.inject(B, v4(1), &d), Inbound::Dropped(Drop::Replayed));
    }
    assert_eq!(s.delivered(B), [b"once".to_vec()]);
}

// R55 R56 R58
#[test]
fn datagrams_in_any_order_are_delivered_once_each() {
    let (mut s, _, keys) = joined();
    let mut order: Vec<u64> = (1..3000).collect();
    for i in (1..order.len()).rev() {
        let j = s.rng.below(i as u64 + 1) as usize;
        order.swap(i, j);
    }
    for round in 0..2 {
        for &c in &order {
            let d = keys.data(c, &letter(B, &c.to_le_bytes()));
            let got = s.inject(B, v4(ADDRESS), &d);
            match round {
                0 => assert!(matches!(got, Inbound::Packet { .. }), "counter {c}"),
                _ => assert_eq!(got, Inbound::Dropped(Drop::Replayed), "counter {c}"),
            }
        }
    }
}

// R56
#[test]
fn a_counter_8128_behind_is_taken_and_one_further_behind_is_not() {
    let (mut s, _, keys) = joined();
    for top in [64u64 * 300, 64 * 300 + 63, 64 * 500 + 1] {
        s.inject(B, v4(ADDRESS), &keys.data(top, &[]));
        let old = |back: u64| keys.data(top - back, &[]);
        assert_eq!(s.inject(B, v4(ADDRESS), &old(WINDOW)), Inbound::Consumed, "{top}");
        let got = s.inject(B, v4(ADDRESS), &old(WINDOW + 1));
        assert_eq!(got, Inbound::Dropped(Drop::Replayed), "{top}");
        assert_eq!(s.inject(B, v4(ADDRESS), &old(0)), Inbound::Dropped(Drop::Replayed));
    }
}

// R56; boringtun #54: a huge jump must neither loop nor forget.
#[test]
fn a_jump_to_the_end_of_the_counter_is_taken_and_clears_the_window() {
    let (mut s, _, keys) = joined();
    s.inject(B, v4(ADDRESS), &keys.data(5, &[]));
    let last = u64::MAX - 8192 - 1;
    assert_eq!(s.inject(B, v4(ADDRESS), &keys.data(last, &[])), Inbound::Consumed);
    for c in [1, 4, 5, last, last - WINDOW - 1] {
        assert_eq!(s.inject(B, v4(ADDRESS), &keys.data(c, &[])), Inbound::Dropped(Drop::Replayed));
    }
    assert_eq!(s.inject(B, v4(ADDRESS), &keys.data(last - 5, &[])), Inbound::Consumed);
}

// R53
#[test]
fn counters_at_and_beyond_the_limit_are_refused() {
    let (mut s, _, keys) = joined();
    for c in [u64::MAX - 8192, u64::MAX - 8191, u64::MAX - 1, u64::MAX] {
        let got = s.inject(B, v4(ADDRESS), &keys.data(c, &letter(B, b"x")));
        assert_eq!(got, Inbound::Dropped(Drop::CounterLimit), "{c}");
    }
    assert_eq!(s.inject(B, v4(ADDRESS), &keys.data(1, &[])), Inbound::Consumed);
}

// R55: a forged counter must not move the window.
#[test]
fn a_forged_datagram_with_a_high_counter_does_not_shift_the_window() {
    let (mut s, _, keys) = joined();
    let mut forged = keys.data(1, &letter(B, b"x"));
    forged[8..16].copy_from_slice(&1_000_000u64.to_le_bytes());
    assert_eq!(s.inject(B, v4(66), &forged), Inbound::Dropped(Drop::Forged));
    assert!(matches!(
        s.inject(B, v4(ADDRESS), &keys.data(1, &letter(B, b"x"))),
        Inbound::Packet { .. }
    ));
}

// R55; OpenBSD a0261bb: next was promoted before the replay check.
#[test]
fn a_replay_neither_roams_nor_arms_a_timer_nor_counts_bytes() {
    let (mut s, _, keys) = joined();
    let d = keys.data(1, &letter(B, b"x"));
    s.inject(B, v4(ADDRESS), &d);
    s.run(60 * SEC);
    s.forget();
    let before = s.nodes[B].device.peers()[0].rx_bytes;
    assert_eq!(s.inject(B, v4(66), &d), Inbound::Dropped(Drop::Replayed));
    s.run(60 * SEC);
    assert!(s.wire.is_empty(), "no keepalive was provoked");
    assert_eq!(s.endpoints(B), [Some(v4(ADDRESS))]);
    assert_eq!(before, s.nodes[B].device.peers()[0].rx_bytes);
}

// R55
#[test]
fn a_whole_recorded_conversation_played_back_has_no_effect() {
    let mut s = Sim::connected();
    for i in 0..20u8 {
        s.send(A, B, &[i]);
        s.send(B, A, &[i]);
        s.run(SEC);
    }
    s.run(REKEY_AFTER);
    s.send(A, B, b"renew");
    s.run(30 * SEC);
    let record = s.wire.clone();
    let (log, status) = (s.log.len(), s.status(B, A).last_handshake_boot);
    for w in &record {
        s.inject(1 - w.from, v4(66), &w.bytes);
    }
    assert!(s.log[log..].iter().all(|e| matches!(e.fact, Fact::Refused(_))));
    assert_eq!(s.status(B, A).last_handshake_boot, status);
    assert_eq!(s.wire.len(), record.len());
    assert!(s.talks(A, B, SEC));
}

// R46 R58: the window belongs to the session, not to the peer.
#[test]
fn each_session_has_a_window_of_its_own() {
    let (mut s, mut who, old) = joined();
    s.inject(B, v4(ADDRESS), &old.data(100, &[]));
    s.run(SEC);
    let new = stranger::join(&mut s, B, &mut who, 2);
    assert_eq!(s.inject(B, v4(ADDRESS), &new.data(0, &[])), Inbound::Consumed);
    assert_eq!(s.inject(B, v4(ADDRESS), &old.data(100, &[])), Inbound::Dropped(Drop::Replayed));
    assert_eq!(s.inject(B, v4(ADDRESS), &old.data(99, &[])), Inbound::Consumed);
    assert_eq!(s.inject(B, v4(ADDRESS), &new.data(100, &[])), Inbound::Consumed);
}

// R56: duplicates and deep reordering on the path, seen from above.
#[test]
fn a_path_that_duplicates_and_reorders_delivers_everything_once() {
    let mut s = Sim::connected();
    s.link(A, B).dup = 300;
    s.link(A, B).spread = 2 * SEC;
    for i in 0..500u32 {
        s.send(A, B, &i.to_le_bytes());
        s.run(2 * MS);
    }
    s.run(5 * SEC);
    let mut got = s.delivered(B);
    got.sort_by_key(|p| u32::from_le_bytes(p[..4].try_into().unwrap()));
    let want: Vec<Vec<u8>> = (0..500u32).map(|i| i.to_le_bytes().to_vec()).collect();
    assert_eq!(got, want);
    assert!(s.drops(B, Drop::Replayed) > 80);
}
