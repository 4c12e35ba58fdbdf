//! Garbage and malice: nothing is answered, nothing changes, nothing panics, all is counted.

use hopbox::wg::{Drop, Inbound};

use super::handshake::LOW_ORDER;
use super::sim::*;
use super::stranger::{self, ADDRESS, joined, letter};

// R01 R02 R08 R94
#[test]
fn every_wrong_length_of_every_type_is_met_with_silence() {
    let mut s = Sim::connected();
    for kind in 0..=255u8 {
        for len in (0..70).chain(85..100).chain(140..160) {
            let mut d = vec![0; len];
            if let Some(first) = d.first_mut() {
                *first = kind;
            }
            assert!(matches!(s.inject(B, v4(66), &d), Inbound::Dropped(_)));
        }
    }
    assert!(s.wire.is_empty());
    assert!(s.talks(A, B, SEC));
}

// R01
#[test]
fn the_three_reserved_bytes_must_be_zero() {
    let (mut s, mut who, keys) = joined();
    let (_, init) = who.initiation(1, stranger::stamp(1_700_000_100, 0));
    for d in [keys.data(1, &[]), init] {
        for at in 1..4 {
            let mut bad = d.clone();
            bad[at] = 1;
            assert_eq!(s.inject(B, v4(ADDRESS), &bad), Inbound::Dropped(Drop::Malformed));
        }
    }
}

// R08 R94
#[test]
fn random_garbage_of_any_size_is_dropped_without_effect() {
    let mut s = Sim::connected();
    let mut rng = Rng(4242);
    let before = s.status(B, A).rx_bytes;
    for _ in 0..20_000 {
        let len = rng.below(300) as usize;
        let mut d = vec![0; len];
        hopbox::wg::Entropy::fill(&mut rng, &mut d);
        if rng.below(2) == 0 && len > 4 {
            d[..4].copy_from_slice(&[1 + rng.below(4) as u8, 0, 0, 0]);
        }
        assert!(matches!(s.inject(B, v4(66), &d), Inbound::Dropped(_)));
    }
    assert!(s.wire.is_empty());
    assert_eq!(s.status(B, A).rx_bytes, before);
    assert_eq!(s.status(B, A).endpoint, Some(v4(1)));
    assert!(s.talks(A, B, SEC));
}

// R08: what is recorded, cut and pasted.
#[test]
fn spliced_and_truncated_recordings_are_dropped_without_effect() {
    let mut s = Sim::pair();
    for i in 0..5u8 {
        s.send(A, B, &[i; 60]);
        s.run(SEC);
        s.send(B, A, &[i; 60]);
        s.run(SEC);
    }
    let record: Vec<Vec<u8>> = s.wire.iter().map(|w| w.bytes.clone()).collect();
    let mut rng = Rng(7);
    s.forget();
    for _ in 0..20_000 {
        let a = &record[rng.below(record.len() as u64) as usize];
        let b = &record[rng.below(record.len() as u64) as usize];
        let cut = rng.below(a.len() as u64 + 1) as usize;
        let mut d = a[..cut].to_vec();
        d.extend(b.iter().skip(rng.below(b.len() as u64 + 1) as usize));
        let dev = rng.below(2) as usize;
        assert!(matches!(s.inject(dev, v4(66), &d), Inbound::Dropped(_)), "{d:?}");
    }
    assert!(s.wire.is_empty());
    assert!(s.talks(A, B, SEC));
}

// R14; the kernel's netns.sh loops over these.
#[test]
fn nothing_is_ever_sent_to_a_peer_with_a_low_order_key() {
    for (n, point) in LOW_ORDER.into_iter().enumerate() {
        let mut s = Sim::strangers(9, 1);
        let mut u = hopbox::wg::PeerUpdate::default();
        u.public_key = point;
        u.endpoint = Some(v4(9));
        u.persistent_keepalive = Some(1);
        u.allowed_ips = vec![(inner(B), 32, true)];
        s.act(A, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
        assert_eq!(s.nodes[A].device.peers().len(), 1, "it can be configured");
        let out = s.send(A, B, b"x");
        assert_eq!(out, hopbox::wg::Outbound::Dropped(Drop::PeerLowOrder), "point {n}");
        s.act(A, |d, now, sink| d.network_changed(now, sink));
        s.stop(A);
        s.start(A);
        s.run(HOUR);
        assert!(s.wire.is_empty(), "point {n}");
    }
}

// R14: it cannot initiate either, whatever it computes.
#[test]
fn a_peer_with_a_low_order_key_cannot_initiate() {
    let mut s = Sim::strangers(9, 2);
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = LOW_ORDER[2];
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    let mut who = stranger::Stranger::new([3; 32], s.nodes[B].public);
    who.claim = Some(LOW_ORDER[2]);
    who.static_secret = Some([0; 32]);
    let (_, d) = who.initiation(1, stranger::stamp(1_700_000_000, 0));
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::LowOrder));
    assert!(s.wire.is_empty());
}

// R94: a scanner that knows our public key but is no peer.
#[test]
fn a_stranger_with_our_public_key_hears_nothing_from_a_device_at_rest() {
    let mut s = Sim::connected();
    let mut who = stranger::Stranger::new([3; 32], s.nodes[B].public);
    for i in 0..50 {
        let (_, d) = who.initiation(i, stranger::stamp(1_700_000_000 + u64::from(i), 0));
        assert_eq!(s.inject(B, v4(66), &d), Inbound::Dropped(Drop::UnknownPeer));
    }
    assert!(s.sent_to(v4(66)).is_empty());
}

// R45: indices of sessions that are gone.
#[test]
fn data_for_an_unknown_index_is_dropped() {
    let (mut s, _, keys) = joined();
    s.run(WIPE + SEC);
    let d = keys.data(1, &letter(B, b"x"));
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::UnknownIndex));
    for index in [0u32, 1, u32::MAX] {
        let mut d = d.clone();
        d[4..8].copy_from_slice(&index.to_le_bytes());
        assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::UnknownIndex));
    }
}

// R45: an index of one device's peer means nothing for another's keys.
#[test]
fn one_peer_cannot_speak_on_the_session_of_another() {
    let (mut s, _, first) = joined();
    let mut other = stranger::introduce(&mut s, B);
    s.run(SEC);
    let second = stranger::join(&mut s, B, &mut other, 2);
    let mut d = second.data(1, &letter(B, b"x"));
    d[4..8].copy_from_slice(&first.remote.to_le_bytes());
    assert_eq!(s.inject(B, v4(66), &d), Inbound::Dropped(Drop::Forged));
}

// R08 R94: every single bit of everything that was ever said, flipped.
#[test]
fn every_single_bit_flip_of_a_conversation_is_refused() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    s.run(SEC);
    s.send(B, A, b"y");
    s.run(SEC);
    let record = s.wire.clone();
    for w in &record {
        for bit in 0..w.bytes.len() * 8 {
            let mut d = w.bytes.clone();
            d[bit / 8] ^= 1 << (bit % 8);
            let to = 1 - w.from;
            assert!(matches!(s.inject(to, v4(66), &d), Inbound::Dropped(_)));
        }
    }
    assert_eq!(s.wire.len(), record.len());
    assert_eq!((s.status(A, B).endpoint, s.status(B, A).endpoint), (Some(v4(2)), Some(v4(1))));
}
