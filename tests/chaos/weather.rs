//! C01-C07 and C11: lines that are bad, but not dead. Data is right and keeps flowing.

use std::time::Duration;

use crate::faults::{Faults, Hole};
use crate::need_root;
use crate::relay::Way;
use crate::rng::{Rng, surprise};
use crate::run::{FROM_STRANGER, OURS, Run, TO_STRANGER, at_once, chosen, is_full, runs};
use crate::site::{RETRY, SOON};
use crate::traffic::{Pace, now_us};

const KIB: u64 = 1024;
const MINUTE: Duration = Duration::from_secs(60);
/// For what is under way at the end.
const REST: Duration = Duration::from_millis(300);
const STEADY: Pace = Pace { every: Duration::from_millis(10), burst: 1, size: 1300 };
const DENSE: Pace = Pace { every: Duration::from_millis(10), burst: 24, size: 100 };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn pause(d: Duration) {
    std::thread::sleep(d);
}

/// A line that loses this many of 1,000: every handshake and every byte still gets through.
fn loss(run: Run, permille: u32) {
    let mut site = run.site(&format!("loss {permille}/1000"), 0);
    site.relay.set_both(Faults { loss_permille: permille, ..Faults::default() });
    // 18 retries (R64); half of the attempts fail at 30 %.
    let flows = site.start_flows(STEADY);
    flows.recovered(&site, now_us(), Duration::from_secs(90));
    let before = [flows.up.tally(), flows.down.tally()];
    let early = (permille < 300).then(|| site.start_bulk(Way::Up, 256 * KIB, MINUTE));
    pause(if run.full { ms(20_000) } else { ms(5000) });
    if let Some(bulk) = early {
        bulk.join().unwrap_or_else(|e| site.fail(&format!("bulk under loss: {e}")));
    }
    let after = [flows.up.tally(), flows.down.tally()];
    for (then, now) in before.iter().zip(after) {
        let (sent, got) = (now.sent - then.sent, now.delivered - then.delivered);
        let expected = sent as f64 * (0.9 - f64::from(permille) / 1000.0);
        assert!(got as f64 >= expected, "{}: {got} of {sent}", site.label);
    }
    let healed = site.heal();
    flows.recovered(&site, healed, SOON);
    site.bulk(256 * KIB, MINUTE);
    site.ping();
    site.close(flows, REST);
}

#[test]
fn c01_loss() {
    need_root!("c01_loss");
    runs("C01", 0xc01, |run| at_once(vec![10, 50, 100, 300], |permille| loss(run, permille)));
}

#[test]
fn c02_bursts_of_loss() {
    need_root!("c02_bursts_of_loss");
    runs("C02", 0xc02, |run| {
        let mut site = run.site("bursts", 0);
        let flows = site.flows(STEADY);
        let (every, times) = if run.full { (ms(10_000), 6) } else { (ms(4000), 2) };
        let bulk = site.start_bulk(Way::Up, 512 * KIB, MINUTE);
        site.relay.set_both(Faults { burst: Some((ms(2000), every)), ..Faults::default() });
        pause(every * times);
        let healed = site.heal();
        flows.recovered(&site, healed, SOON);
        flows.check_silence(&site, ms(2000) + SOON);
        bulk.join().unwrap_or_else(|e| site.fail(&format!("bulk over bursts: {e}")));
        site.close(flows, REST);
    });
}

#[test]
fn c03_reordering() {
    need_root!("c03_reordering");
    // R55 R56: far within the replay window, so nothing may be taken for a replay.
    runs("C03", 0xc03, |run| {
        at_once(vec![8, 64, 512], |window| {
            let mut site = run.site(&format!("window {window}"), 0);
            let flows = site.flows(DENSE);
            let hold = ms(250);
            site.relay.set_both(Faults { window, hold, ..Faults::default() });
            pause(if run.full { ms(10_000) } else { ms(3000) });
            site.bulk(128 * KIB, MINUTE);
            let healed = site.heal();
            flows.recovered(&site, healed, SOON);
            flows.check_silence(&site, SOON);
            for tally in site.close(flows, ms(600)) {
                assert!(tally.share() > 0.98, "window {window}: {tally:?}");
            }
        });
    });
}

