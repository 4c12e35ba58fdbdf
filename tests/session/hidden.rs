//! What holds keys cannot be looked into by others of the same user, nor leave a core, from before
//! it has read the first key.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hopbox::session::daemon::command_line::SESSION_ARGUMENT;
use hopbox_selftest::machine::SOON;
use hopbox_selftest::programs;

use super::shared;
use super::world::*;

/// The kernel gives the files of such a process to root, and refuses the same user's debugger.
fn is_hidden(pid: u32) {
    let at = |name: &str| format!("/proc/{pid}/{name}");
    assert_eq!(fs::metadata(at("environ")).unwrap().uid(), 0, "{pid}");
    let status = fs::read_to_string(at("status")).unwrap();
    assert!(status.contains(&format!("\nUid:\t{}\t", USER.unwrap())), "{status}");
    let limits = fs::read_to_string(at("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let mut look = programs::command(Path::new("/bin/cat"), USER);
    look.arg(at("environ")).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(!look.status().unwrap().success(), "{pid}");
}

/// The first file below one of `places` is opened after the process has hidden itself.
fn hides_before(world: &World, machine: usize, words: &[&str], places: &[&str]) {
    let calls = world.home.join("laptop/calls");
    let trace = calls.to_str().unwrap().to_owned();
    let strace = Path::new("/usr/bin/strace");
    // As root, who alone may look into it, and the program as its user.
    let user = USER.unwrap().to_string();
    let line = [
        &["-f", "-o", &trace, "-e", "trace=prctl,open,openat,openat2,connect", "setpriv"],
        &["--reuid", &user, "--regid", &user, "--clear-groups"][..],
        words,
    ]
    .concat();
    let mut command = programs::command(strace, None);
    let home = world.home.join("laptop");
    command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("config"));
    command.env("XDG_STATE_HOME", home.join("state")).env("XDG_RUNTIME_DIR", home.join("run"));
    command.args(&line).stdout(Stdio::null()).stderr(Stdio::null());
    let start = move || command.spawn().map_err(|error| error.to_string());
    let machine = if machine == 0 { &world.laptop } else { &world.vps[0].machine };
    let mut child = machine.run(SOON, start).unwrap();
    let end = std::time::Instant::now() + LIMIT;
    let touched = |text: &str| {
        let at = |line: &&str| {
            places.iter().any(|place| line.contains(place)) && !line.contains("execve")
        };
        text.lines().position(|line| at(&line))
    };
    let text = loop {
        let text = fs::read_to_string(&calls).unwrap_or_default();
        if touched(&text).is_some() {
            break text;
        }
        assert!(std::time::Instant::now() < end, "{words:?}: {text}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = child.kill();
    let _ = child.wait();
    let _ = fs::remove_file(&calls);
    let hidden = text
        .lines()
        .position(|line| line.contains("PR_SET_DUMPABLE") && line.contains("SUID_DUMP_DISABLE"));
    assert!(hidden.is_some() && hidden < touched(&text), "{words:?}: {text}");
}

#[test]
fn what_holds_keys_is_hidden_from_its_first_line() {
    let name = "what_holds_keys_is_hidden_from_its_first_line";
    let _machine = shared();
    let Some(mut world) = World::start(name) else { return };
    world.up();
    is_hidden(world.session().unwrap());
    is_hidden(world.vps[0].agent.as_ref().unwrap().id());
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.stop_agent(0);
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("SKIP {name}: strace is missing");
    }
    let (hop, agent) = (&world.programs.hop, &world.programs.agent);
    let host = hopbox_selftest::files::HOST;
    let session = [hop.to_str().unwrap(), SESSION_ARGUMENT, host];
    hides_before(&world, 0, &session, &["config/hopbox", "mybox.json", ".sock"]);
    hides_before(
        &world,
        1,
        &[agent.to_str().unwrap(), "serve"],
        &["agent.json", "agent.key", ".sock"],
    );
    let list = [agent.to_str().unwrap(), "peers", "list"];
    hides_before(&world, 1, &list, &["agent.json", "agent.key", ".sock"]);
}
