//! Clocks that jump, stand still or sleep; long runs on paths that misbehave.

use hopbox::wg::{Drop, Inbound};

use super::sim::*;
use super::stranger::{self, ADDRESS, stamp};

const YEAR: i128 = 365 * 24 * 3600 * SEC as i128;

// R28; CVE-2021-46873: a jump into the future and back must not burn the key pair.
#[test]
fn a_wall_clock_30_years_ahead_and_back_costs_no_session() {
    let mut s = Sim::connected();
    for offset in [30 * YEAR, 0, -30 * YEAR, 5 * YEAR, 0] {
        s.nodes[A].wall_offset = offset;
        s.run(REJECT_AFTER);
        s.forget();
        s.send(A, B, b"x");
        s.run(SEC);
        assert_eq!(s.delivered(B), [b"x".to_vec()], "offset {} years", offset / YEAR);
    }
}

// R28: what goes out after a jump back is above, but barely above, what went out before.
#[test]
fn timestamps_rise_strictly_whatever_the_wall_clock_does() {
    let mut s = Sim::strangers(3, 2);
    let who = stranger::introduce(&mut s, B);
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.endpoint = Some(v4(ADDRESS));
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    let mut rng = Rng(5);
    let mut last = [0; 12];
    for i in 0..200 {
        s.nodes[B].wall_offset = match i {
            100.. => -50 * YEAR,
            50.. => 3 * SEC as i128,
            _ => rng.below(1000 * SEC) as i128 - 500 * SEC as i128,
        };
        s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
        s.run(6 * SEC);
        for w in std::mem::take(&mut s.wire) {
            let (_, _, t) = who.read(&w.bytes).unwrap();
            assert!(t > last, "step {i}");
            assert_eq!(u32::from_be_bytes(t[8..].try_into().unwrap()) & 0xff_ffff, 0);
            last = t;
        }
    }
    assert!(last < stamp(1_700_000_000 + 200 * 6 + 600, 0), "never absurdly ahead");
}

// R28: a clock that stands still costs 2^24 ns for each timestamp, and no more.
#[test]
fn timestamps_of_a_clock_that_stands_rise_by_the_smallest_step() {
    let mut s = Sim::strangers(3, 2);
    let who = stranger::introduce(&mut s, B);
    let mut u = hopbox::wg::PeerUpdate::default();
    u.public_key = stranger::public(&who.private);
    u.endpoint = Some(v4(ADDRESS));
    s.act(B, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    for n in 0..150u64 {
        s.nodes[B].wall_offset = -i128::from(s.now);
        s.forget();
        s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, b"x"));
        let (_, _, t) = who.read(&s.last(B, Kind::Initiation).bytes).unwrap();
        assert_eq!(t, stamp(1_700_000_000 + n / 60, ((n % 60) << 24) as u32), "{n}");
        s.stop(B);
        s.start(B);
    }
}

// R28: a machine without a battery for its clock: 1970 at first, then the right time.
#[test]
fn a_clock_that_is_set_after_the_start_is_believed() {
    let mut s = Sim::connected();
    s.nodes[A].wall_offset = -YEAR * 53;
    s.reboot(A);
    s.introduce(A, B);
    s.send(A, B, b"in 1970");
    s.run(SEC);
    assert_eq!(s.drops(B, Drop::OldTimestamp), 1);
    s.nodes[A].wall_offset = 0;
    s.run(6 * SEC);
    assert_eq!(s.delivered(B), [b"in 1970".to_vec()]);
}

// R28: what was issued before a restart is not undercut after it, if the mark was kept.
#[test]
fn a_restart_with_a_kept_mark_and_a_clock_that_went_back_costs_nothing() {
    let mut s = Sim::connected();
    let mark = s.nodes[A].device.timestamp_mark().unwrap();
    s.nodes[A].wall_offset = -YEAR;
    s.reboot(A);
    s.nodes[A].device.resume_timestamps(mark);
    s.introduce(A, B);
    s.send(A, B, b"x");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
}

// R28; CVE-2021-46873: after a leap that was undone, and a restart that forgot everything.
#[test]
fn a_leap_of_the_clock_does_not_burn_the_key_pair() {
    let mut s = Sim::connected();
    s.nodes[A].wall_offset = 30 * YEAR;
    s.run(REJECT_AFTER);
    s.send(A, B, b"leapt");
    s.run(SEC);
    s.nodes[A].wall_offset = 0;
    s.run(SEC);
    s.reboot(A);
    s.introduce(A, B);
    s.send(A, B, b"back");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"leapt".to_vec(), b"back".to_vec()]);
}

// R28: the wall clock has no say in any deadline.
#[test]
fn jumps_of_the_wall_clock_change_no_schedule() {
    let run = |jump: bool| {
        let mut s = Sim::pair();
        s.set_keepalive(A, B, 25);
        for i in 0..60i128 {
            if jump {
                s.nodes[A].wall_offset = (i - 30) * YEAR / 3;
                s.nodes[B].wall_offset = (30 - i) * YEAR / 5;
            }
            s.send(B, A, b"x");
            s.run(7 * SEC);
        }
        s.wire.iter().map(|w| (w.t, w.from, w.kind())).collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
}

// R63; firezone #14143, wireguard-go #29: ages count suspended time.
#[test]
fn a_session_expires_during_sleep() {
    let mut s = Sim::settled();
    s.sleep(A, REJECT_AFTER);
    s.forget();
    s.send(A, B, b"good morning");
    assert_eq!(s.count(A, Kind::Data), 0);
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"good morning".to_vec()]);
}