#[test]
fn c04_duplicates_and_a_whole_replay() {
    need_root!("c04_duplicates_and_a_whole_replay");
    // R25 R55 R56: handshakes and data come again, at once and a second later.
    runs("C04", 0xc04, |run| {
        let mut site = run.site("duplicates", 0);
        site.relay.set_both(Faults {
            duplicate_permille: 100,
            replay_after: Some(ms(1000)),
            ..Faults::default()
        });
        let flows = site.flows(STEADY);
        pause(if run.full { ms(20_000) } else { ms(3000) });
        site.laptop.bounce();
        flows.recovered(&site, now_us(), RETRY);
        pause(ms(1500));
        site.bulk(512 * KIB, MINUTE);
        let healed = site.heal();
        flows.recovered(&site, healed, SOON);
        site.close(flows, ms(1500));
    });
}

#[test]
fn c05_flipped_bits() {
    need_root!("c05_flipped_bits");
    runs("C05", 0xc05, |run| {
        let mut site = run.site("bits", 0);
        let flows = site.flows(STEADY);
        site.relay.set_both(Faults { flip_permille: 10, ..Faults::default() });
        pause(if run.full { ms(20_000) } else { ms(3000) });
        site.bulk(512 * KIB, MINUTE);
        for tally in [flows.up.tally(), flows.down.tally()] {
            assert!(tally.share() > 0.9, "{}: {tally:?}", site.label);
        }
        // Every second handshake message damaged, and then none.
        site.relay.set_both(Faults { flip_permille: 500, ..Faults::default() });
        site.laptop.bounce();
        pause(ms(500));
        let healed = site.heal();
        flows.recovered(&site, healed, RETRY);
        site.bulk(128 * KIB, MINUTE);
        site.close(flows, REST);
    });
}

#[test]
fn c06_delay_with_jitter() {
    need_root!("c06_delay_with_jitter");
    runs("C06", 0xc06, |run| {
        let mut site = run.site("delay", 0);
        let slow = Faults { delay: ms(200), jitter: ms(100), ..Faults::default() };
        site.relay.set_both(slow);
        // Two ways for the handshake and one for data, 300 ms at most each.
        let flows = site.start_flows(STEADY);
        flows.recovered(&site, now_us(), ms(900) + SOON);
        flows.take_silence();
        site.ping();
        pause(if run.full { ms(20_000) } else { ms(2000) });
        site.bulk(128 * KIB, MINUTE);
        flows.check_silence(&site, SOON);
        site.laptop.bounce();
        flows.recovered(&site, now_us(), ms(900) + SOON);
        let healed = site.heal();
        flows.recovered(&site, healed, SOON);
        for tally in site.close(flows, ms(600)) {
            assert!(tally.share() > 0.8, "{tally:?}");
        }
    });
}

/// The port of the NAT changes under traffic of both directions (R88): nobody notices.
fn rebind_under_traffic(run: Run) {
    let mut site = run.site("rebinding", 0);
    let (every, times) = if run.full { (ms(3000), 10) } else { (ms(1500), 3) };
    site.relay.set_both(Faults { delay: ms(20), ..Faults::default() });
    let flows = site.flows(STEADY);
    for n in 0..times {
        let way = if n % 2 == 0 { Way::Up } else { Way::Down };
        let bulk = site.start_bulk(way, 1024 * KIB, MINUTE);
        pause(ms(100));
        site.relay.rebind();
        pause(every);
        bulk.join().unwrap_or_else(|e| site.fail(&format!("bulk over a new port: {e}")));
    }
    flows.check_silence(&site, SOON);
    for tally in site.close(flows, REST) {
        assert!(tally.share() > 0.9, "{tally:?}");
    }
}

/// Only the server sends: the laptop's persistent keepalive must show the new port (R70).
fn rebind_found_by_keepalive(run: Run) {
    let keepalive_s = if run.full { 25 } else { 2 };
    let mut site = run.site("rebinding, silent laptop", keepalive_s);
    let mut flows = site.flows(STEADY);
    flows.up.pause(true);
    pause(ms(1000));
    for _ in 0..2 {
        site.relay.rebind();
        pause(ms(20));
        let limit = Duration::from_secs(keepalive_s.into()) + SOON;
        let heard = flows.down.next_after(now_us(), limit);
        let Some(heard) = heard else { site.fail("no keepalive showed the new port") };
        println!("{}: down after {} ms", site.label, heard.as_millis());
    }
    flows.up = site.stream(Way::Up, STEADY);
    site.close(flows, REST);
}

