//! Getting a session: one round trip, answers taken once, crossings, refusals.

use hopbox::wg::{Drop, Inbound, Outbound};

use super::sim::*;
use super::stranger::{self, ADDRESS, Later, join, letter, stamp, word};

fn now_stamp(s: &Sim) -> [u8; 12] {
    stamp(1_700_000_000, 0).later(s.now)
}

fn kinds(s: &Sim) -> Vec<Kind> {
    s.wire.iter().map(Wire::kind).collect()
}

// R11 R12 R49 R51
#[test]
fn the_first_packet_costs_one_round_trip_and_arrives() {
    let mut s = Sim::pair();
    assert_eq!(s.send(A, B, b"hello"), Outbound::Staged);
    s.run(5 * DELAY);
    assert_eq!(s.delivered(B), [b"hello".to_vec()]);
    assert_eq!(kinds(&s), [Kind::Initiation, Kind::Response, Kind::Data]);
    assert_eq!(s.wire[2].t, 2 * DELAY);
    assert_eq!(s.status(A, B).handshake_rtt.unwrap().as_nanos() as u64, 2 * DELAY);
}

// R51
#[test]
fn an_initiator_with_nothing_to_say_confirms_by_a_keepalive() {
    let mut s = Sim::pair();
    s.set_keepalive(A, B, 25);
    s.run(5 * DELAY);
    assert_eq!(kinds(&s), [Kind::Initiation, Kind::Response, Kind::Keepalive]);
    assert_eq!(s.wire[2].t, 2 * DELAY);
}

// R49 R50
#[test]
fn a_responder_sends_nothing_on_its_session_before_the_initiator_did() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    let keys = join(&mut s, B, &mut who, 7);
    let out = s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"early"));
    assert_eq!(out, Outbound::Staged);
    assert_eq!(s.count(B, Kind::Data), 0);
    s.inject(B, v4(ADDRESS), &keys.data(0, &[]));
    let w = s.last(B, Kind::Data);
    assert_eq!(w.word(4), 7);
    assert!(keys.open(&w.bytes).unwrap().ends_with(b"early\0\0\0\0\0\0\0"), "flushed");
}

// R03 R09 R10 R11 R12 R22 R30: an implementation that shares no code with ours.
#[test]
fn an_independent_initiator_gets_a_session_that_works_both_ways() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    let keys = join(&mut s, B, &mut who, 0xdead_beef);
    assert!(who.mac1_is_right(&s.last(B, Kind::Response).bytes));
    s.inject(B, v4(ADDRESS), &keys.data(0, &letter(B, b"in")));
    assert_eq!(s.delivered(B), [b"in".to_vec()]);
    let reply = packet(inner(B), inner(stranger::INNER), 0, b"out");
    s.send_packet(B, &reply);
    assert!(keys.open(&s.last(B, Kind::Data).bytes).unwrap().starts_with(&reply));
}

// R03 R09 R10 R11 R12 R13 R22 R28 R30
#[test]
fn an_independent_responder_understands_our_initiation_and_its_timestamp() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.endpoint = Some(v4(ADDRESS));
    u.preshared_key = Some([0x5a; 32]);
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    who.psk = [0x5a; 32];
    s.nodes[B].wall_offset = 987_654_321;
    s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"out"));
    let init = s.last(B, Kind::Initiation).bytes;
    assert!(who.mac1_is_right(&init));
    let (_, peer, time) = who.read(&init).unwrap();
    assert_eq!(peer, s.nodes[B].public);
    assert_eq!(time, stamp(1_700_000_000, 987_654_321 & !0xff_ffff), "whitened to 2^24 ns");
    let (keys, response) = who.response(&init, 77).unwrap();
    assert_eq!(s.inject(B, v4(ADDRESS), &response), Inbound::Consumed);
    let w = s.last(B, Kind::Data);
    assert_eq!((w.word(4), w.counter()), (77, 0));
    assert_eq!(keys.open(&w.bytes).unwrap().len() % 16, 0);
    s.inject(B, v4(ADDRESS), &keys.data(0, &letter(B, b"in")));
    assert_eq!(s.delivered(B), [b"in".to_vec()]);
}

