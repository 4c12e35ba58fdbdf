//! Start, stop, removal: what must be gone afterwards, and what must come back.

use hopbox::wg::{Device, Drop, Inbound, Outbound};

use super::sim::*;
use super::stranger::{self, ADDRESS, joined, letter};

// R73
#[test]
fn a_device_starts_stopped_and_then_does_nothing() {
    let mut s = Sim::pair();
    let mut fresh = Device::new(Box::new(Rng(1)));
    assert!(!fresh.is_running());
    assert_eq!(fresh.next_deadline(), None);
    std::mem::swap(&mut s.nodes[A].device, &mut fresh);
    assert_eq!(s.send(A, B, b"x"), Outbound::Dropped(Drop::NotRunning));
    assert_eq!(s.inject(A, v4(2), &[4; 40]), Inbound::Dropped(Drop::NotRunning));
    assert!(s.wire.is_empty());
}

// R73 R95
#[test]
fn a_stopped_device_has_no_deadline_no_index_and_says_nothing() {
    let mut s = Sim::connected();
    s.set_keepalive(A, B, 25);
    s.send(A, B, b"x");
    s.run(SEC);
    let recorded = s.last(A, Kind::Data).bytes;
    s.stop(B);
    s.stop(A);
    assert!(!s.nodes[A].device.is_running());
    for dev in [A, B] {
        assert_eq!(s.nodes[dev].device.next_deadline(), None);
        assert_eq!(s.nodes[dev].device.live_indices(), 0);
    }
    s.forget();
    assert_eq!(s.send(A, B, b"x"), Outbound::Dropped(Drop::NotRunning));
    assert_eq!(s.inject(B, v4(1), &recorded), Inbound::Dropped(Drop::NotRunning));
    s.act(A, |d, now, sink| d.on_time(now, sink));
    s.run(HOUR);
    assert!(s.wire.is_empty());
}

// R95
#[test]
fn stopping_purges_what_waits_and_cancels_the_handshake() {
    let mut s = Sim::pair();
    s.cut(A, B);
    for _ in 0..7 {
        s.send(A, B, b"x");
    }
    s.stop(A);
    assert_eq!(s.drops(A, Drop::StagedPurged), 7);
    s.start(A);
    s.heal(A, B);
    s.run(HOUR);
    assert_eq!(s.wire.len(), 1, "the first initiation only");
    assert!(s.delivered(B).is_empty());
}

// R95: keys do not survive a stop.
#[test]
fn sessions_do_not_survive_a_stop_of_either_side() {
    let (mut s, _, keys) = joined();
    s.stop(B);
    s.start(B);
    let d = keys.data(1, &letter(B, b"x"));
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::UnknownIndex));
    s.forget();
    let out = s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    assert_eq!(out, Outbound::Staged);
    assert_eq!(s.last(B, Kind::Initiation).to, v4(ADDRESS), "the endpoint is kept");
}

// R95: "rate memory reset": no 5 s wait after a restart.
#[test]
fn after_a_restart_the_first_handshake_goes_out_at_once() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    s.stop(A);
    s.start(A);
    s.heal(A, B);
    s.send(A, B, b"y");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"y".to_vec()]);
    assert_eq!(s.count(A, Kind::Initiation), 2);
}

// R73
#[test]
fn starting_with_a_persistent_keepalive_sends_one_per_peer() {
    let mut s = Sim::strangers(2, 3);
    s.introduce(A, B);
    s.introduce(A, C);
    s.stop(A);
    s.set_keepalive(A, B, 25);
    assert!(s.wire.is_empty(), "not while stopped");
    s.start(A);
    assert_eq!(s.sent_to(v4(2)).len(), 1);
    assert_eq!(s.sent_to(v4(3)).len(), 0);
    s.start(A);
    assert_eq!(s.wire.len(), 1, "started already");
    s.run(SEC);
    assert!(s.status(A, B).last_handshake.is_some());
}

// R67: target "server restart noticed" in ≤ 16 s, and by the client's traffic alone.
#[test]
fn a_restart_of_the_other_side_is_noticed_within_16_seconds_of_traffic() {
    let mut s = Sim::settled();
    s.stop(B);
    s.start(B);
    let t0 = s.now;
    for _ in 0..17 {
        s.send(A, B, b"ping");
        s.run(SEC);
    }
    assert!(!s.delivered(B).is_empty());
    let first = s.log.iter().find(|e| e.dev == B && matches!(e.fact, Fact::Delivered(_)));
    assert!(first.unwrap().t - t0 <= 17 * SEC);
}

