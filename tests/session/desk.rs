//! A desk at the laptop: the programs that bridges call there, and the programs on the server that
//! want something of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use hopbox_selftest::machine::SOON;
use hopbox_selftest::{files, programs};
use serde_json::Value;

use super::services::{start_work, write_desired};
use super::world::*;

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

pub struct Desk {
    pub world: World,
    pub bin: PathBuf,
    work: Child,
    pub screen: Option<Child>,
}

impl Desk {
    pub fn start(world: World, manifest: &str) -> Desk {
        let bin = world.home.join("laptop/desk");
        fs::create_dir_all(&bin).unwrap();
        for name in ["xdg-open", "notify-send"] {
            put_program(&bin.join(name), PROGRAM);
        }
        files::give(&bin, USER).unwrap();
        write_desired(&world, manifest);
        let mut up = world.command(&world.programs.hop, &["up"]);
        up.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("DISPLAY", DISPLAY);
        let spawned =
            world.laptop.run(SOON, move || up.spawn().map_err(|error| error.to_string())).unwrap();
        let output = finish(spawned, LIMIT);
        assert!(output.status.success(), "{}{}", said(&output), world.log());
        let work = start_work(&world);
        let desk = Desk { world, bin, work, screen: None };
        desk.until("the bridges are connected", || {
            desk.state()["connected"] == true
                && desk.there(&["notify", "ready"], b"").status.success()
        });
        desk
    }

    /// `hop-agent` as a program of the login's types it.
    pub fn start_there(&self, words: &[&str]) -> Child {
        self.spawn_there(&self.world.programs.agent, words)
    }

    /// What a service of the login's finds in its environment.
    pub fn spawn_there(&self, program: &Path, words: &[&str]) -> Child {
        let mut command = programs::command(program, USER);
        let home = self.world.home.join("laptop");
        let shims = home.join("there/hopbox-agent/.bridge/bin");
        command.env("PATH", format!("{}:/usr/bin:/bin", shims.display()));
        command.args(words).env("XDG_STATE_HOME", home.join("there")).env("HOME", home);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = move || command.spawn().map_err(|error| error.to_string());
        self.world.vps[0].machine.run(SOON, start).unwrap()
    }

    pub fn there(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self.start_there(words);
        let _ = child.stdin.take().unwrap().write_all(input);
        finish(child, LIMIT)
    }

    pub fn hop(&self, words: &[&str]) -> Output {
        self.world.hop(words)
    }

    pub fn state(&self) -> Value {
        let out = self.hop(&["bridge", "ls", "--json"]).stdout;
        let value: Value = serde_json::from_slice(&out).unwrap_or_default();
        value["data"]["state"].clone()
    }

    pub fn calls(&self) -> String {
        fs::read_to_string(self.bin.join("calls")).unwrap_or_default()
    }

    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < end, "{what}: {}{}", self.calls(), self.world.log());
            thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    /// The clipboard of the screen, as its programs read it.
    pub fn clipboard(&self, kind: &str) -> Vec<u8> {
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

/// In one step: what is open for writing cannot be started, and another test may fork just now.
pub fn put_program(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Nobody sees it; its socket is in the file system, where namespaces of networks do not matter.
pub fn screen() -> Option<Child> {
    if !["/usr/bin/Xvfb", "/usr/bin/xclip"].iter().all(|path| Path::new(path).exists()) {
        println!("SKIP the clipboard of bridge.rs: no Xvfb or no xclip");
        return None;
    }
    let mut command = Command::new("Xvfb");
    command.args([DISPLAY, "-ac", "-nolisten", "tcp", "-screen", "0", "64x64x24"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let socket = format!("/tmp/.X11-unix/X{}", DISPLAY.trim_start_matches(':'));
    let end = Instant::now() + LIMIT;
    // One that was killed has left its socket.
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < end, "no screen");
        thread::sleep(std::time::Duration::from_millis(50));
    }
    Some(child)
}