// R16 R43 R64
#[test]
fn each_retry_is_a_new_message_with_new_ephemeral_timestamp_and_index() {
    let mut s = Sim::strangers(3, 2);
    let who = stranger::introduce(&mut s, B);
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.endpoint = Some(v4(ADDRESS));
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"out"));
    s.run(60 * SEC);
    let sent = s.sent(B, Kind::Initiation);
    assert!(sent.len() > 10);
    for pair in sent.windows(2) {
        let (a, b) = (&pair[0].bytes, &pair[1].bytes);
        assert_ne!(word(a, 4), word(b, 4));
        assert_ne!(a[8..40], b[8..40]);
        assert!(who.read(a).unwrap().2 < who.read(b).unwrap().2);
    }
    assert_eq!(s.nodes[B].device.live_indices(), 1, "R44: superseded indices are given back");
}

// R16 R95: that retries differ, and all other messages, the simulator checks.
#[test]
fn a_key_made_ahead_serves_one_message_of_either_role() {
    let mut s = Sim::strangers(3, 2);
    let all = |s: &mut Sim, dev: Dev| {
        for _ in 0..9 {
            s.nodes[dev].device.prepare();
        }
        assert!(!s.nodes[dev].device.can_prepare());
    };
    all(&mut s, A);
    s.introduce(A, B);
    for dev in [A, B] {
        assert!(s.nodes[dev].device.can_prepare(), "a peer came");
        all(&mut s, dev);
    }
    s.send(A, B, b"x");
    assert!(s.nodes[A].device.can_prepare(), "used up by the initiation");
    assert!(!s.nodes[B].device.can_prepare());
    s.run(DELAY);
    assert!(s.nodes[B].device.can_prepare(), "used up by the response");
    s.run(5 * DELAY);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
    s.stop(A);
    s.nodes[A].device.prepare();
    assert!(!s.nodes[A].device.can_prepare(), "a stopped device makes nothing");
    s.start(A);
    assert!(s.nodes[A].device.can_prepare(), "nothing outlived the stop");
}

// R18
#[test]
fn a_response_is_taken_once() {
    let mut s = Sim::connected();
    s.cut(A, B);
    s.run(REKEY_AFTER + SEC);
    s.heal(A, B);
    s.send(A, B, b"renew");
    s.run(SEC);
    let response = s.last(B, Kind::Response).bytes;
    let before = s.status(A, B).last_handshake_boot;
    assert_eq!(s.inject(A, v4(2), &response), Inbound::Dropped(Drop::UnknownIndex));
    assert_eq!(s.status(A, B).last_handshake_boot, before);
    assert!(s.talks(A, B, SEC));
}

// R18, and §6: a late response to a superseded initiation is refused.
#[test]
fn a_response_to_a_superseded_initiation_is_refused() {
    let mut s = Sim::pair();
    s.link(B, A).delay = 6 * SEC;
    s.send(A, B, b"slow");
    s.run(6 * SEC + 500 * MS);
    assert_eq!(s.drops(A, Drop::UnknownIndex), 1);
    assert!(s.status(A, B).last_handshake.is_none());
    assert_eq!(s.count(A, Kind::Initiation), 2);
}

// R08 R17 R18
#[test]
fn forged_responses_do_not_disturb_the_initiation_under_way() {
    let mut s = Sim::pair();
    s.link(B, A).cut = true;
    s.send(A, B, b"x");
    s.run(SEC);
    let good = s.last(B, Kind::Response).bytes;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let mac2 = at >= good.len() - 16;
        if !mac2 {
            assert!(matches!(s.inject(A, v4(2), &bad), Inbound::Dropped(_)), "byte {at}");
        }
    }
    assert_eq!(s.count(A, Kind::Data), 0);
    assert_eq!(s.inject(A, v4(2), &good), Inbound::Consumed);
    assert_eq!(s.count(A, Kind::Data), 1);
}

