//! kill -9 of session, helper and agent in random order: whatever is left of the three goes on,
//! the next `hop up` works, and in the end the machine is as it was before.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use hopbox_selftest::files::HOST;
use hopbox_selftest::machine::{self, SOON};

use super::world::*;
use super::{full, shared};

/// What a session, a helper or an agent could leave behind on the laptop.
#[derive(Debug, PartialEq, Eq)]
struct Laptop {
    interfaces: BTreeSet<String>,
    routes: String,
    routes6: String,
    hosts: String,
    runtime: BTreeSet<String>,
    processes: BTreeSet<String>,
}

impl Laptop {
    fn look(world: &World) -> Laptop {
        let runtime = world.home.join("laptop/run/hopbox");
        let programs = world.home.join("bin");
        let look = move || {
            let text = |path: &str| fs::read_to_string(path).map_err(|error| error.to_string());
            let names = fs::read_dir(runtime).into_iter().flatten().flatten();
            Ok(Laptop {
                interfaces: machine::interfaces()?.into_iter().collect(),
                routes: text("/proc/thread-self/net/route")?,
                // The uplink gets its own IPv6 address in its own time.
                routes6: text("/proc/thread-self/net/ipv6_route")?
                    .lines()
                    .filter(|line| !line.ends_with("uplink"))
                    .collect(),
                hosts: text("/etc/hosts")?,
                // A lock's file stays on purpose, and is free.
                runtime: names
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .filter(|name| !name.ends_with(".lock"))
                    .collect(),
                processes: sessions(&programs),
            })
        };
        world.laptop.run(SOON, look).unwrap()
    }
}

/// Sessions of this test's programs, by process number.
fn sessions(programs: &std::path::Path) -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        program.ends_with(programs.join("hop").strip_prefix("/").unwrap())
            && line.starts_with(b"hop\0--session")
    });
    ours.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn any_of_the_three_may_be_killed_in_any_order() {
    let Some(mut world) = World::start("any_of_the_three_may_be_killed") else { return };
    let _machine = shared();
    let rounds = if full() { 200 } else { 40 };
    assert_eq!(world.hop(&["status"]).status.code(), Some(3));
    world.up();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    let before = Laptop::look(&world);
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut killed = [0; 4];
    let began = Instant::now();
    for round in 0..rounds {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let what = (seed >> 20) as usize % 4;
        killed[what] += 1;
        let context =
            format!("round {round}, {what} of session, helper, agent, session and helper");
        match what {
            0 => kill_session(&world),
            1 => world.kill_helper(),
            2 => world.stop_agent(0),
            _ => {
                kill_session(&world);
                world.kill_helper();
            }
        }
        thread::sleep(Duration::from_millis(seed % 60));
        match what {
            0 => {}
            1 | 3 => world.start_helper(),
            _ => world.start_agent(0),
        }
        let output = up(&world);
        assert_eq!(output.status.code(), Some(0), "{context}: {}\n{}", said(&output), world.log());
        assert_eq!(world.traces(), 3, "{context}");
    }
    println!("killed session, helper, agent, both: {killed:?} in {:?}", began.elapsed());
    world.until("whole at last", LIMIT, |status| status["broken"].is_null());
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    let end = Instant::now() + Duration::from_secs(5);
    while Laptop::look(&world) != before {
        assert!(Instant::now() < end, "before {before:#?}\nafter {:#?}", Laptop::look(&world));
        thread::sleep(Duration::from_millis(20));
    }
    for dir in world.paths.session_places() {
        let file = hopbox::host::paths::lock_in(dir, HOST);
        let lock = hopbox::sys::lock::Lock::take(&file).unwrap();
        assert!(lock.is_some(), "{} is free", file.display());
    }
}

/// `hop up`, again where the helper has heard too much of this user for the moment.
pub fn up(world: &World) -> std::process::Output {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let output = world.hop(&["up"]);
        let text = said(&output);
        if output.status.success() || !text.contains("limit_exceeded") || Instant::now() > end {
            return output;
        }
        thread::sleep(Duration::from_millis(300));
    }
}

fn kill_session(world: &World) {
    if let Some(pid) = world.session() {
        hopbox::sys::process::kill_and_reap(pid).unwrap();
        let gone = Instant::now() + Duration::from_secs(2);
        while fs::metadata(format!("/proc/{pid}/fd/0")).is_ok() && Instant::now() < gone {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
