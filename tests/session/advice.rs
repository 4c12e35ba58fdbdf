//! Advice is the cure: what is said to help is typed as it stands, by the user who was told it, and
//! the state that it was said in is over. On two machines in namespaces; what needs SSH is in
//! tests/vps.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use hopbox::host::store;
use hopbox_selftest::files::{HOST, NAME};
use hopbox_selftest::machine::SOON;
use serde_json::Value;

use super::shared;
use super::world::*;

/// A line as the laptop's user types it into a shell.
pub fn typed(world: &World, line: &str) -> Output {
    let mut command = world.command(Path::new("/bin/sh"), &["-c", line]);
    let bin = world.programs.hop.parent().unwrap().display().to_string();
    command.env("PATH", format!("{bin}:/usr/bin:/bin:/usr/sbin:/sbin"));
    // What somebody does who is shown a damaged file: the line that is wrong goes.
    command.env("EDITOR", "sed -i /^damage/d");
    let start = move || command.spawn().map_err(|error| error.to_string());
    finish(world.laptop.run(SOON, start).unwrap(), LIMIT)
}

/// The command that the first fault of `hop doctor` ends with.
fn fault(world: &World) -> (String, String) {
    let output = typed(world, "hop doctor --json");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = answer["data"]["checks"].as_array().unwrap().clone();
    let first = checks.iter().find(|check| check["ok"] == false);
    let text = |key: &str| first.map_or("none", |it| it[key].as_str().unwrap()).to_owned();
    (text("fault"), text("fix"))
}

fn cured(world: &World, name: &str, begins: &str) {
    let (found, fix) = fault(world);
    assert_eq!(found, name, "{fix}\n{}", world.log());
    assert!(fix.starts_with(begins), "{name}: {fix}");
    let done = typed(world, &fix);
    assert!(done.status.success(), "{name}: {fix}: {}", said(&done));
    let (left, _) = fault(world);
    assert_ne!(left, name, "{fix} cured nothing");
}

fn advised(failed: &Output) -> String {
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    text.lines().last().and_then(|last| last.strip_prefix("fix: ")).unwrap().to_owned()
}

/// A line that fails, and does not any more when what it advises was typed.
fn mended(world: &World, line: &str, code: i32, begins: &str) {
    let failed = typed(world, line);
    assert_eq!(failed.status.code(), Some(code), "{line}: {}", said(&failed));
    let fix = advised(&failed);
    assert!(fix.starts_with(begins), "{line}: {fix}");
    let done = typed(world, &fix);
    assert!(done.status.success(), "{line}: {fix}: {}", said(&done));
    let again = typed(world, line);
    // What was mistyped stays so; what was meant was done.
    let meant = fix.starts_with("hop ") && [2, 4].contains(&code);
    assert!(again.status.success() || meant, "{line}: after {fix}: {}", said(&again));
}

/// Until the session's process is no more, and not only its socket.
fn until_gone(world: &World, pid: u32) {
    let end = Instant::now() + Duration::from_secs(20);
    let lives = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains("Z (zombie)"))
    };
    while world.session().is_some() || lives() {
        assert!(Instant::now() < end, "the session stays");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_advised_ends_the_state_that_it_is_advised_in() {
    let _shared = shared();
    let Some(world) = World::start("what_is_advised_ends_the_state") else { return };
    let (host, key) = (world.paths.host_file(HOST), store::key_file(&world.paths, HOST));
    let (host, key) = (host.display(), key.display());
    let laptop = |line: &str| sh(&world.laptop, line);

    world.up();
    let pid = world.session().unwrap();
    laptop(&format!("kill -KILL {pid}"));
    until_gone(&world, pid);
    cured(&world, "killed", "hop up ");
    let pid = world.session().unwrap();
    laptop("ip link del hopbox0");
    until_gone(&world, pid);
    cured(&world, "ended", "hop up ");
    let pid = world.session().unwrap();
    laptop(&format!("kill -STOP {pid}"));
    cured(&world, "hung", "hop down ");

    laptop(&format!("chmod 644 {host}"));
    cured(&world, "host_file_open", "chmod 600 ");
    laptop(&format!("chmod 640 {key}"));
    cured(&world, "key_open", "chmod 600 ");
    laptop(&format!("chmod 644 {host}"));
    mended(&world, "hop up", 2, "chmod 600 ");
    typed(&world, "hop down");
    laptop(&format!("echo damage >>{host}"));
    mended(&world, "hop up", 2, "${EDITOR:-vi} ");
    typed(&world, "hop down");
    mistyped(&world);
    several(&world);
}

/// What needs a tunnel, without one; and names that were mistyped.
fn mistyped(world: &World) {
    mended(world, "hop ping -c 1", 3, "hop up ");
    typed(world, "hop down");
    mended(world, "hop rotate", 6, "hop up ");
    assert!(typed(world, &format!("getent hosts {NAME}")).status.success());
    let wrong = &HOST[..HOST.len() - 1];
    mended(world, &format!("hop status {wrong}"), 4, &format!("hop status {HOST}"));
    mended(world, &format!("hop -H {wrong} status"), 4, &format!("hop status --host {HOST}"));
    mended(world, &format!("HOPBOX_HOST={wrong} hop status"), 4, "hop status --host ");
    mended(world, "hop staus", 2, "hop status");
    mended(world, "hop up --foregroud", 2, "hop up --help");
    mended(world, "hop up --all x", 2, "hop up --all");
    mended(world, "hop restart", 2, "hop down && hop up");
    mended(world, &format!("hop restart {HOST}"), 2, &format!("hop down {HOST} && hop up {HOST}"));
    mended(world, "hop completions tcsh", 2, "hop completions bash");
}

/// Another host beside the first, which nobody has set up by name.
fn several(world: &World) {
    let host = world.paths.host_file(HOST).display().to_string();
    let other = host.replace(HOST, "other");
    sh(&world.laptop, &format!("sed s/{HOST}/other/ {host} >{other}; chmod 600 {other}"));
    sh(&world.laptop, &format!("chown --reference={host} {other}"));
    mended(world, "hop ping -c 1", 2, &format!("hop ping --count 1 -H {HOST}"));
    typed(world, "hop down");
    let both = typed(world, &format!("hop up -f {HOST} other"));
    let fix = advised(&both);
    assert_eq!((both.status.code(), &*fix), (Some(2), &*format!("hop up --foreground {HOST}")));
    let until_up = format!(
        "{fix} & p=$!; for i in $(seq 100); do hop ping -c 1 -H {HOST} && break; sleep 0.1; done; \
         hop down {HOST} && wait $p"
    );
    let up = typed(world, &until_up);
    assert!(up.status.success(), "{}", said(&up));
    // Servers that nobody reaches are forgotten here, one after the other.
    let left = typed(world, "hop -y uninstall --remote");
    let fix = advised(&left);
    assert_eq!(fix, format!("hop host rm {HOST}"), "{}", said(&left));
    let gone = typed(world, &format!("{fix} --yes"));
    assert!(gone.status.success(), "{}", said(&gone));
    let left = typed(world, "hop -y uninstall --remote");
    assert!(!said(&left).contains(&format!("not cleaned: {HOST}")), "{}", said(&left));
}
