//! The agent goes away and comes back: what the user is told and what is remembered.

use std::fs;
use std::thread;
use std::time::Duration;

use hopbox::session::{control, state};
use hopbox_selftest::files::HOST;
use serde_json::Value;

use super::world::*;
use super::{full, shared};

#[test]
fn an_agent_that_was_gone_is_told_with_the_seconds_and_remembered() {
    let Some(mut world) = World::start("an_agent_that_was_gone") else { return };
    let _machine = shared();
    world.up();
    let file = world.paths.tunnel_file(HOST);
    let known = || -> Value { serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap() };
    // Written when the session has let go of the `hop up` that started it.
    world.until("written", LIMIT, |_| file.exists());
    assert_eq!((&known()["connected"], &known()["up"]), (&true.into(), &true.into()));
    assert!(known()["last_healthy"].as_str().is_some_and(|at| at.ends_with('Z')));

    world.stop_agent(0);
    let away = world.until("away", LIMIT, |status| status["connected"] == false);
    assert_eq!((&away["state"], &away["rtt_ms"]), (&"degraded".into(), &Value::Null));
    assert_eq!(known()["connected"], false);
    assert_eq!(world.hop(&["status"]).status.code(), Some(3));
    thread::sleep(Duration::from_secs(if full() { 42 } else { 1 }));
    world.start_agent(0);
    world.until("back", LIMIT, |status| status["connected"] == true);
    assert_eq!(known()["connected"], true);

    let log = world.log();
    let line = |what: &str| {
        let found = log.lines().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no {what:?} in\n{log}")).to_owned()
    };
    let is_clock = |line: &str| {
        let bytes = line.as_bytes();
        bytes[0] == b'[' && bytes[3] == b':' && bytes[6] == b':' && &line[9..11] == "] "
    };
    let down = line("unreachable —");
    assert!(is_clock(&down), "{down}");
    assert_eq!(&down[11..], "Agent unreachable — waiting for reconnection...");
    let back = line("Agent reconnected");
    assert!(is_clock(&back), "{back}");
    let seconds = back[11..].strip_prefix("Agent reconnected (was down for ");
    let seconds: u64 = seconds.unwrap().strip_suffix("s)").unwrap().parse().unwrap();
    assert!(seconds >= if full() { 42 } else { 1 }, "{back}");

    // The gap can be read back, while the session lives and after it.
    let gap = format!("agent reconnected: down {}–{} ({seconds} s)", &down[1..9], &back[1..9]);
    let events = control::events(&world.paths, HOST).unwrap().unwrap();
    assert!(events.to_string().contains(&gap), "{gap}: {events}");
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    let last = state::last_known(&world.paths, HOST).unwrap();
    assert!((last.up, last.connected) == (false, false));
    assert!(last.events.iter().any(|event| event.what == gap), "{last:?}");
    assert!(last.last_healthy_s.is_some());
}

/// What ended a silence may be younger than the silence.
#[test]
fn a_status_is_not_older_than_its_question() {
    let Some(world) = World::start("a_status_is_not_older") else { return };
    let _machine = shared();
    world.up();
    let agent = world.vps[0].agent.as_ref().unwrap().id();
    world.sh(&format!("kill -STOP {agent}"));
    world.until("away", LIMIT, |status| status["connected"] == false);
    world.sh(&format!("kill -CONT {agent}"));
    let output = world.hop(&["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
