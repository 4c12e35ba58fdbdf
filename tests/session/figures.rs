//! What an idle session costs, and how long the commands take. Prints figures; judges only what
//! must not happen on any machine.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::alone;
use super::world::*;

/// Voluntary context switches of all threads of a process: how often it woke up.
fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|text| field(&text, "voluntary_ctxt_switches:"))
        .sum()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn rss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    field(&text, "VmRSS:").unwrap()
}

#[test]
fn an_idle_session_sleeps() {
    let Some(world) = World::start("an_idle_session_sleeps") else { return };
    let _machine = alone();
    let mut times = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        world.up();
        times.push(began.elapsed());
        assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    }
    world.up();
    let mut status: Vec<Duration> = (0..10)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(world.hop(&["status"]).status.code(), Some(0));
            began.elapsed()
        })
        .collect();
    status.sort_unstable();
    println!("hop up, cold then warm: {times:?}; hop status: median {:?}", status[5]);

    let session = world.session().unwrap();
    let agent = world.vps[0].agent.as_ref().unwrap().id();
    let helper = world.helper.as_ref().unwrap().id();
    let all = [("session", session), ("agent", agent), ("helper", helper)];
    let span = Duration::from_secs(if super::full() { 30 } else { 10 });
    let before = all.map(|(_, pid)| wakeups(pid));
    thread::sleep(span);
    for ((name, pid), before) in all.into_iter().zip(before) {
        let rate = (wakeups(pid) - before) as f64 / span.as_secs_f64();
        println!("{name}: {rate:.1} wake-ups a second, {} KiB resident", rss_kib(pid));
        // One question to the agent in 5 s; who polls would wake up more often than this.
        assert!(rate < 8.0, "{name} does not sleep: {rate} wake-ups a second");
        assert!(rss_kib(pid) < 64 * 1024, "{name}: {} KiB", rss_kib(pid));
    }
}
