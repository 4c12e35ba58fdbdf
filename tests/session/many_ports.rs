//! More ports than a laptop answers for: all that it does are there soon, at a stated cost, and
//! what is beyond is said.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use hopbox::session::ports::view::{PortState, WhyNot};
use serde_json::Value;

use super::ports::{answers, companion, server, views, wait_until};
use super::real_ports::{Runs, here, out};
use super::shared;
use super::world::*;

/// Of one program, which may have 1024 descriptors.
const EACH: usize = 520;
/// What is answered for.
const MOST: usize = 1024;
/// How long it may take until all can be used, on a machine that has other things to do.
const ALL_WITHIN: Duration = Duration::from_secs(15);
/// Of the mirror: two sockets for each, and its own; memory for what is told of each.
const DESCRIPTORS: usize = 2 * MOST + 64;
const MEMORY_KIB: u64 = 24 << 10;

fn listen(world: &World, first: usize) -> Child {
    let places: Vec<String> = (0..EACH).map(|n| format!("127.0.0.1-{}", first + n)).collect();
    server(world, &places.iter().map(String::as_str).collect::<Vec<_>>())
}

/// How many of them have a number here, and how many none.
fn places(world: &World, first: usize) -> (usize, usize) {
    let range = first..first + EACH;
    let all = views(world);
    let those = all.iter().filter(|it| range.contains(&it.port.into()) && it.server.is_some());
    let (here, nowhere): (Vec<_>, Vec<_>) = those.partition(|it| it.local == Some(it.port));
    assert!(nowhere.iter().all(|it| it.local.is_none()), "moved: {nowhere:?}");
    assert!(nowhere.iter().all(|it| it.why_not == Some(WhyNot::Full)), "{nowhere:?}");
    (here.len(), nowhere.len())
}

fn cost(pid: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = line.split_whitespace().next().unwrap().parse().unwrap();
    (kib, fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

#[test]
fn a_thousand_ports_are_answered_for_and_what_is_beyond_is_said() {
    let test = "a_thousand_ports_are_answered_for_and_what_is_beyond_is_said";
    let _machine = shared();
    let Some(world) = World::start(test) else { return };
    let _work = Runs::of(world.start_work(0));
    world.up();
    let (first, second) = (20_000, 21_000);
    let began = Instant::now();
    let mut servers = vec![listen(&world, first), listen(&world, second)];
    let started = began.elapsed();
    let beyond = 2 * EACH - MOST;
    wait_until(&world, "all that can be", || {
        let (one, other) = (places(&world, first), places(&world, second));
        (one.0 + other.0, one.1 + other.1) == (MOST, beyond)
    });
    let last = views(&world).iter().filter_map(|it| it.local).max().unwrap();
    assert!(answers(&world, last), "{last}");
    let took = began.elapsed();
    let (kib, descriptors) = cost(companion(&world, "--ports").unwrap());
    println!("{MOST} ports of programs that took {started:.1?} to listen: {took:.1?}");
    println!("the mirror: {kib} KiB, {descriptors} descriptors");
    assert!(took < started + ALL_WITHIN, "{took:?} after {started:?}");
    assert!(kib < MEMORY_KIB && descriptors < DESCRIPTORS, "{kib} KiB, {descriptors} descriptors");
    told(&world, beyond);

    // Those that nobody listens behind any more give way, at once and also later.
    end(Some(servers.remove(0)));
    wait_until(&world, "the others", || places(&world, second) == (EACH, 0));
    let third = 22_000;
    servers.push(listen(&world, third));
    let room = MOST - EACH;
    wait_until(&world, "the new ones", || places(&world, third) == (room, EACH - room));
    assert_eq!(places(&world, second), (EACH, 0));
    servers.into_iter().for_each(|server| end(Some(server)));
    wait_until(&world, "gone", || views(&world).iter().all(|it| it.state == PortState::Gone));
}

/// By each command, in little time.
fn told(world: &World, beyond: usize) {
    let began = Instant::now();
    let told = world.home.join("laptop/told");
    // More than a pipe holds that is read afterwards.
    out(world, "$hop ports --json >$HOME/told");
    let list: Value = serde_json::from_str(&fs::read_to_string(&told).unwrap()).unwrap();
    let ports = list["data"]["ports"].as_array().unwrap();
    let full = ports.iter().filter(|view| view["why_not"] == "full").count();
    assert_eq!((ports.len(), full), (2 * EACH, beyond));
    let json = began.elapsed();
    out(world, "$hop ports >$HOME/told");
    let page = fs::read_to_string(told).unwrap();
    assert!(page.contains("as many ports are answered for here as there can be, 1024"), "{page}");
    let both = began.elapsed();
    println!("hop ports: {:.1?}, --json {json:.1?}, {} bytes", both - json, page.len());
    let watched = Instant::now();
    let line = out(world, "$hop ports --watch | head -n 1");
    assert!(line.ends_with('\n') && watched.elapsed() < LIMIT / 4, "{:?}", watched.elapsed());
    let nowhere = views(world).into_iter().find(|it| it.local.is_none()).unwrap().port;
    let why = here(world, &format!("$hop ports why {nowhere}"));
    assert_eq!(why.status.code(), Some(3), "{}", said(&why));
    assert!(said(&why).contains("as there can be, 1024"), "{}", said(&why));
    let log = world.log();
    let line = "1024 ports of mybox are here: no more are answered for";
    assert_eq!(log.matches(line).count(), 1, "{log}");
}
