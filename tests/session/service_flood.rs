//! A service that prints as fast as it can, for long (`HOP_SESSION=full`: 6 GB, a minute and more):
//! what its bound promises to keep is kept, its keeper stays small, and everybody else is answered.
//! Then one that a view keeps up with misses nothing of while its files are changed.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::host::store;
use hopbox::session::through;
use hopbox::sys::bounded;
use hopbox_selftest::files;

use super::real_ports::until;
use super::services::{start_work, write_desired};
use super::shared;
use super::world::*;

/// Of a line without its time.
const LINE: u64 = 1000;
/// As `LogBounds::USUAL` has it: so much of the newest is always there.
const KEPT: u64 = 4 * 8 * 1024 * 1024;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Of the keeper, without its program.
const SMALL_KIB: u64 = 2 * 1024;
/// What a process of steady use may come and go by.
const FLAT_KIB: u64 = 512;

/// Of the one that is followed: four files of 8 MiB, and a hundred lines at a time.
const FOLLOWED: u64 = 32_000;

fn manifest(lines: u64) -> String {
    let flood = format!("seq -f %0{}.0f {lines}; exec sleep 1000", LINE - 1);
    let tick = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";
    let service =
        |name: &str, command: &str| format!("  {name}: {{type: native, command: \"{command}\"}}\n");
    let width = LINE - 1;
    let paced = format!(
        "i=0; while [ $i -lt {FOLLOWED} ]; do seq -f %0{width}.0f $((i+1)) $((i+100)); \
         i=$((i+100)); sleep 0.03; done; exec sleep 1000"
    );
    let all = [service("flood", &flood), service("tick", tick), service("paced", &paced)];
    format!("name: app\nservices:\n{}", all.concat())
}

#[test]
fn one_that_prints_as_fast_as_it_can_takes_nothing_from_others() {
    if Path::new("/run/systemd/system").exists() {
        return println!("SKIP one_that_prints_as_fast: this machine has systemd");
    }
    let _machine = shared();
    let Some(world) = World::start("one_that_prints_as_fast_as_it_can") else { return };
    let lines = if super::full() { 6_000_000 } else { 100_000 };
    write_desired(&world, &manifest(lines));
    world.up();
    let mut work = start_work(&world);
    let end = Instant::now() + LIMIT;
    while world.hop(&["services", "ls"]).status.code() != Some(0) {
        assert!(Instant::now() < end);
    }
    let app = world.home.join("laptop/there/hopbox-agent/app/services");
    let began = Instant::now();
    for name in ["tick", "flood"] {
        assert_eq!(world.hop(&["services", "start", name]).status.code(), Some(0));
    }
    until("its first line", || last(&app.join("tick/log")).is_some());
    let (mut sizes, mut answers) = (Vec::new(), Vec::new());
    while last(&app.join("flood/log")) != Some(lines) {
        assert!(began.elapsed() < LIMIT * 15, "it is not all kept");
        sizes.push(memory_of(&app.join("flood/state.json")));
        answers.push(health(&world));
        let shown = world.hop(&["logs", "tick", "-n", "1", "--no-follow"]);
        assert!(shown.status.success() && !shown.stdout.is_empty(), "{}", said(&shown));
        thread::sleep(LOOK_EVERY);
    }
    let took = began.elapsed().as_secs_f64();
    answers.sort_unstable();
    println!("{:.0} MB/s for {took:.1} s", (lines * LINE) as f64 / took / 1e6);
    println!("/health beside it: median {:?}, {:?} at most", median(&answers), answers.last());
    let (early, late) = sizes.split_at(sizes.len() / 2);
    let most = |sizes: &[u64]| sizes.iter().max().copied().unwrap_or(0);
    println!("its keeper: {} KiB of its own at most, then {}", most(early), most(late));
    assert!(most(&sizes) < SMALL_KIB, "{sizes:?}");
    assert!(early.len() < 4 || most(late) <= most(early) + FLAT_KIB, "{sizes:?}");

    let kept = numbers(&app.join("flood"));
    let gap = kept.windows(2).find(|two| two[1] != two[0] + 1);
    assert_eq!(gap, None, "a line is lost or out of order");
    assert_eq!(kept.last(), Some(&lines));
    assert!(kept.len() as u64 * LINE >= KEPT.min(lines * LINE) * 9 / 10, "{} lines", kept.len());
    let ticks = numbers(&app.join("tick"));
    assert!(ticks.iter().copied().eq(1..=ticks.len() as u64), "{ticks:?}");
    assert_eq!(world.hop(&["services", "stop", "flood", "tick"]).status.code(), Some(0));
    if super::full() {
        followed(&world, &app.join("paced/log"));
    }
    let _ = work.kill();
    let _ = work.wait();
}

/// What a view shows from before its start, over all changes of its file.
fn followed(world: &World, log: &Path) {
    assert_eq!(world.hop(&["services", "start", "paced"]).status.code(), Some(0));
    let shown = world.home.join("shown");
    let mut command = world.command(&world.programs.hop, &["logs", "paced", "-n", "40000"]);
    command.stdout(fs::File::create(&shown).unwrap());
    let start = move || command.spawn().map_err(|error| error.to_string());
    let view = world.laptop.run(LIMIT, start).unwrap();
    let end = Instant::now() + LIMIT * 6;
    while last(&shown) != Some(FOLLOWED) {
        assert!(Instant::now() < end, "{:?} of {:?}", last(&shown), last(log));
        thread::sleep(LOOK_EVERY);
    }
    super::world::end(Some(view));
    let shown = fs::read_to_string(&shown).unwrap();
    let numbers: Vec<u64> = shown.lines().filter_map(number).collect();
    assert!(numbers.iter().copied().eq(1..=FOLLOWED), "{} lines were shown", numbers.len());
    assert!(log.with_extension("1").exists(), "its file was never changed");
}

fn number(line: &str) -> Option<u64> {
    line.rsplit(' ').next()?.parse().ok()
}

fn last(log: &Path) -> Option<u64> {
    number(bounded::tail(log, 8 * LINE).ok()?.lines().last()?)
}

/// Of all its files, the oldest first.
fn numbers(dir: &Path) -> Vec<u64> {
    let files = (1..=9).rev().map(|n| format!("log.{n}")).chain(["log".to_owned()]);
    let texts = files.filter_map(|name| fs::read_to_string(dir.join(name)).ok());
    let (mut found, mut half) = (Vec::new(), String::new());
    for text in texts {
        for line in text.lines() {
            // Who stands still within a line has said its half, which the next goes on with.
            let mut parts = line.splitn(3, ' ').skip(1);
            match (parts.next(), parts.next()) {
                (Some("o+"), Some(text)) => half += text,
                (Some("o"), Some(text)) => {
                    found.extend((std::mem::take(&mut half) + text).parse::<u64>());
                }
                _ => {}
            }
        }
    }
    found
}

fn memory_of(state: &Path) -> u64 {
    let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    let text = fs::read_to_string(format!("/proc/{}/status", state["keeper"])).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn health(world: &World) -> Duration {
    let (paths, host) = (world.paths.clone(), store::load(&world.paths, files::HOST).unwrap());
    let asked = move || {
        let client = through::with_token(&paths, &host).ok_or("not up")?;
        let began = Instant::now();
        client.health(LIMIT).map_err(|error| error.to_string())?;
        Ok(began.elapsed())
    };
    world.laptop.run(LIMIT, asked).unwrap()
}

fn median(sorted: &[Duration]) -> Option<&Duration> {
    sorted.get(sorted.len() / 2)
}
