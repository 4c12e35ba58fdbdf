//! `kill -9` of the keeper at any moment: the next one goes on, one process at a time, nothing is
//! left behind, and every run has an end that is told.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::agent::keeper::log::Voice;
use hopbox::agent::keeper::state::Phase;
use hopbox::agent::keeper::{LOG, Order};

use super::kept::{Kept, SOON};
use super::run::full;

/// The same every time, from a seed that is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % most
    }
}

fn seed() -> u64 {
    std::env::var("HOP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(16)
}

/// Ends by itself with a code of its own after a moment, with a child that holds on.
const SERVICE: &str = "sleep 1000 & sleep 0.0$(($$ % 5)); exit $(($$ % 100 + 1))";

#[test]
fn kills_lose_no_end_and_leave_no_process() {
    let kills = if full() { 200 } else { 25 };
    let mut dice = Dice(seed());
    println!("HOP_SEED={}", seed());
    let mut kept = Kept::new("kills", SERVICE);
    kept.spec.backoff.first_ms = 1;
    kept.spec.backoff.most_ms = 10;
    kept.spec.backoff.tries = u32::MAX;
    kept.spec.stop_ms = 1000;
    kept.start();
    for _ in 0..kills {
        thread::sleep(Duration::from_micros(dice.below(120_000)));
        kept.kill_keeper();
        kept.again();
    }
    kept.until("running", |state| state.phase == Phase::Running);
    drop(kept.ask(Order::Stop));
    let state = kept.over();
    assert_eq!(state.phase, Phase::Stopped);
    assert!(kept.left().is_empty(), "orphans: {}", kept.shown());
    ends(&kept, state.generation);
}

/// Every run from the first to the last has one end, and the code is the process's own.
fn ends(kept: &Kept, runs: u64) {
    let mut ends: BTreeMap<u64, String> = BTreeMap::new();
    let mut starts: BTreeMap<u64, u32> = BTreeMap::new();
    for line in kept.text(Voice::Keeper).lines() {
        let mut words = line.strip_prefix("run ").unwrap_or_default().splitn(3, ' ');
        let Some(Ok(run)) = words.next().map(str::parse::<u64>) else { continue };
        match (words.next(), words.next()) {
            (Some("starts"), _) => *starts.entry(run).or_default() += 1,
            (Some("ended:"), Some(how)) => {
                // One that was killed before it knew that it had told tells again.
                let before = ends.insert(run, how.to_owned());
                assert!(before.is_none_or(|before| before == how), "run {run} ended twice");
            }
            _ => {}
        }
    }
    let lost: Vec<u64> = (1..=runs).filter(|run| !ends.contains_key(run)).collect();
    assert_eq!(lost, [0; 0], "runs without an end: {}", kept.shown());
    assert!(starts.values().all(|times| *times == 1), "a run was started twice: {starts:?}");
    let by_keeper = ends.values().filter(|how| how.starts_with("unseen")).count();
    eprintln!("NOTE {runs} runs, {by_keeper} of them ended with their keeper, 0 without an end");
    assert!(kept.dir.join(LOG).exists());
}

/// A service that nobody disturbs but by killing what keeps it, and that has to be alone.
#[test]
fn no_service_runs_twice() {
    let kills = if full() { 100 } else { 10 };
    let mut dice = Dice(seed());
    let alone = "exec 9>$D/lock; flock -n 9 || { echo twice >>$D/twice; exit 1; }; \
                 echo $$ >>$D/runs; exec sleep 1000";
    let mut kept = Kept::new("twice", alone);
    kept.spec.stop_ms = 1000;
    kept.start();
    for _ in 0..kills {
        thread::sleep(Duration::from_micros(dice.below(60_000)));
        kept.kill_keeper();
        kept.again();
    }
    let state = kept.until_running();
    let pid = state.process.unwrap().pid;
    assert!(!kept.dir.join("twice").exists(), "two of them ran at a time: {}", kept.shown());
    // Its shell may be at flock(1) still; a second service would stay.
    let end = Instant::now() + SOON;
    while kept.left() != [pid] {
        assert!(Instant::now() < end, "{:?} {}", kept.left(), kept.shown());
        thread::sleep(Duration::from_millis(5));
    }
    drop(kept.ask(Order::Stop));
    kept.over();
    assert!(kept.left().is_empty());
}
