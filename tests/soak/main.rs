//! Soak: a tunnel under mixed traffic for hours, with roaming and sleep, and a record of every
//! minute in target/tmp/soak.csv.
//!
//! `make soak` runs SOAK_S seconds (an hour); plain `cargo test` a smoke run of 20 seconds in which
//! the same events come closer together. Memory, descriptors, gaps and rekeys must stay within the
//! limits below. Needs root.

#[allow(dead_code)]
#[path = "../chaos/faults.rs"]
mod faults;
#[allow(dead_code)]
#[path = "../e2e/netns.rs"]
mod netns;
mod record;
#[allow(dead_code)]
#[path = "../chaos/relay.rs"]
mod relay;
#[allow(dead_code)]
#[path = "../chaos/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "../chaos/site.rs"]
mod site;
#[allow(dead_code)]
#[path = "../chaos/traffic.rs"]
mod traffic;

use record::{Gauge, Record, Row};
use site::{Engine, Flows, RETRY, SOON, Site};
use std::time::{Duration, Instant};
use traffic::{Pace, now_us};

const SMOKE_S: u64 = 20;
/// Resident memory may grow by this after the warm-up, in KiB.
const GROWTH_KIB: u64 = 1024;
const REKEY_AFTER_S: u64 = 120;
const PACE: Pace = Pace { every: Duration::from_millis(50), burst: 1, size: 1300 };

/// When what happens; all in seconds.
struct Plan {
    total: u64,
    row: u64,
    bulk: u64,
    roam: u64,
    sleep: u64,
    sleep_for: u64,
    idle: u64,
    idle_for: u64,
    /// Longest silence outside of injected faults.
    gap: Duration,
    bulk_bytes: u64,
}

impl Plan {
    fn new(total: u64, smoke: bool) -> Plan {
        Plan {
            total,
            row: (total / 5).clamp(2, 60),
            bulk: (total / 5).clamp(4, 300),
            roam: (total / 6).clamp(5, 600),
            sleep: (total / 3).clamp(7, 3600),
            sleep_for: (total / 60).clamp(1, 60),
            idle: (total / 2).clamp(8, 1800),
            idle_for: (total / 12).clamp(1, 300),
            // Other tests run at the same time as the smoke run.
            gap: if smoke { SOON } else { Duration::from_secs(1) },
            bulk_bytes: if smoke { 1 << 20 } else { 64 << 20 },
        }
    }
}

/// A tunnel that is watched.
struct Soak {
    plan: Plan,
    site: Site,
    flows: Flows,
    record: Record,
    /// What has happened since the last row.
    row: Row,
    roams: u64,
    sleeps: u64,
    rekeys: u64,
    last_handshake_s: u64,
}

#[test]
fn soak() {
    need_root!("soak");
    let set = std::env::var("SOAK_S").ok().map(|s| s.parse().expect("SOAK_S: seconds"));
    let plan = Plan::new(set.unwrap_or(SMOKE_S).max(SMOKE_S), set.is_none());
    let mut soak = Soak::new(plan);
    soak.run();
    soak.judge();
}

impl Soak {
    fn new(plan: Plan) -> Soak {
        let ends = [Engine::Hop, Engine::Hop];
        let mut site = Site::new(format!("soak {} s", plan.total), ends, rng::surprise(), 25);
        let flows = site.flows(PACE);
        let last_handshake_s = site.laptop.last_handshake_s();
        let record = Record::new(&site, plan.row);
        Soak {
            plan,
            site,
            flows,
            record,
            row: Row::default(),
            roams: 0,
            sleeps: 0,
            rekeys: 0,
            last_handshake_s,
        }
    }

