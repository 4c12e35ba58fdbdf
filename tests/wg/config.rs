//! Configuration of a running device: keys, preshared keys, and what is refused.

use hopbox::wg::{ConfigError, Drop, Inbound, MAX_PEERS, MAX_PREFIXES, Outbound, PeerUpdate};

use super::sim::*;
use super::stranger::{self, ADDRESS, introduce, join, joined, letter};

const PSK: [u8; 32] = [0x77; 32];

// R13
#[test]
fn both_sides_with_the_same_preshared_key_talk() {
    let mut s = Sim::pair();
    s.configure(A, B, |u| u.preshared_key = Some(PSK)).unwrap();
    s.configure(B, A, |u| u.preshared_key = Some(PSK)).unwrap();
    s.send(A, B, b"x");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
    assert_eq!(s.status(A, B).preshared_key, PSK);
}

// R13: against the independent peer, which mixes 32 zeros when unset.
#[test]
fn a_preshared_key_is_mixed_as_the_paper_says() {
    let mut s = Sim::strangers(3, 2);
    let mut who = introduce(&mut s, B);
    let _ = join(&mut s, B, &mut who, 1);
    let mut u = PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.preshared_key = Some(PSK);
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    who.psk = PSK;
    s.run(SEC);
    let keys = join(&mut s, B, &mut who, 2);
    assert_eq!(s.inject(B, v4(ADDRESS), &keys.data(0, &[])), Inbound::Consumed);
}

// R13: one side alone cannot get a session.
#[test]
fn a_different_preshared_key_on_one_side_makes_no_session() {
    for (a, b) in [(Some(PSK), None), (None, Some(PSK)), (Some(PSK), Some([1; 32]))] {
        let mut s = Sim::pair();
        s.configure(A, B, |u| u.preshared_key = a).unwrap();
        s.configure(B, A, |u| u.preshared_key = b).unwrap();
        s.send(A, B, b"x");
        s.run(30 * SEC);
        assert!(s.delivered(B).is_empty());
        assert!(s.drops(A, Drop::HandshakeForged) >= 5);
        assert!(s.status(A, B).last_handshake.is_none());
        assert!(s.status(B, A).last_handshake.is_none());
    }
}

// R13; gotatun CHANGELOG: a change that never reached the handshake.
#[test]
fn a_changed_preshared_key_leaves_the_session_alone_and_rules_the_next_handshake() {
    let mut s = Sim::settled();
    s.configure(A, B, |u| u.preshared_key = Some(PSK)).unwrap();
    assert!(s.talks(A, B, SEC), "the session lives on");
    s.run(REJECT_AFTER);
    s.forget();
    s.send(A, B, b"x");
    s.run(2 * SEC);
    assert!(s.delivered(B).is_empty());
    s.configure(B, A, |u| u.preshared_key = Some(PSK)).unwrap();
    s.run(6 * SEC);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
    s.configure(A, B, |u| u.preshared_key = Some([0; 32])).unwrap();
    s.configure(B, A, |u| u.preshared_key = Some([0; 32])).unwrap();
    s.run(REJECT_AFTER);
    s.send(A, B, b"y");
    s.run(SEC);
    assert_eq!(s.delivered(B).last().unwrap(), b"y");
}

// R15
#[test]
fn a_private_key_is_clamped_and_read_back_clamped() {
    let mut s = Sim::strangers(1, 1);
    s.act(A, |d, now, sink| d.set_private_key(now, Some([0xff; 32]), sink));
    let key = s.nodes[A].device.private_key().unwrap();
    assert_eq!((key[0], key[31]), (0xf8, 0x7f));
    assert_eq!(key[1..31], [0xff; 30]);
    let mut odd = [0xff; 32];
    odd[0] = 0xf8;
    odd[31] = 0x7f;
    assert_eq!(s.nodes[A].device.public_key(), Some(hopbox::wg::public_key(&odd)));
    assert_eq!(hopbox::wg::public_key(&[0xff; 32]), stranger::public(&odd));
    s.act(A, |d, now, sink| d.set_private_key(now, Some([0; 32]), sink));
    assert_eq!(s.nodes[A].device.private_key(), None, "all zero takes the key away");
}

// R20
#[test]
fn our_own_public_key_is_never_a_peer() {
    let mut s = Sim::strangers(1, 2);
    s.configure(A, A, |u| u.endpoint = Some(v4(9))).unwrap();
    assert!(s.nodes[A].device.peers().is_empty());
    s.introduce(A, B);
    let theirs = s.nodes[B].private;
    s.act(A, |d, now, sink| d.set_private_key(now, Some(theirs), sink));
    assert!(s.nodes[A].device.peers().is_empty(), "a key that becomes ours goes");
    assert_eq!(s.send(A, B, b"x"), Outbound::Dropped(Drop::NoRoute));
}

// R23
#[test]
fn a_new_private_key_stops_sending_on_old_sessions_but_still_opens() {
    let (mut s, mut who, keys) = joined();
    let private = s.rng.bytes();
    s.set_key(B, private);
    let out = s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    assert_eq!(out, Outbound::Staged);
    assert_eq!(s.count(B, Kind::Data), 0);
    let got = s.inject(B, v4(ADDRESS), &keys.data(1, &letter(B, b"in flight")));
    assert!(matches!(got, Inbound::Packet { .. }));
    let old = who.initiation(3, stranger::stamp(1_700_000_500, 0)).1;
    assert_eq!(s.inject(B, v4(ADDRESS), &old), Inbound::Dropped(Drop::BadMac1));
    who.device = s.nodes[B].public;
    s.run(SEC);
    let keys = join(&mut s, B, &mut who, 4);
    s.inject(B, v4(ADDRESS), &keys.data(0, &[]));
    assert!(keys.open(&s.last(B, Kind::Data).bytes).is_some());
}

