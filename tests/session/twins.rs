//! Two laptops with one key, as a home directory that was copied makes them. The server keeps one
//! session for a key, so both cannot have it; but who loses it is not left without a word, and what
//! that word advises works.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hopbox::host::paths::Paths;
use hopbox_selftest::files::{self, HOST, VPS_WAN};
use hopbox_selftest::machine::{self, Machine};

use super::shared;
use super::world::*;

/// The cable between the second laptop and the server, whose other address it reaches through it.
const VPS_END: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const TWIN_END: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// How long nobody may be without the tunnel and without a word: a session asks the agent every
/// 5 s, waits 3 s for the answer, and then shakes hands anew; the rest is for a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Another laptop with the files of the first, on a cable of its own.
fn twin_of(world: &World) -> World {
    let home = scratch();
    let copied = Command::new("cp").arg("-a").arg(world.home.join("laptop")).arg(&home).status();
    assert!(copied.unwrap().success());
    let laptop = Machine::start("twin", files::etc(USER)).unwrap();
    let server = &world.vps[0].machine;
    machine::join_as(server, ("twin", VPS_END), &laptop, TWIN_END, 30).unwrap();
    sh(&laptop, &format!("ip route add {VPS_WAN} via {VPS_END}"));
    let paths = Paths::below(&home.join("laptop")).of_user(USER.unwrap());
    let programs = world.programs.clone();
    let mut twin = World { laptop, vps: Vec::new(), programs, home, paths, helper: None };
    twin.start_helper();
    twin
}

/// Waits until each has said that there is another; what the doctor says then, and its cure.
fn until_all_say_so(sides: &[&World]) {
    for side in sides {
        side.until("told of the other", TOLD_WITHIN, |status| status["rival"] == true);
        let status = side.hop(&["status"]);
        assert_eq!(status.status.code(), Some(3), "{}", said(&status));
        assert!(said(&status).contains("another machine seems to use this"), "{}", said(&status));
        let doctor = side.hop(&["doctor"]);
        assert!(said(&doctor).contains("another machine uses this"), "{}", said(&doctor));
        assert!(said(&doctor).contains("hop rotate mybox"), "{}", said(&doctor));
    }
}

/// The longest time that a side was not heard, in seconds, while `watched` passes.
fn longest_silences(both: [&World; 2], watched: Duration) -> [u64; 2] {
    let (began, mut longest) = (Instant::now(), [0; 2]);
    while began.elapsed() < watched {
        for (side, longest) in both.iter().zip(&mut longest) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let heard = side.status()["last_healthy_unix"].as_u64().unwrap();
            *longest = now.saturating_sub(heard).max(*longest);
        }
        thread::sleep(Duration::from_millis(200));
    }
    longest
}

#[test]
fn two_laptops_with_one_key_both_say_so_and_a_new_key_parts_them() {
    let _machine = shared();
    let Some(world) = World::start("two_laptops_with_one_key") else { return };
    let twin = twin_of(&world);
    world.up();
    let output = twin.hop(&["up"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    until_all_say_so(&[&world, &twin]);
    let silent = longest_silences([&world, &twin], Duration::from_secs(25));
    println!("NOTE longest silences: {silent:?} s");
    assert!(silent.iter().all(|s| *s < TOLD_WITHIN.as_secs()), "{silent:?}");
    // The cure, on the copy.
    let output = twin.hop(&["rotate", "mybox"]);
    println!("rotate: {}", said(&output));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let status = twin.hop(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    let silent = longest_silences([&twin, &world], Duration::from_secs(20));
    println!("NOTE after the cure: {silent:?} s");
    assert!(
        silent[0] <= 10 && silent[1] > 10,
        "the one is alone, the other locked out: {silent:?}"
    );
    // The other one is told, live and when it starts, and where the advice ends.
    until_all_say_so(&[&world]);
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    let output = world.hop(&["up"]);
    println!("the other, up: {}", said(&output));
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    println!("the other, doctor: {}", said(&world.hop(&["doctor"])));
    assert_eq!(twin.hop(&["down"]).status.code(), Some(0));
}

/// One of the two has a clock that is a day ahead: the server hears the other one no more.
#[test]
fn a_laptop_whose_twin_is_a_day_ahead_says_so() {
    let _machine = shared();
    let Some(mut world) = World::start("a_laptop_whose_twin_is_a_day_ahead") else { return };
    world.up();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    let twin = twin_of(&world);
    world.up();
    let stamp = twin.paths.stamp_file(HOST);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    fs::write(&stamp, format!("{} 0\n", now + 86_400)).unwrap();
    let output = twin.hop(&["up"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    until_all_say_so(&[&world]);
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(
        said(&output).contains("then hop rotate mybox gives it a new one"),
        "{}",
        said(&output)
    );
    assert_eq!(twin.hop(&["status"]).status.code(), Some(0), "it has the server to itself");
    assert_eq!(twin.hop(&["down"]).status.code(), Some(0));
    // Nobody else uses the key now; the agent remembers no times over a restart.
    world.stop_agent(0);
    world.start_agent(0);
    world.up();
}