    fn run(&mut self) {
        let start = Instant::now();
        let mut second = 0;
        while second < self.plan.total {
            second += 1;
            let at = start + Duration::from_secs(second);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            self.look();
            let due = |every: u64, offset: u64| second > offset && (second - offset) % every == 0;
            if due(self.plan.bulk, 1) {
                self.site.bulk(self.plan.bulk_bytes, Duration::from_secs(60));
            }
            if due(self.plan.roam, 2) {
                self.roam();
            }
            if due(self.plan.sleep, 0) {
                self.sleep();
            }
            if due(self.plan.idle, 1) {
                self.idle();
            }
            // Events take their time.
            second = second.max(start.elapsed().as_secs());
            if second >= (self.record.rows() + 1) * self.plan.row {
                self.calm();
                self.record.add(second, std::mem::take(&mut self.row), &self.site, &self.flows);
            }
        }
    }

    /// Once a second: handshakes, and whether both ends live.
    fn look(&mut self) {
        self.site.laptop.check_alive();
        self.site.server.check_alive();
        let last = self.site.laptop.last_handshake_s();
        if last != self.last_handshake_s {
            self.last_handshake_s = last;
            self.rekeys += 1;
            self.row.rekeys += 1;
        }
    }

    /// Ends a time in which nothing may have gone wrong.
    fn calm(&mut self) {
        let [up, down] = self.flows.take_silence();
        self.row.latencies_us.extend(self.latencies_us());
        self.row.gap = self.row.gap.max(up).max(down);
        if up > self.plan.gap || down > self.plan.gap {
            self.site.fail(&format!("silent for {up:?} up, {down:?} down without a fault"));
        }
    }

    /// Ends a time in which something was bound to go wrong.
    fn fault(&mut self) {
        let [up, down] = self.flows.take_silence();
        self.latencies_us();
        self.row.fault_gap = self.row.fault_gap.max(up).max(down);
    }

    fn latencies_us(&self) -> Vec<u32> {
        let mut both = self.flows.up.take_latencies_us();
        both.extend(self.flows.down.take_latencies_us());
        both
    }

    /// The laptop's address changes, or the port of its NAT: the next datagram shows the new one.
    fn roam(&mut self) {
        self.calm();
        self.roams += 1;
        self.row.roams += 1;
        match self.roams % 2 {
            0 => self.site.relay.rebind(),
            _ => {
                let last = 3 + self.roams % 200;
                self.site
                    .laptop
                    .host
                    .sh(&format!("ip addr flush dev wan && ip addr add 192.0.2.{last}/24 dev wan"));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        self.flows.recovered(&self.site, now_us(), SOON);
        self.fault();
    }

    /// One side after the other is frozen for a while.
    fn sleep(&mut self) {
        self.calm();
        self.sleeps += 1;
        self.row.sleeps += 1;
        let end = if self.sleeps % 2 == 1 { &self.site.laptop } else { &self.site.server };
        end.freeze();
        std::thread::sleep(Duration::from_secs(self.plan.sleep_for));
        end.thaw();
        self.flows.recovered(&self.site, now_us(), RETRY);
        // What had waited arrives late, and is no measure of the line.
        std::thread::sleep(Duration::from_millis(200));
        self.fault();
    }

    /// Nobody says anything for a while; then the first datagram passes at once.
    fn idle(&mut self) {
        self.calm();
        self.flows.pause(true);
        std::thread::sleep(Duration::from_secs(self.plan.idle_for));
        self.flows.pause(false);
        self.flows.recovered(&self.site, now_us(), SOON);
        self.flows.take_silence();
    }

    fn judge(mut self) {
        self.calm();
        self.record.check_growth(GROWTH_KIB);
        let (total, faults) = (self.plan.total, self.sleeps);
        // One per 120 s of traffic (R59); a sleeping side adds some and puts others off.
        let least = (total / (REKEY_AFTER_S + 5)).saturating_sub(1 + faults);
        let most = total / REKEY_AFTER_S + 1 + 3 * faults;
        println!(
            "soak: {total} s, {} rekeys (expected {least} to {most}), {} roams, {} sleeps; {}",
            self.rekeys,
            self.roams,
            self.sleeps,
            self.record.path().display()
        );
        assert!((least..=most).contains(&self.rekeys), "{} rekeys", self.rekeys);
        let last = Gauge::of(&self.site.laptop);
        println!("soak: laptop {last}, server {}", Gauge::of(&self.site.server));
        self.site.close(self.flows, Duration::from_millis(300));
    }
}
