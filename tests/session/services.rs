//! `hop services` and `hop logs` through a tunnel, as they are typed.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hopbox::workspace::read;
use hopbox_selftest::machine::SOON;
use hopbox_selftest::{files, programs};
use serde_json::Value;

use super::shared;
use super::world::*;

const MANIFEST: &str = r#"
name: app
services:
  web: {type: native, command: "printf 'a\\033[2Jb\\n'; echo err >&2; exec sleep 1000"}
  broken: {type: native, command: "echo why; exit 3", restart: never}
"#;

/// As if it had been asked for once.
pub fn write_desired(world: &World, manifest: &str) {
    let there = world.home.join("laptop/there");
    let app = there.join("hopbox-agent/app");
    fs::create_dir_all(&app).unwrap();
    fs::write(app.join("desired.json"), read::manifest(manifest).unwrap().desired.text()).unwrap();
    for dir in [&there, &there.join("hopbox-agent"), &app] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    files::give(&there, USER).unwrap();
}

/// With a home, as its unit gives it one.
pub fn start_work(world: &World) -> Child {
    let mut command = programs::command(&world.programs.agent, USER);
    let home = world.home.join("laptop");
    command.arg("work").env("XDG_STATE_HOME", home.join("there")).env("HOME", home);
    let log = world.home.join("work-0.log");
    let start = move || programs::start(command, &log).map_err(|error| error.to_string());
    world.vps[0].machine.run(SOON, start).unwrap()
}

fn start(world: &World, mut command: Command) -> Child {
    world.laptop.run(SOON, move || command.spawn().map_err(|error| error.to_string())).unwrap()
}

fn ask(world: &World, words: &[&str]) -> (Option<i32>, String, String) {
    let output = world.hop(words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn services_are_started_looked_at_and_stopped_by_words() {
    if Path::new("/run/systemd/system").exists() {
        return println!("SKIP services_are_started: this machine has systemd");
    }
    let _machine = shared();
    let Some(world) = World::start("services_are_started") else { return };
    write_desired(&world, MANIFEST);
    let hop = |words: &[&str]| ask(&world, words);
    assert_eq!(hop(&["services", "ls"]).0, Some(3), "not up");
    world.up();
    let mut work = start_work(&world);
    let end = std::time::Instant::now() + LIMIT;
    while hop(&["services", "ls"]).0 != Some(0) {
        assert!(std::time::Instant::now() < end, "{:?}", hop(&["services", "ls"]));
    }

    let (code, _, err) = hop(&["services", "start", "web"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = hop(&["services", "start", "app.broken"]);
    assert!(code == Some(3) || code == Some(0), "{err}");
    let (code, _, err) = hop(&["services", "start", "wbe"]);
    assert_eq!((code, err.contains("did you mean web?")), (Some(4), true), "{err}");
    let out = loop {
        let (_, out, _) = hop(&["services", "ls"]);
        if out.contains("broken: it ended with 3\n  | why\n") {
            break out;
        }
        assert!(std::time::Instant::now() < end, "{out}");
    };
    assert!(out.contains("web") && out.contains("running"), "{out}");
    assert!(out.lines().all(|line| line.len() <= 80), "{out}");
    let (_, out, _) = hop(&["services", "ls", "web", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    let services = list["data"]["services"].as_array().unwrap();
    assert_eq!((services.len(), &services[0]["state"]), (1, &"running".into()), "{out}");
    let pid = services[0]["pid"].clone();

    // Raw in a pipe, harmless on a terminal, apart in JSON.
    let (code, out, _) = hop(&["logs", "web", "--no-follow"]);
    assert_eq!((code, out.contains(" a\x1b[2Jb\n")), (Some(0), true), "{out:?}");
    let (_, out, _) = hop(&["logs", "--no-follow", "-n", "1"]);
    assert_eq!((out.lines().count(), out.contains(" web ")), (2, true), "{out:?}");
    let (_, out, _) = hop(&["logs", "web", "--no-follow", "--json"]);
    let all: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let by = |stream: &str| all.iter().find(|line| line["data"]["stream"] == stream).unwrap();
    assert_eq!(
        (&by("out")["data"]["text"], &by("err")["data"]["text"]),
        (&"a\u{1b}[2Jb".into(), &"err".into())
    );
    let script = "$hop logs --no-follow";
    let mut command = world.command(Path::new("script"), &["-qec", script, "/dev/null"]);
    command.env("TERM", "vt220").env("hop", &world.programs.hop).stdin(Stdio::null());
    command.env("LC_ALL", "C.UTF-8");
    let shown = finish(start(&world, command), LIMIT);
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains(r"a\u{1b}[2Jb") && !shown.contains("\x1b[2J"), "{shown:?}");
    assert!(shown.contains("\x1b[3"), "names have colours: {shown:?}");
    let (code, _, err) = hop(&["logs", "web", "--since", "yesterday"]);
    assert_eq!((code, err.contains("14:30")), (Some(2), true), "{err}");

    // A view ends, and nothing else.
    let mut view = world.spawn(&["logs", "web"]);
    let mut lines = BufReader::new(view.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    interrupt(&view);
    let _ = lines.read_to_string(&mut line);
    assert!(!finish(view, LIMIT).status.success());
    let pid = a_view_goes_on(&world, &mut work).unwrap_or(pid);
    let mut watch = world.spawn(&["services", "watch", "--json"]);
    let mut changes = BufReader::new(watch.stdout.take().unwrap());
    let mut until = |state: &str| {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(changes.read_line(&mut line).unwrap() > 0, "it ended");
            let change: Value = serde_json::from_str(&line).unwrap();
            let data = &change["data"];
            if data["service"] == "web" && data["state"] == state {
                return data["pid"].clone();
            }
        }
    };
    assert_eq!(until("running"), pid, "the same as before");
    assert_eq!(hop(&["services", "restart", "web"]).0, Some(0));
    // Whichever states were seen on the way, it ends as another process.
    while until("running") == pid {}
    let (code, _, err) = hop(&["services", "stop", "web", "broken"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(until("stopped"), Value::Null);
    end_child(&mut watch);
    end_child(&mut work);
}

/// Through an agent that is killed, from where it was. The service's process of then.
fn a_view_goes_on(world: &World, work: &mut Child) -> Option<Value> {
    let shown_in = world.home.join("view");
    let mut command = world.command(&world.programs.hop, &["logs", "web", "-n", "20"]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(fs::File::create(&shown_in).unwrap());
    let mut view = start(world, command);
    let said = || fs::read_to_string(&shown_in).unwrap_or_default().matches(" err\n").count();
    let end = std::time::Instant::now() + LIMIT;
    let wait = |so: &dyn Fn() -> bool| {
        while !so() {
            assert!(std::time::Instant::now() < end, "{:?}", fs::read_to_string(&shown_in));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait(&|| said() == 1);
    end_child(work);
    *work = start_work(world);
    wait(&|| ask(world, &["services", "restart", "web"]).0 == Some(0));
    wait(&|| said() == 2);
    assert!(view.try_wait().unwrap().is_none(), "it ended");
    end_child(&mut view);
    let (_, out, _) = ask(world, &["services", "ls", "web", "--json"]);
    let list: Value = serde_json::from_str(&out).ok()?;
    Some(list["data"]["services"][0]["pid"].clone())
}

fn end_child(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
