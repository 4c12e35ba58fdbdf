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
    let mut work = world.start_work(0);
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
    let all = [("session", session), ("agent", agent), ("helper", helper), ("work", work.id())];
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
    work.kill().unwrap();
    work.wait().unwrap();
}

/// How long until the first byte of a command, how much goes through it, and what it takes.
#[test]
fn a_run_is_quick_and_small() {
    let Some(world) = World::start("a_run_is_quick_and_small") else { return };
    let _machine = alone();
    world.up();
    let mut work = world.start_work(0);
    thread::sleep(Duration::from_secs(1));
    let mut times: Vec<Duration> = (0..10)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(world.hop(&["run", "--", "true"]).status.code(), Some(0));
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("hop run -- true: median {:?}, slowest {:?}", times[5], times[9]);
    let megabytes: u32 = if super::full() { 512 } else { 8 };
    let there = format!("head -c {megabytes}M /dev/zero");
    let hop = world.programs.hop.display();
    for (way, script) in [
        ("from there", format!("{hop} run -- {there} | wc -c")),
        ("to there", format!("{there} | {hop} run -- wc -c")),
        ("both ways", format!("{there} | {hop} run -- cat | wc -c")),
    ] {
        let began = Instant::now();
        let mut command = world.command(std::path::Path::new("sh"), &["-c", &script]);
        let start = move || command.spawn().map_err(|error| error.to_string());
        let output = finish(world.laptop.run(LIMIT, start).unwrap(), LIMIT * 5);
        let took = began.elapsed().as_secs_f64();
        assert_eq!(said_number(&output.stdout), u64::from(megabytes) << 20, "{}", said(&output));
        println!("{way}: {:.0} MB/s", f64::from(megabytes) * 1.048 / took);
    }
    // One that writes as fast as it can to somebody who does not read.
    let mut command = world.command(&world.programs.hop, &["run", "--", "yes"]);
    command.stdin(std::process::Stdio::null());
    let start = move || command.spawn().map_err(|error| error.to_string());
    let stuck = world.laptop.run(LIMIT, start).unwrap();
    thread::sleep(Duration::from_secs(3));
    let attends = attendants(work.id());
    let agent = world.vps[0].agent.as_ref().unwrap().id();
    assert_eq!(attends.len(), 1);
    for (name, pid, most) in [
        ("hop run", stuck.id(), 32),
        ("hop-agent attend", attends[0], 32),
        ("hop-agent work", work.id(), 32),
        ("hop-agent serve", agent, 64),
    ] {
        println!("{name}: {} KiB", rss_kib(pid));
        assert!(rss_kib(pid) < most * 1024, "{name} keeps what nobody reads");
    }
    end(Some(stuck));
    let _ = work.kill();
    let _ = work.wait();
}

fn said_number(bytes: &[u8]) -> u64 {
    String::from_utf8_lossy(bytes).trim().parse().unwrap_or_default()
}

/// Children of a process.
fn attendants(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        field(&text, "PPid:") == Some(u64::from(parent))
    };
    numbers.filter(is_child).collect()
}
