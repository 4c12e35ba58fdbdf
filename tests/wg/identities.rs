//! An interface with several static keys, as it is while keys are being rotated: each peer meets
//! the one that it is bound to, and nobody notices what the others do.

use hopbox::wg::{Drop, PeerUpdate, public_key};

use super::sim::*;

const OLD: [u8; 32] = [0x41; 32];
const NEW: [u8; 32] = [0x42; 32];
const HUB: Dev = 0;
const FIRST: Dev = 1;
const SECOND: Dev = 2;
const RENEWED: Dev = 3;

/// A hub with the old key and two peers that talk to it; a third that was told the new key.
fn rotating() -> Sim {
    let mut s = Sim::empty(11);
    assert_eq!(s.add_with(OLD), HUB);
    for peer in [FIRST, SECOND, RENEWED] {
        assert_eq!(s.add(), peer);
    }
    s.introduce(HUB, FIRST);
    s.introduce(HUB, SECOND);
    hello(&mut s, FIRST);
    hello(&mut s, SECOND);
    assert!(s.talks(FIRST, HUB, SEC) && s.talks(SECOND, HUB, SEC));
    s.act(HUB, |d, now, sink| d.set_private_keys(now, Some(OLD), &[NEW], sink));
    s.introduce(HUB, RENEWED);
    s.configure(HUB, RENEWED, |u| u.own_public_key = Some(public_key(&NEW))).unwrap();
    let hub = s.seen_as(HUB);
    meet(&mut s, NEW, |u| {
        u.endpoint = Some(hub);
        u.allowed_ips = vec![(inner(HUB), 32, true)];
    });
    s.configure(RENEWED, HUB, |u| u.remove = true).unwrap();
    s
}

/// One packet to the hub, and the handshake that it takes.
fn hello(s: &mut Sim, peer: Dev) {
    s.send(peer, HUB, b"hello");
    s.run(SEC);
}