#[test]
fn c07_nat_rebinding() {
    need_root!("c07_nat_rebinding");
    runs("C07", 0xc07, |run| {
        at_once(vec![rebind_under_traffic, rebind_found_by_keepalive], |part| part(run));
    });
}

#[test]
fn c11_old_responses_and_cookie_replies() {
    need_root!("c11_old_responses_and_cookie_replies");
    // R18 R35 R37: neither ends a session, nor moves an endpoint, nor keeps a handshake away.
    runs("C11", 0xc11, |run| {
        let mut site = run.site("old messages", 0);
        let flows = site.flows(STEADY);
        for _ in 0..3 {
            site.laptop.bounce();
            flows.recovered(&site, now_us(), RETRY);
        }
        // Many initiations make the server ask for cookies.
        site.relay.flood(1000);
        pause(ms(300));
        flows.take_silence();
        let old = Faults { old_permille: 300, ..Faults::default() };
        site.relay.set_both(old);
        pause(if run.full { ms(20_000) } else { ms(2500) });
        flows.check_silence(&site, SOON);
        site.laptop.bounce();
        // The first may be answered by a cookie, the second carries it (R36).
        flows.recovered(&site, now_us(), 2 * RETRY);
        site.bulk(256 * KIB, MINUTE);
        let down = site.relay.counts(Way::Down);
        assert!(down.old > 0 && down.cookies > 0, "{}: {down}", site.label);
        let healed = site.heal();
        flows.recovered(&site, healed, SOON);
        site.close(flows, REST);
    });
}

/// Faults of all kinds, drawn anew every second.
fn any_weather(run: Run) {
    let mut site = run.site("all kinds", 0);
    let mut rng = Rng::new(run.seed);
    let flows = site.flows(STEADY);
    let spells = if run.full { 60 } else { 10 };
    for _ in 0..spells {
        site.relay.set(Way::Up, draw(&mut rng));
        site.relay.set(Way::Down, draw(&mut rng));
        match rng.below(8) {
            0 => site.relay.rebind(),
            1 => site.laptop.bounce(),
            2 => site.server.bounce(),
            3 => site.relay.flood(200),
            _ => {}
        }
        pause(ms(1000));
    }
    let healed = site.heal();
    // A server that forgot everything is noticed by unanswered data alone.
    flows.recovered(&site, healed, crate::site::UNANSWERED + RETRY);
    site.bulk(256 * KIB, MINUTE);
    site.close(flows, ms(1500));
}

fn draw(rng: &mut Rng) -> Faults {
    let mut faults = Faults::default();
    for _ in 0..=rng.below(3) {
        match rng.below(9) {
            0 => faults.loss_permille = rng.below(300) as u32,
            1 => faults.duplicate_permille = rng.below(300) as u32,
            2 => faults.flip_permille = rng.below(100) as u32,
            3 => faults.old_permille = rng.below(300) as u32,
            4 => (faults.window, faults.hold) = (1 + rng.below(512) as usize, ms(rng.below(300))),
            5 => (faults.delay, faults.jitter) = (ms(rng.below(300)), ms(rng.below(100))),
            6 => faults.replay_after = Some(ms(rng.below(1000))),
            7 => faults.burst = Some((ms(rng.below(300)), ms(1000))),
            _ => {
                faults.hole =
                    [Hole::Everything, Hole::Handshakes, Hole::Data][rng.below(3) as usize]
            }
        }
    }
    faults
}

#[test]
fn weather_of_all_kinds() {
    need_root!("weather_of_all_kinds");
    let run = |seed, ends| Run { name: "weather", seed, ends, full: is_full() };
    if let Some(seed) = chosen() {
        return any_weather(run(seed, OURS));
    }
    // One that was chosen, and one that nobody has seen before.
    at_once(vec![0xbad, surprise()], |seed| any_weather(run(seed, OURS)));
    if is_full() {
        let strangers = vec![TO_STRANGER, FROM_STRANGER];
        at_once(strangers, |ends| any_weather(run(surprise(), ends)));
    }
}

#[test]
fn with_wireguard_go() {
    need_root!("with_wireguard_go");
    let run = |ends| Run { name: "C01, C07 with wireguard-go", seed: 0x60, ends, full: false };
    at_once(vec![TO_STRANGER, FROM_STRANGER], |ends| {
        loss(run(ends), 50);
        rebind_under_traffic(run(ends));
    });
}
