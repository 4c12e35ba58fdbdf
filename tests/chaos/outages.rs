//! C08-C10 and C12-C14: the line or one side is gone for a while. Afterwards everything flows
//! again within the limits of R64 and R67.

use std::time::{Duration, Instant};

use crate::faults::{Faults, Hole};
use crate::need_root;
use crate::relay::Way;
use crate::rng::Rng;
use crate::run::{OURS, Run, TO_STRANGER, at_once, runs};
use crate::site::{End, RETRY, SOON, Site, UNANSWERED};
use crate::traffic::{Pace, now_us};

const KIB: u64 = 1024;
const MINUTE: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_millis(300);
const STEADY: Pace = Pace { every: Duration::from_millis(10), burst: 1, size: 1300 };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn pause(d: Duration) {
    std::thread::sleep(d);
}

fn hole(hole: Hole) -> Faults {
    Faults { hole, ..Faults::default() }
}

/// One direction is dead for 20 s: long enough for R67 to act. The other one goes on.
fn black_hole(run: Run, way: Way) {
    let mut site = run.site(&format!("black hole {way:?}"), 0);
    let flows = site.flows(STEADY);
    site.relay.set(way, hole(Hole::Everything));
    pause(ms(100));
    flows.take_silence();
    pause(ms(20_000));
    let [up, down] = flows.take_silence();
    let open = if way == Way::Up { down } else { up };
    if open > SOON {
        site.fail(&format!("the open direction was silent for {open:?}"));
    }
    let healed = site.heal();
    flows.recovered(&site, healed, RETRY);
    site.bulk(256 * KIB, MINUTE);
    site.close(flows, REST);
}

/// Nothing passes for this long. Below 180 s the session survives it.
fn blackout(run: Run, seconds: u64) {
    let mut site = run.site(&format!("blackout {seconds} s"), 0);
    let flows = site.flows(STEADY);
    site.relay.set_both(hole(Hole::Everything));
    pause(Duration::from_secs(seconds));
    let healed = site.heal();
    flows.recovered(&site, healed, if seconds < 180 { SOON } else { RETRY });
    site.bulk(256 * KIB, MINUTE);
    site.ping();
    site.close(flows, REST);
}

#[test]
fn c08_black_holes_and_c09_blackouts() {
    need_root!("c08_black_holes_and_c09_blackouts");
    runs("C08", 0xc08, |run| {
        let blackouts: &[u64] = if run.full { &[20, 200] } else { &[20] };
        let mut parts: Vec<(Option<Way>, u64)> = vec![(Some(Way::Up), 20), (Some(Way::Down), 20)];
        parts.extend(blackouts.iter().map(|s| (None, *s)));
        at_once(parts, |(way, seconds)| match way {
            Some(way) => black_hole(run, way),
            None => blackout(Run { name: "C09", ..run }, seconds),
        });
    });
}

/// An established session needs no handshakes; a new one comes soon after they pass again.
fn no_handshakes(run: Run) {
    let mut site = run.site("no handshakes", 0);
    let flows = site.flows(STEADY);
    site.relay.set_both(hole(Hole::Handshakes));
    pause(ms(if run.full { 20_000 } else { 2000 }));
    flows.check_silence(&site, SOON);
    site.laptop.bounce();
    pause(ms(if run.full { 20_000 } else { 3000 }));
    let told = flows.up.next_after(now_us(), Duration::ZERO);
    assert!(told.is_none(), "{}: data without a handshake", site.label);
    let healed = site.heal();
    flows.recovered(&site, healed, RETRY);
    site.close(flows, REST);
}

/// Handshakes complete, and nothing else does.
fn no_data(run: Run) {
    let mut site = run.site("no data", 0);
    let flows = site.flows(STEADY);
    site.relay.set_both(hole(Hole::Data));
    pause(ms(if run.full { 40_000 } else { 2000 }));
    let healed = site.heal();
    flows.recovered(&site, healed, RETRY);
    site.relay.set_both(hole(Hole::Data));
    site.laptop.bounce();
    pause(ms(if run.full { 40_000 } else { 3000 }));
    let healed = site.heal();
    flows.recovered(&site, healed, RETRY);
    site.bulk(256 * KIB, MINUTE);
    site.close(flows, REST);
}