/// Changes what the third peer knows of the hub under one of its keys.
fn meet(s: &mut Sim, hub: [u8; 32], change: impl FnOnce(&mut PeerUpdate)) {
    let mut u = PeerUpdate::default();
    u.public_key = public_key(&hub);
    change(&mut u);
    s.act(RENEWED, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
}

fn handshakes(s: &Sim) -> usize {
    [HUB, FIRST, SECOND, RENEWED].iter().map(|dev| s.count(*dev, Kind::Initiation)).sum()
}

#[test]
fn a_peer_with_the_new_key_and_peers_with_the_old_one_are_served_at_once() {
    let mut s = rotating();
    let before = handshakes(&s);
    hello(&mut s, RENEWED);
    assert!(s.talks(RENEWED, HUB, SEC) && s.talks(HUB, RENEWED, SEC));
    assert_eq!(handshakes(&s), before + 1, "one handshake for the renewed peer");
    assert!(s.talks(FIRST, HUB, SEC) && s.talks(SECOND, HUB, SEC));
    assert_eq!(handshakes(&s), before + 1, "and none for the others");
}

// R23 spares those whose key stays.
#[test]
fn the_new_key_becomes_the_interfaces_own_and_no_session_ends() {
    let mut s = rotating();
    hello(&mut s, RENEWED);
    assert!(s.talks(RENEWED, HUB, SEC));
    for peer in [FIRST, SECOND] {
        s.configure(HUB, peer, |u| u.own_public_key = Some(public_key(&OLD))).unwrap();
    }
    let before = handshakes(&s);
    s.act(HUB, |d, now, sink| d.set_private_keys(now, Some(NEW), &[OLD], sink));
    for peer in [FIRST, SECOND, RENEWED] {
        assert!(s.talks(peer, HUB, SEC) && s.talks(HUB, peer, SEC), "{peer}");
    }
    assert_eq!(handshakes(&s), before);
    // Later handshakes go both ways under the key that each knows.
    s.run(REJECT_AFTER);
    for peer in [FIRST, SECOND, RENEWED] {
        s.send(HUB, peer, b"hello");
        s.run(SEC);
        assert!(s.talks(HUB, peer, SEC) && s.talks(peer, HUB, SEC), "{peer}");
    }
}

#[test]
fn a_key_that_is_taken_away_serves_nobody() {
    let mut s = rotating();
    hello(&mut s, RENEWED);
    assert!(s.talks(RENEWED, HUB, SEC));
    s.act(HUB, |d, now, sink| d.set_private_keys(now, Some(NEW), &[], sink));
    assert!(s.talks(RENEWED, HUB, SEC), "its key is the interface's own now");
    s.run(REJECT_AFTER);
    let refused = s.drops(HUB, Drop::BadMac1);
    assert!(!s.talks(FIRST, HUB, 10 * SEC));
    assert!(s.drops(HUB, Drop::BadMac1) > refused);
}

#[test]
fn a_peer_bound_to_one_key_is_unknown_under_the_other() {
    let mut s = rotating();
    s.configure(HUB, RENEWED, |u| u.own_public_key = Some(public_key(&OLD))).unwrap();
    assert!(!s.talks(RENEWED, HUB, 10 * SEC));
    assert!(s.drops(HUB, Drop::UnknownPeer) > 0);
    assert_eq!(s.status(HUB, RENEWED).rx_bytes, 0);
}

// R20, R40: each key has its own cookies, and is nobody's peer.
#[test]
fn under_load_both_keys_are_guarded() {
    let mut s = rotating();
    s.load(HUB);
    assert!(s.talks(RENEWED, HUB, 15 * SEC), "after a cookie");
    assert!(s.drops(HUB, Drop::CookieSent) > 0);
    let mut u = PeerUpdate::default();
    u.public_key = public_key(&NEW);
    s.act(HUB, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    let peers = s.act(HUB, |d, _, _| d.peers().len());
    assert_eq!(peers, 3);
}

/// A machine that takes its next key while it talks: the hub knows both, and what was the old
/// key's peer's goes over with the first packet under the new one. Nothing is lost on the way.
#[test]
fn a_peer_under_its_next_key_inherits_and_nothing_is_lost() {
    let mut s = Sim::empty(12);
    assert_eq!(s.add_with(OLD), HUB);
    assert_eq!(s.add(), FIRST);
    s.introduce(HUB, FIRST);
    hello(&mut s, FIRST);
    assert!(s.talks(FIRST, HUB, SEC));
    let (old, next) = (s.nodes[FIRST].public, public_key(&[0x43; 32]));
    let knows = |s: &mut Sim, public_key, inherits| {
        let mut u = PeerUpdate::default();
        (u.public_key, u.inherits) = (public_key, inherits);
        s.act(HUB, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    };
    let owner = |s: &Sim| {
        let peers = s.nodes[HUB].device.peers();
        let has: Vec<_> = peers.iter().filter(|peer| !peer.allowed_ips.is_empty()).collect();
        assert_eq!((has.len(), has[0].allowed_ips.len()), (1, 2));
        has[0].public_key
    };
    knows(&mut s, next, Some(old));
    assert!(s.talks(FIRST, HUB, SEC) && owner(&s) == old, "not before it is heard");

    s.forget();
    s.set_key(FIRST, [0x43; 32]);
    for n in 0..5 {
        s.send(FIRST, HUB, &[n]);
    }
    s.run(SEC);
    assert_eq!(s.delivered(HUB), [[0], [1], [2], [3], [4]].map(Vec::from));
    assert_eq!((owner(&s), s.drops(HUB, Drop::WrongSource)), (next, 0));
    s.send(HUB, FIRST, b"and back");
    s.run(SEC);
    assert_eq!(s.delivered(FIRST), [b"and back".to_vec()]);

    // Once is enough: what is given back is not taken again.
    s.configure(HUB, FIRST, |u| {
        u.public_key = old;
        u.allowed_ips = vec![(inner(FIRST), 32, true), (inner6(FIRST), 128, true)];
    })
    .unwrap();
    s.send(FIRST, HUB, b"x");
    s.run(SEC);
    assert_eq!((owner(&s), s.drops(HUB, Drop::WrongSource)), (old, 1));

    // Nobody inherits from itself, from strangers, or from who is gone.
    for from in [next, public_key(&NEW), [0; 32]] {
        knows(&mut s, next, Some(from));
        s.send(FIRST, HUB, b"x");
        s.run(SEC);
        assert_eq!(owner(&s), old);
    }
}