// R08 R17 R29: nothing of the peer changes, so that the true message is still taken afterwards.
#[test]
fn an_initiation_with_any_byte_changed_is_met_with_silence() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    let good = s.last(A, Kind::Initiation).bytes;
    for at in 0..good.len() - 16 {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let got = s.inject(B, v4(1), &bad);
        let want = if at < 4 { Drop::Malformed } else { Drop::BadMac1 };
        assert_eq!(got, Inbound::Dropped(want), "byte {at}");
    }
    assert_eq!(s.wire.iter().filter(|w| w.from == B).count(), 0);
    assert_eq!(s.inject(B, v4(1), &good), Inbound::Consumed);
}

// R17: right mac1 alone, which anyone can compute from the public key, buys nothing.
#[test]
fn forged_contents_under_a_right_mac1_are_met_with_silence() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    for at in [4, 8, 39, 40, 87, 88, 115] {
        let (_, mut d) = who.initiation(1, now_stamp(&s));
        d[at] ^= 0x40;
        let fixed = who.remac(&d);
        let got = s.inject(B, v4(ADDRESS), &fixed);
        // The sender index is covered by mac1 only.
        let want =
            if at == 4 { Inbound::Consumed } else { Inbound::Dropped(Drop::HandshakeForged) };
        assert_eq!(got, want, "byte {at}");
        s.run(SEC);
    }
    assert_eq!(s.wire.iter().filter(|w| w.from == B).count(), 1);
}

// R19 R94
#[test]
fn an_unknown_static_key_is_met_with_silence() {
    let mut s = Sim::strangers(3, 2);
    let private = s.rng.bytes();
    let mut who = stranger::Stranger::new(private, s.nodes[B].public);
    let (_, d) = who.initiation(1, now_stamp(&s));
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::UnknownPeer));
    assert!(s.wire.is_empty());
    assert_eq!(s.nodes[B].device.live_indices(), 0);
}

// R17: claiming somebody else's static key takes more than knowing it.
#[test]
fn an_impostor_with_a_peers_public_key_cannot_pass_as_it() {
    let mut s = Sim::strangers(3, 2);
    let who = stranger::introduce(&mut s, B);
    let mut impostor = stranger::Stranger::new(s.rng.bytes(), s.nodes[B].public);
    impostor.claim = Some(stranger::public(&who.private));
    let (_, d) = impostor.initiation(1, now_stamp(&s));
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::HandshakeForged));
    assert!(s.wire.is_empty());
}

// R25
#[test]
fn a_replayed_or_older_initiation_is_met_with_silence() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    let (_, first) = who.initiation(1, stamp(2_000, 50));
    let (_, equal) = who.initiation(2, stamp(2_000, 50));
    let (_, older) = who.initiation(3, stamp(2_000, 49));
    let (_, newer) = who.initiation(4, stamp(2_000, 51));
    assert_eq!(s.inject(B, v4(ADDRESS), &first), Inbound::Consumed);
    s.run(SEC);
    for d in [&first, &equal, &older] {
        assert_eq!(s.inject(B, v4(ADDRESS), d), Inbound::Dropped(Drop::OldTimestamp));
    }
    assert_eq!(s.count(B, Kind::Response), 1);
    assert_eq!(s.inject(B, v4(ADDRESS), &newer), Inbound::Consumed);
}

// R25: the memory of timestamps outlives sessions, stops and new keys.
#[test]
fn an_old_initiation_stays_refused_after_wipe_and_restart() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    let (_, d) = who.initiation(1, stamp(2_000, 0));
    s.inject(B, v4(ADDRESS), &d);
    s.run(WIPE + SEC);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::OldTimestamp));
    s.stop(B);
    s.start(B);
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::OldTimestamp));
}

