//! What programs on the server ask of the laptop, from `hop-agent` there to the laptop's own
//! programs: a real clipboard where this machine has one (Xvfb, xclip).

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use hopbox_selftest::machine::SOON;
use hopbox_selftest::{files, programs};
use serde_json::Value;

use super::services::{start_work, write_desired};
use super::shared;
use super::world::*;

const MANIFEST: &str = "name: app\nbridges: [{type: clipboard}]\n";
const DISPLAY: &str = ":4243";

/// Writes down what it is told, and answers a question by what lies in `press`.
const PROGRAM: &str = r#"#!/bin/sh
dir=${0%/*} name=${0##*/}
[ "$1" != --help ] || { echo --action=; exit; }
line=$name
for word; do line="$line|$word"; done
printf '%s\n' "$line" >> "$dir/calls"
case $* in
    *--action=*) until [ -e "$dir/press" ]; do sleep 0.1; done; cat "$dir/press" ;;
esac
"#;

struct Desk {
    world: World,
    bin: PathBuf,
    work: Child,
    screen: Option<Child>,
}

impl Desk {
    fn start(world: World) -> Desk {
        let bin = world.home.join("laptop/desk");
        fs::create_dir_all(&bin).unwrap();
        for name in ["xdg-open", "notify-send"] {
            fs::write(bin.join(name), PROGRAM).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        files::give(&bin, USER).unwrap();
        write_desired(&world, MANIFEST);
        let screen = screen();
        let mut up = world.command(&world.programs.hop, &["up"]);
        up.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("DISPLAY", DISPLAY);
        let spawned =
            world.laptop.run(SOON, move || up.spawn().map_err(|error| error.to_string())).unwrap();
        let output = finish(spawned, LIMIT);
        assert!(output.status.success(), "{}{}", said(&output), world.log());
        let work = start_work(&world);
        let desk = Desk { world, bin, work, screen };
        desk.until("the bridges are connected", || {
            desk.state()["connected"] == true
                && desk.there(&["notify", "ready"], b"").status.success()
        });
        desk
    }

    /// `hop-agent` as a program of the login's types it.
    fn start_there(&self, words: &[&str]) -> Child {
        let mut command = programs::command(&self.world.programs.agent, USER);
        let home = self.world.home.join("laptop");
        command.args(words).env("XDG_STATE_HOME", home.join("there")).env("HOME", home);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = move || command.spawn().map_err(|error| error.to_string());
        self.world.vps[0].machine.run(SOON, start).unwrap()
    }

    fn there(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self.start_there(words);
        let _ = child.stdin.take().unwrap().write_all(input);
        finish(child, LIMIT)
    }

    fn hop(&self, words: &[&str]) -> Output {
        self.world.hop(words)
    }

    fn state(&self) -> Value {
        let out = self.hop(&["bridge", "ls", "--json"]).stdout;
        let value: Value = serde_json::from_slice(&out).unwrap_or_default();
        value["data"]["state"].clone()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.bin.join("calls")).unwrap_or_default()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < end, "{what}: {}{}", self.calls(), self.world.log());
            thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    /// The clipboard of the screen, as its programs read it.
    fn clipboard(&self, kind: &str) -> Vec<u8> {
        let mut command = Command::new("xclip");
        command.args(["-selection", "clipboard", "-out", "-target", kind]).env("DISPLAY", DISPLAY);
        command.output().unwrap().stdout
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for child in [Some(&mut self.work), self.screen.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nobody sees it; its socket is in the file system, where namespaces of networks do not matter.
fn screen() -> Option<Child> {
    if !["/usr/bin/Xvfb", "/usr/bin/xclip"].iter().all(|path| Path::new(path).exists()) {
        println!("SKIP the clipboard of bridge.rs: no Xvfb or no xclip");
        return None;
    }
    let mut command = Command::new("Xvfb");
    command.args([DISPLAY, "-ac", "-nolisten", "tcp", "-screen", "0", "64x64x24"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let socket = format!("/tmp/.X11-unix/X{}", DISPLAY.trim_start_matches(':'));
    let end = Instant::now() + LIMIT;
    while !Path::new(&socket).exists() {
        assert!(Instant::now() < end, "no screen");
        thread::sleep(std::time::Duration::from_millis(50));
    }
    Some(child)
}

#[test]
fn what_the_server_wants_of_the_laptop_is_done_here_or_refused() {
    let _machine = shared();
    let Some(world) = World::start("what_the_server_wants") else { return };
    let desk = Desk::start(world);
    let status = |out: &Output| (out.status.code(), said(out));
    let ready = "notify-send|--app-name=hopbox|--|[mybox] ready";
    desk.until("shown", || desk.calls().contains(ready));

    if desk.screen.is_some() {
        let text = "-in \u{1b}[2J grüße\n".repeat(2000);
        let out = desk.there(&["clip"], text.as_bytes());
        assert!(out.status.success(), "{}", said(&out));
        assert_eq!(desk.clipboard("UTF8_STRING"), text.as_bytes());
        let out = desk.there(&["paste"], b"");
        assert!(!out.status.success() && out.stdout.is_empty(), "{}", said(&out));
        assert!(desk.hop(&["bridge", "allow", "paste"]).status.success());
        let out = desk.there(&["paste"], b"");
        assert_eq!((out.status.code(), &out.stdout[..]), (Some(0), text.as_bytes()));
    }

    let out = desk.there(&["open", "https://203.0.114.9/x?a=$(id)"], b"");
    assert!(out.status.success(), "{}", said(&out));
    desk.until("opened", || desk.calls().contains("xdg-open|https://203.0.114.9/x?a=$(id)\n"));
    for url in ["http://localhost:631/", "http://127.1/", "https://u:p@203.0.114.9/"] {
        let out = desk.there(&["open", url], b"");
        assert!(!out.status.success(), "{url} {}", said(&out));
    }

    // Answered by words, then by a press; the second time the server has gone meanwhile.
    let mut asks = desk.start_there(&["ask", "deploy?"]);
    drop(asks.stdin.take());
    desk.until("asked", || desk.state()["questions"][0]["question"] == "deploy?");
    assert_eq!(status(&desk.hop(&["bridge", "answer", "no"])).0, Some(0));
    assert_eq!(finish(asks, LIMIT).status.code(), Some(10));
    fs::write(desk.bin.join("press"), "0\n").unwrap();
    assert_eq!(status(&desk.there(&["ask", "again?"], b"")).0, Some(0));
    fs::remove_file(desk.bin.join("press")).unwrap();
    let mut gone = desk.start_there(&["ask", "gone?"]);
    desk.until("asked", || desk.state()["questions"][0]["question"] == "gone?");
    gone.kill().unwrap();
    gone.wait().unwrap();
    desk.until("nothing is asked", || desk.state()["questions"].as_array().unwrap().is_empty());

    // The process comes back, and so does what is wanted.
    let mut asks = desk.start_there(&["ask", "after?"]);
    drop(asks.stdin.take());
    desk.until("asked", || desk.state()["questions"][0]["question"] == "after?");
    assert!(desk.hop(&["bridge", "restart"]).status.success());
    desk.until("asked anew", || desk.state()["questions"][0]["question"] == "after?");
    assert_eq!(status(&desk.hop(&["bridge", "answer", "yes"])).0, Some(0));
    assert_eq!(finish(asks, LIMIT).status.code(), Some(0));

    let log = said(&desk.hop(&["bridge", "log", "-n", "500"]));
    assert!(log.contains("deploy?") && !log.contains("grüße") && !log.contains("$(id)"), "{log}");
    assert!(desk.hop(&["down"]).status.success());
    let out = desk.there(&["open", "https://203.0.114.9/"], b"");
    assert!(!out.status.success() && said(&out).contains("away"), "{}", said(&out));
}
