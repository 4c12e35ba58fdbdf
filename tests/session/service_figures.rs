//! What services and their API cost: answers through the tunnel, memory, and how much is kept of
//! one that says as much as it can. Prints figures; judges only what must not happen anywhere.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::host::store;
use hopbox::rpc::client::{CallError, Client};
use hopbox::rpc::method::ServicesList;
use hopbox::rpc::types::services::OfWorkspace;
use hopbox::session::through;
use hopbox_selftest::files;

use super::alone;
use super::services::{start_work, write_desired};
use super::world::*;

const CONNECTIONS: u32 = 16;

/// Ten that sleep, and one that says numbers.
fn manifest(lines: u32) -> String {
    let sleepers: String = (0..10)
        .map(|n| format!("  s{n}: {{type: native, command: \"exec sleep 1000\"}}\n"))
        .collect();
    let flood = format!("{{type: native, command: \"seq {lines}; exec sleep 1000\"}}");
    format!("name: app\nservices:\n{sleepers}  flood: {flood}\n")
}

/// One that is told that too many ask comes back.
fn list(client: &Client) {
    loop {
        match client.call(ServicesList, &OfWorkspace { workspace: None }, LIMIT) {
            Ok(_) => return,
            Err(CallError::Remote { word, .. }) if word == "busy" => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn health(client: &Client) {
    client.health(LIMIT).unwrap();
}

/// Median and 99th of a hundred, one after the other, and how many a second with all connections.
fn measure(what: &str, client: &Client, calls: u32, ask: fn(&Client)) {
    let mut times: Vec<Duration> = (0..calls)
        .map(|_| {
            let began = Instant::now();
            ask(client);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| (0..calls / 4).for_each(|_| ask(client)));
        }
    });
    let rate = f64::from(calls / 4 * CONNECTIONS) / began.elapsed().as_secs_f64();
    println!("{what}: p50 {:?}, p99 {:?}, {rate:.0}/s with {CONNECTIONS}", at(50), at(99));
}

fn memory(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    let private = kib("Private_Dirty:") + kib("Private_Clean:");
    format!("{} KiB resident, {} of it its share, {private} private", kib("Rss:"), kib("Pss:"))
}

#[test]
fn services_answer_quickly_and_are_small() {
    if std::path::Path::new("/run/systemd/system").exists() {
        return println!("SKIP services_answer_quickly: this machine has systemd");
    }
    let Some(world) = World::start("services_answer_quickly") else { return };
    let _machine = alone();
    let lines = if super::full() { 20_000_000 } else { 20_000 };
    write_desired(&world, &manifest(lines));
    world.up();
    let mut work = start_work(&world);
    let end = Instant::now() + LIMIT;
    while world.hop(&["services", "ls"]).status.code() != Some(0) {
        assert!(Instant::now() < end);
    }
    let mut words = vec!["services", "start"];
    let names: Vec<String> = (0..10).map(|n| format!("s{n}")).collect();
    words.extend(names.iter().map(String::as_str));
    let began = Instant::now();
    assert_eq!(world.hop(&words).status.code(), Some(0));
    println!("ten services started one after the other: {:?}", began.elapsed());

    let calls = if super::full() { 1000 } else { 40 };
    let (paths, host) = (world.paths.clone(), store::load(&world.paths, files::HOST).unwrap());
    let measured = move || {
        let client = through::with_token(&paths, &host).ok_or("not up")?;
        measure("/health", &client, calls, health);
        measure("services.list of eleven", &client, calls, list);
        Ok(())
    };
    world.laptop.run(LIMIT * 4, measured).unwrap();

    let agent = world.vps[0].agent.as_ref().unwrap().id();
    println!("hop-agent serve: {}", memory(agent));
    println!("hop-agent work: {}", memory(work.id()));
    let app = world.home.join("laptop/there/hopbox-agent/app/services");
    let keeper = keeper_of(&app.join("s0/state.json"));
    println!("hop-agent keep: {}", memory(keeper));

    say_all(&world, &app.join("flood"), lines);
    println!("its keeper: {}", memory(keeper_of(&app.join("flood/state.json"))));
    println!("hop-agent serve: {}", memory(agent));
    println!("hop-agent work: {}", memory(work.id()));
    let mut words = vec!["services", "stop", "flood"];
    words.extend(names.iter().map(String::as_str));
    assert_eq!(world.hop(&words).status.code(), Some(0));
    let _ = work.kill();
    let _ = work.wait();
    drop(world);
    if let Some(pitchfork) = std::env::var_os("HOP_PITCHFORK") {
        super::beside::ten_services_beside_pitchfork(std::path::Path::new(&pitchfork));
    }
}

pub fn keeper_of(state: &std::path::Path) -> u32 {
    let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    state["keeper"].as_u64().unwrap().try_into().unwrap()
}

/// One that says numbers as fast as it can, somebody who looks on, and what of it is there then.
fn say_all(world: &World, dir: &std::path::Path, lines: u32) {
    let mut command = world.command(&world.programs.hop, &["logs", "flood", "-n", "0"]);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let shown_in = world.home.join("shown");
    command.stdout(fs::File::create(&shown_in).unwrap());
    let start = move || command.spawn().map_err(|error| error.to_string());
    let view = world.laptop.run(LIMIT, start).unwrap();
    thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    assert_eq!(world.hop(&["services", "start", "flood"]).status.code(), Some(0));
    let last = format!(" o {lines}\n");
    let ends = |path: &std::path::Path, end: &str| {
        let text = fs::read(path).unwrap_or_default();
        text.ends_with(end.as_bytes())
    };
    while !ends(&dir.join("log"), &last) {
        assert!(began.elapsed() < LIMIT * 10, "it is not all kept");
        thread::sleep(Duration::from_millis(20));
    }
    let took = began.elapsed().as_secs_f64();
    let bytes: u32 = (1..=lines).step_by(1000).map(|n| 1000 * (n.ilog10() + 2)).sum();
    println!(
        "{lines} lines said and kept in {took:.2} s: {:.0} lines/s, {:.1} MB/s",
        f64::from(lines) / took,
        f64::from(bytes) / took / 1e6
    );
    while !ends(&shown_in, &format!(" {lines}\n")) {
        assert!(began.elapsed() < LIMIT * 10, "it is not all shown");
        thread::sleep(Duration::from_millis(20));
    }
    println!("shown through the tunnel after {:.2} s", began.elapsed().as_secs_f64());
    end(Some(view));
    // Each in its turn, and a gap where one is told.
    let (mut expected, mut is_gap, mut gaps, mut seen) = (1, false, 0, 0);
    for line in fs::read_to_string(&shown_in).unwrap().lines() {
        if line.starts_with("-- ") {
            (is_gap, gaps) = (true, gaps + 1);
        } else if let Ok(number) = line.rsplit(' ').next().unwrap().parse::<u32>() {
            assert!(number == expected || (is_gap && number > expected), "{line}: not {expected}");
            (expected, is_gap, seen) = (number + 1, false, seen + 1);
        }
    }
    println!("{seen} of {lines} lines were shown; {gaps} gaps are told");
}