// R26
#[test]
fn initiations_of_one_peer_are_taken_at_most_every_20_ms() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    for (wait, want) in [
        (0, Inbound::Consumed),
        (0, Inbound::Dropped(Drop::InitiationFlood)),
        (19, Inbound::Dropped(Drop::InitiationFlood)),
        (1, Inbound::Consumed),
        (20, Inbound::Consumed),
    ] {
        s.run(wait * MS);
        let n = s.nodes[B].datagrams_in;
        let (_, d) = who.initiation(1, stamp(3_000 + n, 0));
        assert_eq!(s.inject(B, v4(ADDRESS), &d), want);
    }
}

// R27: stamp and flood are judged on the state that is then changed, and a refusal changes neither.
#[test]
fn a_refused_initiation_moves_neither_the_stamp_nor_the_flood_clock() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    let (_, first) = who.initiation(1, stamp(2_000, 50));
    let (_, soon) = who.initiation(2, stamp(2_000, 60));
    assert_eq!(s.inject(B, v4(ADDRESS), &first), Inbound::Consumed);
    s.run(10 * MS);
    assert_eq!(s.inject(B, v4(ADDRESS), &soon), Inbound::Dropped(Drop::InitiationFlood));
    s.run(10 * MS);
    assert_eq!(s.inject(B, v4(ADDRESS), &first), Inbound::Dropped(Drop::OldTimestamp));
    assert_eq!(s.inject(B, v4(ADDRESS), &soon), Inbound::Consumed, "20 ms after the first");
}

// R43
#[test]
fn indices_are_unique_and_neither_sequential_nor_a_shift_register() {
    let mut s = Sim::pair();
    let mut seen = Vec::new();
    for _ in 0..60 {
        s.send(A, B, b"x");
        s.run(REJECT_AFTER);
    }
    seen.extend(s.sent(A, Kind::Initiation).iter().map(|w| w.word(4)));
    seen.extend(s.sent(B, Kind::Response).iter().map(|w| w.word(4)));
    let n = seen.len();
    assert!(n >= 120);
    for pair in seen.windows(2) {
        let step = pair[0] ^ pair[1];
        assert!(pair[0].abs_diff(pair[1]) > 1024 && step.count_ones() > 3);
        assert!(pair[0] >> 1 != pair[1] & 0x7fff_ffff && pair[0] << 1 != pair[1] & !1);
    }
    let ones: u32 = seen.iter().map(|i| i.count_ones()).sum();
    let mean = f64::from(ones) / n as f64;
    assert!((14.5..17.5).contains(&mean), "{mean} bits set on average");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), n);
}

// R45
#[test]
fn data_to_a_handshakes_index_and_responses_to_a_sessions_index_are_refused() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    let handshake = s.last(A, Kind::Initiation).word(4);
    let mut data = vec![4, 0, 0, 0];
    data.extend(handshake.to_le_bytes());
    data.extend([0; 24]);
    assert_eq!(s.inject(A, v4(2), &data), Inbound::Dropped(Drop::UnknownIndex));

    let (mut s, mut who, keys) = stranger::joined();
    let (_, init) = who.initiation(9, now_stamp(&s));
    let mut response = init[..92].to_vec();
    response[0] = 2;
    response[8..12].copy_from_slice(&keys.remote.to_le_bytes());
    let response = who.remac(&response);
    assert_eq!(s.inject(B, v4(ADDRESS), &response), Inbound::Dropped(Drop::UnknownIndex));
}

