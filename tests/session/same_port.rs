//! Two hosts whose programs listen at the same port, at once and one after the other: one has it
//! here, the other the next free number, and everybody who tells of it tells the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};

use hopbox_selftest::machine::SOON;
use hopbox_selftest::programs;
use serde_json::Value;

use super::ports::{echo, server_of};
use super::real_ports::{Runs, here, out, until};
use super::shared;
use super::world::*;

const HOSTS: [&str; 2] = ["mybox", "second"];
const PORT: u16 = 7300;

fn listed(world: &World, host: &str, port: u16) -> Option<Value> {
    let output = world.hop(&["ports", "-H", host, "--json", "--no-probe"]);
    let list: Value = serde_json::from_slice(&output.stdout).ok()?;
    list["data"]["ports"].as_array()?.iter().find(|view| view["port"] == port).cloned()
}

/// Where it is here, by each of those who tell of it, once they agree that it is this number and
/// not the one by its side for this reason; and what answers there is the host's.
fn is_at(world: &World, host: usize, number: u16, why_not: Option<&str>) {
    let name = HOSTS[host];
    let so = |view: Value| {
        let is_there = view["server"].is_object() && view["local"] == number;
        is_there && view["why_not"].as_str() == why_not
    };
    let is_listed = || listed(world, name, PORT).is_some_and(so);
    until(&format!("{name} is at {number}: {:?}", listed(world, name, PORT)), is_listed);
    let url = format!("http://localhost:{number}");
    let why = here(world, &format!("$hop ports why {PORT} -H {name}"));
    assert!(why.status.success() && said(&why).contains(&url), "{}", said(&why));
    // The server is told a moment later.
    until(&format!("the server knows {url}"), || told_there(world, host) == format!("{url}\n"));
    let run = world.hop(&["run", "-H", name, "--", "sh", "-c", "echo $HOPBOX_URL_7300"]);
    assert_eq!(String::from_utf8_lossy(&run.stdout), format!("{url}\n"), "{}", said(&run));
    let browser = world.home.join("browser");
    out(world, &format!("BROWSER={} $hop ports open {PORT} -H {name}", browser.display()));
    let opened = world.home.join("laptop/opened");
    until("it is opened", || fs::read_to_string(&opened).is_ok_and(|it| it == url));
    fs::remove_file(opened).unwrap();
    for at in ["127.0.0.1", "[::1]"] {
        until(&format!("{at}:{number}"), || echo(world, format!("{at}:{number}")).is_ok());
    }
}

/// By the program of the server that tells others.
fn told_there(world: &World, host: usize) -> String {
    let mut command = programs::command(&world.programs.agent, USER);
    command.args(["url", &PORT.to_string()]).env("HOME", world.home.join("laptop"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = move || command.spawn().map_err(|error| error.to_string());
    let asked = finish(world.vps[host].machine.run(SOON, start).unwrap(), LIMIT);
    String::from_utf8_lossy(&asked.stdout).into_owned()
}

fn log_of(world: &World, host: usize) -> String {
    fs::read_to_string(world.paths.log_file(HOSTS[host])).unwrap_or_default()
}

fn hop(world: &World, words: &[&str]) {
    let output = world.hop(words);
    assert!(output.status.success(), "{words:?}: {}", said(&output));
}

fn listens(world: &World, host: usize) -> Child {
    server_of(world, host, &["127.0.0.1-7300"])
}

#[test]
fn two_hosts_that_listen_at_the_same_port_are_told_apart() {
    let test = "two_hosts_that_listen_at_the_same_port_are_told_apart";
    let _machine = shared();
    let Some(world) = World::start_named(test, 2, "198.51.100.2") else { return };
    let _work = [0, 1].map(|n| world.start_work(n)).map(Runs::of);
    let browser = world.home.join("browser");
    fs::write(&browser, "#!/bin/sh\nprintf %s \"$1\" >\"$HOME/opened\"\n").unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    let first = listens(&world, 0);
    hop(&world, &["up", HOSTS[0]]);
    is_at(&world, 0, PORT, None);
    let second = listens(&world, 1);
    hop(&world, &["up", HOSTS[1]]);
    let moved = PORT + 1;
    is_at(&world, 1, moved, Some("taken"));
    // Nobody may look into a mirror's process, but whose it is can be told.
    let why = out(&world, "$hop ports why 7300 -H second");
    assert!(why.contains("as hop for mybox has that port here"), "{why}");
    let line = format!("port {PORT} of second is at localhost:{moved}");
    assert_eq!(log_of(&world, 1).matches(&line).count(), 1, "{}", log_of(&world, 1));

    // A program that is restarted, on both sides and one before the other, changes nothing.
    end(Some(first));
    end(Some(second));
    let gone = |host| listed(&world, host, PORT).is_some_and(|view| view["state"] == "gone");
    until("both are gone", || HOSTS.into_iter().all(gone));
    let second = listens(&world, 1);
    is_at(&world, 1, moved, Some("taken"));
    let first = listens(&world, 0);
    is_at(&world, 0, PORT, None);
    is_at(&world, 1, moved, Some("taken"));

    // The first one goes: the second stays where it may be in a bookmark, and nobody has its own.
    hop(&world, &["down", HOSTS[0]]);
    is_at(&world, 1, moved, Some("kept"));
    hop(&world, &["down", HOSTS[1]]);
    hop(&world, &["up", HOSTS[1]]);
    is_at(&world, 1, moved, Some("kept"));
    // The first one comes back, and has its own again.
    hop(&world, &["up", HOSTS[0]]);
    is_at(&world, 0, PORT, None);
    is_at(&world, 1, moved, Some("taken"));
    assert_eq!(log_of(&world, 1).matches(&line).count(), 1, "{}", log_of(&world, 1));
    // Asked for, and as long as nobody else has it, it is the second's.
    hop(&world, &["down", HOSTS[0]]);
    hop(&world, &["ports", "unpin", "7300", "-H", HOSTS[1]]);
    is_at(&world, 1, PORT, None);
    hop(&world, &["up", HOSTS[0]]);
    is_at(&world, 0, moved, Some("taken"));
    let _servers = [first, second].map(Runs::of);
    assert!(Path::new(&world.paths.ports_file(HOSTS[0])).exists(), "remembered");
}