#[test]
fn c10_only_handshakes_or_only_data_dropped() {
    need_root!("c10_only_handshakes_or_only_data_dropped");
    runs("C10", 0xc10, |run| at_once(vec![no_handshakes, no_data], |part| part(run)));
}

#[test]
fn c12_clock_steps_are_proven_elsewhere() {
    // Nothing can be shown here, so nothing is claimed: CLOCK_REALTIME has no namespace, and
    // setting it would set everybody's. The engine takes its clocks as values, and
    // tests/wg/clocks.rs steps them by years, forth and back, during traffic.
    println!("C12: see tests/wg/clocks.rs: the wall clock cannot be stepped for one process alone");
}

/// One side is stopped and goes on, as a laptop that slept.
fn frozen(run: Run, who: fn(&mut Site) -> &mut End, what: &str, seconds: u64) {
    let mut site = run.site(&format!("{what} frozen {seconds} s"), 0);
    let flows = site.flows(STEADY);
    who(&mut site).freeze();
    pause(Duration::from_secs(seconds));
    who(&mut site).thaw();
    flows.recovered(&site, now_us(), if seconds < 180 { SOON } else { RETRY });
    site.bulk(256 * KIB, MINUTE);
    site.close(flows, REST);
}

fn laptop(site: &mut Site) -> &mut End {
    &mut site.laptop
}

fn server(site: &mut Site) -> &mut End {
    &mut site.server
}

#[test]
fn c13_frozen_for_a_while() {
    need_root!("c13_frozen_for_a_while");
    runs("C13", 0xc13, |run| {
        let lengths: &[u64] = if run.full { &[30, 200] } else { &[30] };
        let parts = lengths.iter().flat_map(|s| [(*s, true), (*s, false)]).collect();
        at_once(parts, |(seconds, is_laptop)| match is_laptop {
            true => frozen(run, laptop, "laptop", seconds),
            false => frozen(run, server, "server", seconds),
        });
    });
}

/// The laptop's process is killed at any moment of its life: a new one is back at once.
fn killed_laptop(run: Run, times: u32) {
    let mut site = run.site("laptop killed", 0);
    let mut rng = Rng::new(run.seed);
    let flows = site.flows(STEADY);
    for _ in 0..times {
        site.laptop.kill();
        site.laptop.start();
        let since = now_us();
        if rng.permille(700) {
            flows.recovered(&site, since, RETRY);
        }
        pause(rng.duration(ms(400)));
    }
    flows.recovered(&site, now_us(), RETRY);
    site.bulk(256 * KIB, MINUTE);
    site.close(flows, REST);
}

/// The server's process is killed. It no longer knows where the laptop is: unanswered data tells
/// the laptop (R67).
fn killed_server(run: Run, times: u32) {
    let mut site = run.site("server killed", 0);
    let mut rng = Rng::new(run.seed);
    let flows = site.flows(STEADY);
    for _ in 0..times {
        let at = Instant::now();
        site.server.kill();
        site.server.start();
        flows.recovered(&site, now_us(), UNANSWERED.saturating_sub(at.elapsed()));
        pause(rng.duration(ms(400)));
    }
    site.bulk(256 * KIB, MINUTE);
    site.close(flows, REST);
}

#[test]
fn c14_killed_and_started_again() {
    need_root!("c14_killed_and_started_again");
    runs("C14", 0xc14, |run| {
        let (laptops, servers) = if run.full { (200, 10) } else { (10, 1) };
        let stranger = if run.full { 20 } else { 3 };
        let parts =
            vec![(OURS, laptops, true), (OURS, servers, false), (TO_STRANGER, stranger, true)];
        // A killed wireguard-go is not our business.
        at_once(parts, |(ends, times, is_laptop)| match is_laptop {
            true => killed_laptop(run.with(ends), times),
            false => killed_server(run.with(ends), times),
        });
    });
}