// R23; netns.sh: "private key replaced on one side, other side told".
#[test]
fn after_a_change_of_key_that_the_other_side_knows_traffic_resumes_at_once() {
    let mut s = Sim::connected();
    let old = s.nodes[A].public;
    let private = s.rng.bytes();
    s.set_key(A, private);
    let mut u = PeerUpdate::default();
    u.public_key = old;
    u.remove = true;
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    s.introduce(A, B);
    s.send(A, B, b"with the new key");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"with the new key".to_vec()]);
}

// R23: an initiation under way is of the old key; a new one need not wait for 5 s.
#[test]
fn a_change_of_key_forgets_the_handshake_and_permits_a_new_one_at_once() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    assert_eq!(s.nodes[A].device.live_indices(), 1);
    let private = s.rng.bytes();
    s.set_key(A, private);
    assert_eq!(s.nodes[A].device.live_indices(), 0);
    s.run(SEC);
    s.send(A, B, b"y");
    assert_eq!(s.times(A, Kind::Initiation), [0, SEC]);
}

// R23: sealing is over for a session that still waits for its confirmation, too.
#[test]
fn a_change_of_key_does_not_renew_sessions_by_age() {
    let mut s = Sim::settled();
    let private = s.rng.bytes();
    s.set_key(A, private);
    s.run(REKEY_AFTER + 20 * SEC);
    s.forget();
    s.send(B, A, b"x");
    s.run(2 * SEC);
    assert!(s.wire.iter().all(|w| w.from == B), "A cannot even send a keepalive");
}

// R80 C: nothing of a refused change takes effect.
#[test]
fn a_prefix_longer_than_its_address_refuses_the_whole_change() {
    let mut s = Sim::pair();
    for bad in [(inner(B), 33), (inner6(B), 129)] {
        let got = s.configure(A, B, |u| {
            u.endpoint = Some(v4(99));
            u.replace_allowed_ips = true;
            u.allowed_ips = vec![(inner(C), 32, true), (bad.0, bad.1, true)];
        });
        assert_eq!(got, Err(ConfigError::BadPrefix));
        assert_eq!(s.status(A, B).endpoint, Some(v4(2)));
        assert_eq!(s.status(A, B).allowed_ips.len(), 2);
    }
    let mut s2 = Sim::strangers(1, 2);
    let got = s2.configure(A, B, |u| u.allowed_ips = vec![(inner(B), 33, true)]);
    assert_eq!(got, Err(ConfigError::BadPrefix));
    assert!(s2.nodes[A].device.peers().is_empty());
}

// R42: bounds are bounds.
#[test]
fn peers_and_prefixes_are_bounded() {
    let mut s = Sim::strangers(1, 1);
    let mut add = |n: u32| {
        let mut u = PeerUpdate::default();
        u.public_key[..4].copy_from_slice(&n.to_le_bytes());
        u.public_key[31] = 1;
        s.act(A, |d, now, sink| d.update_peer(now, &u, sink))
    };
    for n in 0..MAX_PEERS as u32 {
        assert_eq!(add(n), Ok(()));
    }
    assert_eq!(add(u32::MAX), Err(ConfigError::TooManyPeers));
    assert_eq!(add(7), Ok(()), "a known one may still be changed");

    let mut s = Sim::pair();
    let many = |n: usize| -> Vec<_> {
        (0..n as u32).map(|i| (std::net::IpAddr::from(i.to_be_bytes()), 32, true)).collect()
    };
    let over = s.configure(A, B, |u| u.allowed_ips = many(MAX_PREFIXES + 1));
    assert_eq!(over, Err(ConfigError::TooManyPrefixes));
    assert_eq!(s.configure(A, B, |u| u.allowed_ips = many(MAX_PREFIXES - 2)), Ok(()));
    const { assert!(MAX_PEERS <= 4096 && MAX_PREFIXES <= 1 << 20) };
    for e in [ConfigError::TooManyPeers, ConfigError::TooManyPrefixes, ConfigError::BadPrefix] {
        assert!(!e.to_string().is_empty());
    }
}

// R100: what is not said stays as it is.
#[test]
fn an_update_changes_only_what_it_names() {
    let mut s = Sim::settled();
    s.configure(A, B, |u| {
        u.preshared_key = Some(PSK);
        u.persistent_keepalive = Some(33);
    })
    .unwrap();
    s.run(SEC);
    let before = s.status(A, B);
    s.configure(A, B, |_| ()).unwrap();
    let after = s.status(A, B);
    assert_eq!(after.preshared_key, before.preshared_key);
    assert_eq!(after.persistent_keepalive, 33);
    assert_eq!(after.endpoint, before.endpoint);
    assert_eq!(after.allowed_ips, before.allowed_ips);
    assert_eq!(after.last_handshake, before.last_handshake);
    assert!(before.last_handshake.is_some());
}

// As `wg set … update-only`.
#[test]
fn an_update_only_change_creates_no_peer() {
    let mut s = Sim::strangers(1, 2);
    s.configure(A, B, |u| u.update_only = true).unwrap();
    assert!(s.nodes[A].device.peers().is_empty());
    s.configure(A, B, |u| u.remove = true).unwrap();
    assert!(s.nodes[A].device.peers().is_empty());
}
