//! Retries, keepalives, silence: when something is sent though nobody asked.

use hopbox::wg::{Drop, Outbound};

use super::sim::*;

fn gaps(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|w| w[1] - w[0]).collect()
}

// R64 R65; tailscale #7617.
#[test]
fn an_unanswered_handshake_is_tried_20_times_and_then_there_is_silence() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    s.run(HOUR);
    let times = s.times(A, Kind::Initiation);
    assert_eq!(times.len(), ATTEMPTS);
    for gap in gaps(&times) {
        assert!((REKEY_TIMEOUT..=REKEY_TIMEOUT + JITTER).contains(&gap), "{gap}");
    }
    let last = *times.last().unwrap();
    assert!((95 * SEC..=102 * SEC).contains(&last), "{last}");
    assert_eq!(s.wire.len(), ATTEMPTS);
    assert_eq!(s.drops(A, Drop::StagedPurged), 1);
    assert_eq!(s.nodes[A].device.live_indices(), 0, "R57: wiped in the end");
    assert_eq!(s.nodes[A].device.next_deadline(), None);
}

// R65: given up after 100–107 s: then, not before, the staged packets go.
#[test]
fn staged_packets_are_given_up_with_the_handshake() {
    let mut s = Sim::pair();
    s.cut(A, B);
    for _ in 0..3 {
        s.send(A, B, b"x");
    }
    s.run(100 * SEC - 1);
    assert_eq!(s.drops(A, Drop::StagedPurged), 0);
    s.run(7 * SEC);
    assert_eq!(s.drops(A, Drop::StagedPurged), 3);
}

// R66
#[test]
fn new_traffic_after_giving_up_starts_over_with_all_attempts() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    s.run(HOUR);
    s.forget();
    s.send(A, B, b"y");
    assert_eq!(s.count(A, Kind::Initiation), 1, "at once");
    s.run(HOUR);
    assert_eq!(s.count(A, Kind::Initiation), ATTEMPTS);
}

// R66: a packet in the middle of the retries, too.
#[test]
fn new_traffic_while_trying_renews_the_attempts_but_does_not_hasten_them() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    s.run(60 * SEC);
    let before = s.count(A, Kind::Initiation);
    s.send(A, B, b"y");
    s.run(HOUR);
    let times = s.times(A, Kind::Initiation);
    assert!(gaps(&times).iter().all(|g| (REKEY_TIMEOUT..=REKEY_TIMEOUT + JITTER).contains(g)));
    assert_eq!(times.len(), before + ATTEMPTS - 1);
}

// R64; linux 417713f.
#[test]
fn the_jitter_of_retries_is_uniform_up_to_333_ms() {
    let mut all = Vec::new();
    for seed in 0..60 {
        let mut s = Sim::pair_seeded(seed);
        s.cut(A, B);
        s.send(A, B, b"x");
        s.run(HOUR);
        all.extend(gaps(&s.times(A, Kind::Initiation)).iter().map(|g| (g - REKEY_TIMEOUT) / MS));
    }
    let n = all.len() as u64;
    assert_eq!(n, 60 * 19);
    let mean = all.iter().sum::<u64>() / n;
    assert!((150..=183).contains(&mean), "mean {mean} ms");
    for fourth in 0..4 {
        let inside = all.iter().filter(|&&j| j * 4 / 334 == fourth).count() as u64;
        assert!((n / 6..n / 3).contains(&inside), "quarter {fourth}: {inside} of {n}");
    }
    assert!(all.iter().max().unwrap() >= &325 && all.iter().min().unwrap() <= &8);
}

// R67
#[test]
fn unanswered_data_starts_a_handshake_after_15_seconds() {
    let mut all = Vec::new();
    for seed in 0..20 {
        let mut s = Sim::pair_seeded(seed);
        s.send(A, B, b"first");
        s.run(60 * SEC);
        s.forget();
        s.cut(A, B);
        let t0 = s.now;
        s.send(A, B, b"x");
        s.run(SILENCE + JITTER);
        let times = s.times(A, Kind::Initiation);
        assert_eq!(times.len(), 1);
        assert!(times[0] >= t0 + SILENCE);
        all.push(times[0] - t0);
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 10, "with jitter");
}

// R67: counted from the first unanswered packet, not from the last.
#[test]
fn later_packets_do_not_postpone_the_handshake_after_silence() {
    let mut s = Sim::settled();
    s.cut(A, B);
    let t0 = s.now;
    for _ in 0..30 {
        s.send(A, B, b"x");
        s.run(SEC / 2);
    }
    s.run(JITTER);
    let times = s.times(A, Kind::Initiation);
    assert_eq!(times.len(), 1);
    assert!((t0 + SILENCE..=t0 + SILENCE + JITTER).contains(&times[0]));
}

// R67: an answer of any kind stops the clock, and the next packet starts it anew.
#[test]
fn an_answered_packet_is_not_unanswered() {
    let mut s = Sim::settled();
    s.send(A, B, b"x");
    s.run(60 * SEC);
    assert_eq!(s.count(A, Kind::Initiation), 0, "B's keepalive came at 10 s");
}

// R67 R90: the source address that was in use is forgotten, since it may be the reason.
#[test]
fn silence_forgets_the_pinned_source_address() {
    let mut s = Sim::connected();
    s.run(60 * SEC);
    s.cut(A, B);
    s.forget();
    s.send(A, B, b"x");
    assert_eq!(s.last(A, Kind::Data).local.unwrap().ip, v4(1).ip());
    s.run(16 * SEC);
    assert_eq!(s.last(A, Kind::Initiation).local, None);
    assert_eq!(s.last(A, Kind::Initiation).to, v4(2));
}