// R63 R101, target "wake from sleep": a young session is used at once.
#[test]
fn a_nap_shorter_than_the_session_costs_nothing() {
    let mut s = Sim::settled();
    s.sleep(A, 60 * SEC);
    s.forget();
    s.send(A, B, b"x");
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"x".to_vec()]);
    assert_eq!(s.wire.len(), 1);
}

// R57 R63: keys do not outlive 540 s of sleep.
#[test]
fn keys_are_wiped_at_the_first_poll_after_a_long_sleep() {
    let mut s = Sim::settled();
    s.sleep(A, WIPE);
    assert_eq!(s.nodes[A].device.live_indices(), 0);
}

// R63 boringtun #300 #317: time that stands still or goes back is odd, but no reason to panic.
#[test]
fn a_boot_clock_that_goes_back_panics_nowhere() {
    let mut s = Sim::settled();
    s.set_keepalive(A, B, 5);
    let saved = s.now;
    for back in [0, SEC, 10 * SEC, saved] {
        s.now = saved - back;
        for dev in [A, B] {
            s.send(dev, 1 - dev, b"x");
            s.act(dev, |d, now, sink| d.on_time(now, sink));
            s.act(dev, |d, now, sink| d.network_changed(now, sink));
        }
        s.load(B);
        assert!(matches!(s.inject(B, v4(3), &[1; 148]), Inbound::Dropped(_)));
    }
    s.now = saved;
    s.run(10 * SEC);
    assert!(s.talks(A, B, 10 * SEC));
}

// R62 R66: product promise, one hour of outage and back.
#[test]
fn after_an_outage_traffic_flows_again_within_one_retry() {
    for outage in [SEC, 20 * SEC, 170 * SEC, 200 * SEC, 1000 * SEC, HOUR] {
        let mut s = Sim::settled();
        s.cut(A, B);
        let end = s.now + outage;
        while s.now < end {
            s.send(A, B, b"lost");
            s.run(SEC);
        }
        s.heal(A, B);
        s.forget();
        for _ in 0..7 {
            s.send(A, B, b"x");
            s.run(SEC);
        }
        assert!(s.delivered(B).iter().any(|p| p == b"x"), "outage of {} s", outage / SEC);
    }
}

// C10: one half of the protocol blocked.
#[test]
fn one_way_black_holes_are_survived() {
    let mut s = Sim::settled();
    for i in 0..40 {
        let (from, to) = if i % 2 == 0 { (A, B) } else { (B, A) };
        s.link(from, to).cut = true;
        for _ in 0..20 {
            s.send(A, B, b"x");
            s.run(SEC);
        }
        s.heal(A, B);
        for _ in 0..25 {
            s.send(A, B, b"x");
            s.run(SEC);
        }
        s.forget();
        s.send(A, B, b"through");
        s.run(SEC);
        assert_eq!(s.delivered(B), [b"through".to_vec()], "round {i}");
    }
}

/// A day with everything that may happen on a path; returns delivered and sent packets.
fn a_day(seed: u64) -> (usize, usize) {
    let mut s = Sim::pair_seeded(seed);
    let mut rng = Rng(seed);
    s.set_keepalive(A, B, 25);
    let (mut sent, mut got) = (0, 0);
    for minute in 0..24 * 60u64 {
        let bad = minute % 10 < 5;
        s.both(A, B, |l| {
            l.loss = if bad { 50 } else { 0 };
            l.dup = if bad { 100 } else { 0 };
            l.spread = if bad { 300 * MS } else { 0 };
            l.corrupt = if bad { 10 } else { 0 };
        });
        if minute % 30 == 7 {
            s.nodes[A].addr = v4(10 + rng.below(200) as u8);
        }
        if minute % 240 == 13 {
            s.sleep(A, (1 + rng.below(1200)) * SEC);
        }
        if minute % 60 == 29 {
            let wall = rng.below(7200) as i128 - 3600;
            s.nodes[B].wall_offset = wall * SEC as i128;
        }
        for i in 0..60u64 {
            if rng.below(2) == 0 {
                let (from, to) = if rng.below(2) == 0 { (A, B) } else { (B, A) };
                s.send(from, to, &(minute * 60 + i).to_le_bytes());
                sent += 1;
            }
            s.run(SEC);
        }
        got += s.delivered(A).len() + s.delivered(B).len();
        s.forget();
    }
    assert!(s.talks(A, B, 20 * SEC), "and in the end it works");
    (got, sent)
}

// R56 R59 R63 R64 R67 R88, all at once, for 24 hours.
#[test]
fn a_day_of_loss_reordering_duplication_roaming_and_sleep_is_survived() {
    let (got, sent) = a_day(1);
    assert!(sent > 40_000);
    assert!(got as f64 > 0.93 * sent as f64, "{got} of {sent}");
    assert!(got <= sent, "nothing is delivered twice");
}