// R72 R100; boringtun #343: no handshake is not 1970.
#[test]
fn the_last_handshake_is_absent_until_it_is_complete_on_each_side() {
    let mut s = Sim::pair();
    s.nodes[A].wall_offset = 5 * SEC as i128;
    s.link(A, B).delay = 50 * MS;
    s.link(B, A).delay = 70 * MS;
    s.send(A, B, b"x");
    s.run(119 * MS);
    assert!(s.status(A, B).last_handshake.is_none());
    assert!(s.status(B, A).last_handshake.is_none(), "a responder waits for the first packet");
    s.run(2 * MS);
    let wall = s.status(A, B).last_handshake.unwrap();
    assert_eq!((wall.secs, wall.nanos), (1_700_000_005, 120_000_000));
    assert!(s.status(B, A).last_handshake.is_none());
    s.run(60 * MS);
    let wall = s.status(B, A).last_handshake.unwrap();
    assert_eq!((wall.secs, wall.nanos), (1_700_000_000, 170_000_000));
}

// R92
#[test]
fn a_response_goes_to_where_its_initiation_came_from() {
    let mut s = Sim::pair();
    s.nodes[A].nat = Some(v4(99));
    s.send(A, B, b"x");
    s.run(SEC);
    assert_eq!(s.last(B, Kind::Response).to, v4(99));
    assert_eq!(s.status(B, A).endpoint, Some(v4(99)));
    assert_eq!(s.delivered(B).len(), 1);
}

// R29 R94: our own messages sent back to us.
#[test]
fn reflected_messages_are_met_with_silence() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    s.run(SEC);
    s.send(A, B, b"y");
    for w in s.wire.clone() {
        let n = s.wire.len();
        assert!(matches!(s.inject(w.from, w.to, &w.bytes), Inbound::Dropped(_)), "{:?}", w.kind());
        assert_eq!(s.wire.len(), n);
    }
}

// R64 R18: a lost message of either kind costs one retry.
#[test]
fn a_lost_initiation_or_response_costs_one_retry() {
    for (from, to) in [(A, B), (B, A)] {
        let mut s = Sim::pair();
        s.link(from, to).cut = true;
        s.send(A, B, b"x");
        s.run(SEC);
        s.heal(A, B);
        s.run(REKEY_TIMEOUT);
        assert_eq!(s.delivered(B), [b"x".to_vec()]);
        let t = s.times(A, Kind::Data)[0];
        assert!((5 * SEC..=5 * SEC + JITTER + 2 * DELAY).contains(&t), "{t}");
    }
}

// R14: an ephemeral of low order makes a secret of zeros.
#[test]
fn an_initiation_or_response_with_a_low_order_ephemeral_is_refused() {
    let mut s = Sim::strangers(3, 2);
    let mut who = stranger::introduce(&mut s, B);
    for point in LOW_ORDER {
        let (_, mut d) = who.initiation(1, now_stamp(&s));
        d[8..40].copy_from_slice(&point);
        let d = who.remac(&d);
        assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::LowOrder));
    }
    assert!(s.wire.is_empty());

    let mut s = Sim::pair();
    s.link(B, A).cut = true;
    s.send(A, B, b"x");
    s.run(SEC);
    let good = s.last(B, Kind::Response).bytes;
    let mut d = good.clone();
    d[12..44].copy_from_slice(&LOW_ORDER[1]);
    let b = stranger::Stranger::new(s.nodes[B].private, s.nodes[A].public);
    assert_eq!(s.inject(A, v4(2), &b.remac(&d)), Inbound::Dropped(Drop::LowOrder));
    assert_eq!(s.inject(A, v4(2), &good), Inbound::Consumed, "the true one is still taken");
}

/// Points of order 1, 2, 4 and 8, and non-canonical encodings of them.
pub const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    hex(b"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    hex(b"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    hex(b"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex(b"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex(b"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
];

const fn hex(text: &[u8; 64]) -> [u8; 32] {
    const fn digit(c: u8) -> u8 {
        if c <= b'9' { c - b'0' } else { c - b'a' + 10 }
    }
    let mut out = [0; 32];
    let mut i = 0;
    while i < 32 {
        out[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    out
}