// R64 R90: each retry forgets it, too.
#[test]
fn a_retry_forgets_the_pinned_source_address() {
    let mut s = Sim::connected();
    s.run(REJECT_AFTER);
    s.cut(A, B);
    s.forget();
    s.send(A, B, b"x");
    s.run(6 * SEC);
    let sent = s.sent(A, Kind::Initiation);
    assert!(sent[0].local.is_some() && sent[1].local.is_none());
}

// R71; OpenBSD 93bd2b1: a refused keepalive must not be the last one.
#[test]
fn timers_go_on_although_the_socket_refuses_everything() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 10);
    s.nodes[A].socket_fails = true;
    s.run(60 * SEC);
    s.nodes[A].socket_fails = false;
    s.forget();
    s.run(10 * SEC);
    assert_eq!(s.count(A, Kind::Keepalive), 1);
    assert_eq!(s.drops(A, Drop::SendFailed), 6);

    let mut s = Sim::pair();
    s.nodes[A].socket_fails = true;
    s.send(A, B, b"x");
    s.run(20 * SEC);
    s.nodes[A].socket_fails = false;
    s.run(6 * SEC);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
}

// R57
#[test]
fn keys_are_wiped_540_seconds_after_the_last_derivation() {
    let mut s = Sim::pair();
    s.send(A, B, b"x");
    s.run(DELAY);
    let derived_b = s.now;
    s.run(derived_b + WIPE - 1 - s.now);
    assert_eq!(s.nodes[B].device.live_indices(), 1);
    s.run(1);
    assert_eq!(s.nodes[B].device.live_indices(), 0);
    assert_eq!(s.nodes[A].device.live_indices(), 1, "A derived one delay later");
    s.run(DELAY);
    assert_eq!(s.nodes[A].device.live_indices(), 0);
    let d = s.last(A, Kind::Data).bytes;
    s.inject(B, v4(1), &d);
    assert_eq!(s.drops(B, Drop::UnknownIndex), 1);
}

// R57: each derivation postpones the wipe.
#[test]
fn a_tunnel_in_use_is_not_wiped() {
    let mut s = Sim::connected();
    for _ in 0..30 {
        s.send(A, B, b"x");
        s.run(50 * SEC);
        assert!(s.nodes[A].device.live_indices() > 0);
    }
    assert_eq!(s.delivered(B).len(), 30);
}

// R65: a device that never got a session wipes its handshake, too.
#[test]
fn giving_up_wipes_the_handshake_540_seconds_later() {
    let mut s = Sim::pair();
    s.cut(A, B);
    s.send(A, B, b"x");
    s.run(107 * SEC);
    assert_eq!(s.nodes[A].device.live_indices(), 1);
    s.run(WIPE);
    assert_eq!(s.nodes[A].device.live_indices(), 0);
}

// R63: one late poll sees everything that expired, and acts once.
#[test]
fn a_single_late_poll_observes_every_expiry() {
    let mut s = Sim::connected();
    s.set_keepalive(A, B, 25);
    s.send(A, B, b"x");
    s.run(SEC);
    s.forget();
    s.run_coarse(HOUR);
    assert!(s.wire.len() <= 2, "{:?}", s.wire.iter().map(Wire::kind).collect::<Vec<_>>());
    assert!(s.talks(A, B, 8 * SEC), "both woke and initiated: crossed, and converged");
}

// R63 R101: one side slept. What is due when it wakes must not take away the initiation that the
// same poll sends.
#[test]
fn after_a_long_sleep_one_handshake_is_enough() {
    let mut s = Sim::settled();
    s.send(A, B, b"unanswered when the lid closes");
    s.sleep(A, HOUR);
    s.forget();
    s.run(SEC);
    s.send(A, B, b"x");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
    assert_eq!(s.count(A, Kind::Initiation), 0, "the one at the moment of waking was enough");
}

// R71: polls that come early or often change nothing.
#[test]
fn polls_without_a_deadline_change_nothing() {
    let mut s = Sim::connected();
    s.send(A, B, b"x");
    for _ in 0..300 {
        s.run(100 * MS);
        for dev in [A, B] {
            s.act(dev, |d, now, sink| d.on_time(now, sink));
        }
    }
    let kinds: Vec<Kind> = s.wire.iter().map(Wire::kind).collect();
    assert_eq!(kinds, [Kind::Data, Kind::Keepalive, Kind::Keepalive]);
}

// R64: same seed, same schedule. What a test shows can be shown again.
#[test]
fn identical_seeds_produce_identical_schedules() {
    let run = |seed| {
        let mut s = Sim::pair_seeded(seed);
        s.both(A, B, |l| (l.loss, l.spread) = (200, 50 * MS));
        for i in 0..50u8 {
            s.send(A, B, &[i]);
            s.run(3 * SEC);
        }
        s.wire.iter().map(|w| (w.t, w.from, w.bytes.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

// R64: deadlines come with the reason why.
#[test]
fn every_deadline_names_its_reason() {
    let mut s = Sim::pair();
    let reason = |s: &Sim, dev: Dev| s.nodes[dev].device.next_deadline().map(|(_, why)| why);
    assert_eq!(reason(&s, A), None);
    assert_eq!(s.send(A, B, b"x"), Outbound::Staged);
    assert_eq!(reason(&s, A), Some("retransmit handshake"));
    s.run(15 * MS);
    assert_eq!(reason(&s, B), Some("wipe key material"));
    s.run(30 * MS);
    assert_eq!(reason(&s, B), Some("passive keepalive"));
    s.run(14 * SEC);
    s.cut(A, B);
    s.send(A, B, b"y");
    s.run(2 * SEC);
    assert_eq!(reason(&s, A), Some("new handshake after silence"));
}
