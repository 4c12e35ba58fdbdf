//! The same user in another context: a login without a session manager, su, cron, another
//! terminal. What is true of a host does not depend on variables, and nobody who only looks ends a
//! session or locks this laptop out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use hopbox_selftest::files::HOST;
use hopbox_selftest::machine::SOON;
use nix::unistd::chown;
use serde_json::Value;

use super::shared;
use super::world::*;

/// `hop` with other variables: `None` takes one away.
fn hop_in(world: &World, variables: &[(&str, Option<&Path>)], words: &[&str]) -> Output {
    let mut command = world.command(&world.programs.hop, words);
    for (variable, value) in variables {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    let start = move || command.spawn().map_err(|error| error.to_string());
    finish(world.laptop.run(SOON, start).unwrap(), LIMIT)
}

fn data(output: &Output) -> Value {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    answer["data"].clone()
}

/// A directory of the user's own.
fn own_dir(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    chown(&path, Some(USER.unwrap().into()), Some(USER.unwrap().into())).unwrap();
    path
}

/// The helper needs a moment to see that a session is gone, and has its device until then.
#[test]
fn a_session_that_has_just_ended_is_not_elsewhere() {
    let _machine = shared();
    let Some(world) = World::start("a_session_that_has_just_ended") else { return };
    for round in 0..12 {
        world.up();
        let pid = world.session().unwrap();
        world.sh(&format!("kill -KILL {pid}"));
        let status = data(&world.hop(&["status", "--json"]));
        let (state, detail) = (&status["state"], &status["detail"]);
        assert_eq!(state, "lost", "round {round}: {detail}");
        world.up();
        let pid = world.session().unwrap();
        world.sh(&format!("kill -KILL {pid}"));
        let down = world.hop(&["down"]);
        assert_eq!(down.status.code(), Some(0), "round {round}: {}", said(&down));
    }
}

/// It has the lock of the key for a moment, and is no session.
#[test]
fn a_diagnosis_is_not_ended_by_hop_down() {
    let _machine = shared();
    let Some(world) = World::start("a_diagnosis_is_not_ended") else { return };
    // Its server is there.
    world.up();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    for _ in 0..5 {
        let mut doctor = world.spawn(&["doctor", "--json"]);
        while doctor.try_wait().unwrap().is_none() {
            let down = world.hop(&["down", "--json"]);
            assert_eq!(data(&down)["was_up"], false, "{}", said(&down));
        }
        let doctor = finish(doctor, LIMIT);
        assert_eq!(doctor.status.code(), Some(0), "{}", said(&doctor));
    }
}

#[test]
fn what_is_true_does_not_depend_on_the_runtime_directory() {
    let _machine = shared();
    let Some(world) = World::start("what_is_true_does_not_depend") else { return };
    let (run, other) = (world.home.join("laptop/run"), own_dir(world.home.join("other")));
    let contexts: [(&str, Option<&Path>); 4] = [
        ("as it was", Some(&run)),
        ("none", None),
        ("another", Some(&other)),
        ("emptied", Some(&run)),
    ];
    for (context, runtime) in contexts {
        let variables = [("XDG_RUNTIME_DIR", runtime)];
        let ask = |words: &[&str]| hop_in(&world, &variables, words);
        world.up();
        let pid = world.session();
        if context == "emptied" {
            world.sh(&format!("rm -rf {0}/hopbox {0}/*", run.display()));
        }
        let status = ask(&["status", "--json"]);
        println!("{context}: status {:?} {}", status.status.code(), data(&status)["state"]);
        let doctor = ask(&["doctor", "--json"]);
        println!("{context}: doctor {:?} {}", doctor.status.code(), data(&doctor)["first"]);
        let again = ask(&["up", "--json"]);
        println!("{context}: up {:?} {}", again.status.code(), data(&again)["already"]);
        assert_eq!(world.session(), pid, "{context}: the session lives");
        assert_eq!((status.status.code(), doctor.status.code()), (Some(0), Some(0)), "{context}");
        assert_eq!(data(&again)["already"], true, "{context}: {}", said(&again));
        world.until("whole", LIMIT, |status| status["broken"].is_null());
        let down = ask(&["down", "--json"]);
        println!("{context}: down {:?} {}", down.status.code(), data(&down)["was_up"]);
        assert_eq!(data(&down)["was_up"], true, "{context}: {}", said(&down));
        assert_eq!(world.traces(), 0, "{context}");
    }
    let _ = fs::remove_dir_all(format!("/tmp/hopbox-{}", USER.unwrap()));
}

/// Where even the state is elsewhere the helper knows that there is a session.
#[test]
fn a_session_that_cannot_be_asked_is_told_and_can_be_ended() {
    let _machine = shared();
    let Some(world) = World::start("a_session_that_cannot_be_asked") else { return };
    let (state, run) = (own_dir(world.home.join("state")), own_dir(world.home.join("run")));
    let elsewhere = [("XDG_STATE_HOME", Some(state.as_path())), ("XDG_RUNTIME_DIR", Some(&run))];
    let ask = |words: &[&str]| hop_in(&world, &elsewhere, words);
    world.up();
    let pid = world.session().unwrap();
    let status = ask(&["status", "--json"]);
    assert_eq!(data(&status)["state"], "silent", "{}", said(&status));
    assert!(said(&status).contains(&format!("(process {pid})")), "{}", said(&status));
    let doctor = ask(&["doctor", "--json"]);
    assert_eq!(data(&doctor)["first"], "elsewhere", "{}", said(&doctor));
    assert!(!said(&doctor).contains("VPN"), "{}", said(&doctor));
    let again = ask(&["up"]);
    assert_eq!(again.status.code(), Some(8), "{}", said(&again));
    assert!(said(&again).contains("is up already, elsewhere"), "{}", said(&again));
    assert_eq!((world.session(), world.traces()), (Some(pid), 3));
    let advised = format!("hop down {HOST} && hop up {HOST}");
    assert!(said(&doctor).contains(&advised), "{}", said(&doctor));
    for line in advised.split(" && ") {
        let typed = ask(&line.split(' ').skip(1).collect::<Vec<_>>());
        assert!(typed.status.success(), "{line}: {}", said(&typed));
    }
    let doctor = ask(&["doctor", "--json"]);
    assert_eq!(data(&doctor)["first"], Value::Null, "{}", said(&doctor));
    assert!(ask(&["down"]).status.success());
    world.up();
    let down = ask(&["down", "--json"]);
    assert_eq!(data(&down)["was_up"], true, "{}", said(&down));
    assert_eq!((world.session(), world.traces()), (None, 0));
    let down = ask(&["down", "--json"]);
    assert_eq!(data(&down)["was_up"], false, "{}", said(&down));
}

/// The doctor's own handshake with the same key, whose time was later than the session's, made the
/// server deaf to it.
#[test]
fn a_diagnosis_in_another_context_locks_nobody_out() {
    let _machine = shared();
    let Some(world) = World::start("a_diagnosis_in_another_context") else { return };
    let stamp = world.paths.stamp_file(HOST);
    let mark = || -> u64 {
        let text = fs::read_to_string(&stamp).unwrap_or_default();
        text.split(' ').next().and_then(|secs| secs.parse().ok()).unwrap_or(0)
    };
    world.up();
    let pid = world.session();
    let doctor = hop_in(&world, &[("XDG_RUNTIME_DIR", None)], &["doctor", "--json"]);
    println!("doctor: {}", data(&doctor)["first"]);
    assert_eq!(world.session(), pid);
    world.until("whole", LIMIT, |status| status["broken"].is_null());
    // At its end the session would have put its own, earlier mark over the doctor's.
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.up();
    // A killed session leaves a mark that is ahead of the clock; what comes after gets through at
    // once, and a doctor in between.
    let mut last = 0;
    for round in 0..3 {
        hopbox::sys::process::kill_and_reap(world.session().unwrap()).unwrap();
        world.assert_gone("killed");
        let doctor = hop_in(&world, &[("XDG_RUNTIME_DIR", None)], &["doctor", "--json"]);
        assert_eq!(data(&doctor)["first"], "killed", "{round}: {}", said(&doctor));
        assert!(mark() >= last, "{round}: {} after {last}", mark());
        last = mark();
        world.up();
        assert!(mark() >= last, "{round}: {} after {last}", mark());
        last = mark();
    }
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.up();
}

/// A home directory that was restored, or a second machine with the same files: the server has
/// heard of a later time, and does not answer. That is said, with what helps.
#[test]
fn a_mark_that_was_put_back_is_told_with_its_cure() {
    let _machine = shared();
    let Some(mut world) = World::start("a_mark_that_was_put_back") else { return };
    let stamp = world.paths.stamp_file(HOST);
    world.up();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    // The clock was ahead for a day: what is kept lets it in all the same.
    let text = fs::read_to_string(&stamp).unwrap();
    let secs: u64 = text.split(' ').next().unwrap().parse().unwrap();
    let put = |secs: u64| {
        fs::write(&stamp, format!("{secs} 0\n")).unwrap();
    };
    put(secs + 86_400);
    let began = std::time::Instant::now();
    world.up();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    put(secs);
    let output = world.hop(&["up"]);
    println!("{}", said(&output));
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains("hop rotate mybox gives it a new one"), "{}", said(&output));
    let doctor = world.hop(&["doctor"]);
    assert!(said(&doctor).contains("it has heard of a later time"), "{}", said(&doctor));
    // What the fix line says works as well: the agent remembers no times over a restart.
    world.stop_agent(0);
    world.start_agent(0);
    world.up();
}