// R96
#[test]
fn a_removed_peer_is_gone_with_routes_indices_and_timers() {
    let (mut s, who, keys) = joined();
    s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.remove = true;
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    assert!(s.nodes[B].device.peers().is_empty());
    assert_eq!(s.nodes[B].device.live_indices(), 0);
    assert_eq!(s.nodes[B].device.next_deadline(), None);
    let d = keys.data(1, &letter(B, b"x"));
    assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Dropped(Drop::UnknownIndex));
    let out = s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
    assert_eq!(out, Outbound::Dropped(Drop::NoRoute));
    s.forget();
    s.run(HOUR);
    assert!(s.wire.is_empty());
}

// R96: with a handshake and packets under way.
#[test]
fn removing_a_peer_in_the_middle_of_a_handshake_leaves_nothing() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    s.configure(A, B, |u| u.remove = true).unwrap();
    assert_eq!(s.nodes[A].device.live_indices(), 0);
    assert_eq!(s.drops(A, Drop::StagedPurged), 1);
    s.run(HOUR);
    assert_eq!(s.drops(A, Drop::UnknownIndex), 1, "the response finds nobody");
    assert_eq!(s.count(A, Kind::Initiation), 1);
}

// R96
#[test]
fn a_peer_that_was_removed_and_added_again_starts_from_nothing() {
    let mut s = Sim::settled();
    s.configure(A, B, |u| u.remove = true).unwrap();
    let st = |s: &Sim| s.status(A, B);
    s.configure(A, B, |u| {
        u.endpoint = Some(v4(2));
        u.allowed_ips = vec![(inner(B), 32, true)];
    })
    .unwrap();
    assert!(st(&s).last_handshake.is_none());
    assert_eq!((st(&s).rx_bytes, st(&s).tx_bytes), (0, 0));
    s.send(A, B, b"again");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"again".to_vec()]);
}

// R96
#[test]
fn removing_all_peers_leaves_an_empty_device() {
    let mut s = Sim::strangers(2, 3);
    s.introduce(A, B);
    s.introduce(A, C);
    s.send(A, B, b"x");
    s.send(A, C, b"x");
    s.act(A, |d, _, _| d.remove_all_peers());
    assert!(s.nodes[A].device.peers().is_empty());
    assert_eq!((s.nodes[A].device.live_indices(), s.nodes[A].device.next_deadline()), (0, None));
}

// R95: many cycles, under traffic, with nothing left over.
#[test]
fn a_thousand_restarts_leak_nothing() {
    let mut s = Sim::pair();
    s.set_keepalive(A, B, 25);
    for i in 0..1000u64 {
        let dev = (i % 2) as usize;
        s.stop(dev);
        s.run(i % 7 * 10 * MS);
        s.start(dev);
        if i % 3 == 0 {
            s.send(A, B, b"x");
        }
        if i % 10 == 0 {
            s.wire.clear();
        }
    }
    assert!(s.nodes[A].device.live_indices() <= 4 && s.nodes[B].device.live_indices() <= 4);
    s.run(20 * SEC);
    s.send(A, B, b"still there");
    s.run(20 * SEC);
    assert_eq!(s.delivered(B).last().unwrap(), b"still there");
}

// R08: without a private key there is nothing to say and nothing to understand.
#[test]
fn a_device_without_private_key_neither_sends_nor_answers() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    let init = s.last(A, Kind::Initiation).bytes;
    s.forget();
    s.act(B, |d, now, sink| d.set_private_key(now, None, sink));
    assert_eq!(s.inject(B, v4(1), &init), Inbound::Dropped(Drop::NoPrivateKey));
    let out = s.send_packet(B, &packet(inner(B), inner(A), 0, b"x"));
    assert_eq!(out, Outbound::Dropped(Drop::NoPrivateKey));
    s.set_keepalive(B, A, 1);
    s.run(HOUR / 60);
    assert_eq!(s.wire.iter().filter(|w| w.from == B).count(), 0);
    assert_eq!(s.nodes[B].device.public_key(), None);
}
