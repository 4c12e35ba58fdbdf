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
  long: {type: native, command: "head -c 1000000 /dev/zero | tr '\\0' x; echo; exec sleep 1000"}
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

/// Exit code, standard output and standard error.
pub fn ask(world: &World, words: &[&str]) -> (Option<i32>, String, String) {
    let output = world.hop(words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Until what there is of services is told.
pub fn until_served(world: &World) {
    let end = std::time::Instant::now() + LIMIT;
    while ask(world, &["services", "ls"]).0 != Some(0) {
        assert!(std::time::Instant::now() < end, "{:?}", ask(world, &["services", "ls"]));
    }
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
    until_served(&world);

    let (code, _, err) = hop(&["services", "start", "web"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = hop(&["services", "start", "app.broken"]);
    assert!(code == Some(3) || code == Some(0), "{err}");
    let (code, _, err) = hop(&["services", "start", "wbe"]);
    assert_eq!((code, err.contains("did you mean web?")), (Some(4), true), "{err}");
    let end = std::time::Instant::now() + LIMIT;
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
    assert!(pid.is_u64(), "{pid}");
    let (pid, mut front) = a_view_goes_on(&world, &mut work);
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
    // Who has read enough is noticed, also where nothing more is said.
    for words in [&["logs", "web"][..], &["services", "watch"]] {
        let mut view = world.spawn(words);
        view.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let output = finish(view, LIMIT);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    }
    let (code, out, _) = hop(&["logs", "web", "--no-follow", "-n", "9999999999"]);
    assert_eq!((code, out.contains("ended: by signal 15")), (Some(0), true), "{out}");
    // What is removed while no agent is there, the next one does not know.
    end_child(&mut work);
    write_desired(&world, &MANIFEST.replace("  broken:", "  other:"));
    let mut work = start_work(&world);
    loop {
        let mut line = String::new();
        assert!(changes.read_line(&mut line).unwrap() > 0, "it ended");
        let change: Value = serde_json::from_str(&line).unwrap();
        if change["data"]["service"] == "broken" && change["data"]["state"] == "removed" {
            break;
        }
    }
    end_child(&mut watch);
    end_child(&mut work);
    end_child(&mut front);
}

/// Two views at once, through each of an agent's processes that is killed, from where they were.
/// The service's process and the agent's of then.
fn a_view_goes_on(world: &World, work: &mut Child) -> (Value, Child) {
    let files = ["view", "view-2", "told", "told-2"].map(|name| world.home.join(name));
    let [shown_in, shown_too, told, told_too] = &files;
    let view = |out: &Path, err: &Path| {
        let mut command = world.command(&world.programs.hop, &["logs", "web", "-n", "20"]);
        command.stdin(Stdio::null()).stderr(fs::File::create(err).unwrap());
        command.stdout(fs::File::create(out).unwrap());
        start(world, command)
    };
    let mut views = [view(shown_in, told), view(shown_too, told_too)];
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let said = || [shown_in, shown_too].map(|file| read(file).matches(" err\n").count());
    let end = std::time::Instant::now() + 3 * LIMIT;
    let wait = |so: &dyn Fn() -> bool| {
        while !so() {
            let seen = files.each_ref().map(|file| read(file));
            assert!(std::time::Instant::now() < end, "{seen:?}\n{}", world.log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait(&|| said() == [1, 1]);
    end_child(work);
    *work = start_work(world);
    wait(&|| ask(world, &["services", "restart", "web"]).0 == Some(0));
    wait(&|| said() == [2, 2]);
    let front = world.vps[0].agent.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args(["-9", &front]).status().unwrap().success());
    let goes_on = "does not answer";
    wait(&|| read(told).matches(goes_on).count() == 2);
    let front = start_front(world);
    wait(&|| ask(world, &["services", "restart", "web"]).0 == Some(0));
    wait(&|| said() == [3, 3]);
    assert_eq!(read(shown_in), read(shown_too), "they have seen the same");
    assert!(read(told).ends_with("is there again\n"), "{}", read(told));
    for view in &mut views {
        assert!(view.try_wait().unwrap().is_none(), "it ended");
        end_child(view);
    }
    a_long_line_is_one(world);
    let (_, out, _) = ask(world, &["services", "ls", "web", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    (list["data"]["services"][0]["pid"].clone(), front)
}

/// In the place of one that was killed, again and again as its unit would: the helper may not have
/// taken back yet what that one had.
fn start_front(world: &World) -> Child {
    let end = std::time::Instant::now() + 2 * LIMIT;
    loop {
        let mut command = programs::command(&world.programs.agent, USER);
        command.arg("serve");
        let log = world.home.join("front-again.log");
        let run = move || programs::start(command, &log).map_err(|error| error.to_string());
        let mut front = world.vps[0].machine.run(SOON, run).unwrap();
        while front.try_wait().unwrap().is_none() {
            if ask(world, &["services", "ls"]).0 == Some(0) {
                return front;
            }
            assert!(std::time::Instant::now() < end, "{}", world.log());
        }
    }
}

/// A line of a million bytes, through all that cuts lines.
fn a_long_line_is_one(world: &World) {
    assert_eq!(ask(world, &["services", "start", "long"]).0, Some(0));
    let end = std::time::Instant::now() + LIMIT;
    let long = "x".repeat(1_000_000) + "\n";
    // More than a pipe holds.
    let logs = |json: &[&str]| {
        let into = world.home.join("long");
        let words = [&["logs", "long", "--no-follow"], json].concat();
        let mut command = world.command(&world.programs.hop, &words);
        command.stdin(Stdio::null()).stdout(fs::File::create(&into).unwrap());
        finish(start(world, command), LIMIT);
        fs::read_to_string(into).unwrap()
    };
    loop {
        let out = logs(&[]);
        if out.lines().filter(|line| line.contains("xx")).count() == 1 && out.ends_with(&long) {
            break;
        }
        assert!(std::time::Instant::now() < end, "{} bytes", out.len());
    }
    let out = logs(&["--json"]);
    let pieces = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let pieces: Vec<Value> = pieces.map(|piece| piece["data"].clone()).collect();
    let pieces: Vec<&Value> = pieces.iter().filter(|piece| piece["stream"] == "out").collect();
    let length: usize = pieces.iter().map(|piece| piece["text"].as_str().unwrap().len()).sum();
    assert_eq!((length, &pieces.last().unwrap()["more"]), (1_000_000, &false.into()));
    assert_eq!(ask(world, &["services", "stop", "long"]).0, Some(0));
}

fn end_child(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
