//! Ten services brought up by one command, beside pitchfork (of the crate pitchfork-cli), where
//! HOP_PITCHFORK says where that is: a part of `services_answer_quickly_and_are_small`. By turns in
//! one run, on the same machine, for the same user; it prints figures, and judges nothing but that
//! all ten answer.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use hopbox::sys::signal;
use hopbox_selftest::machine::{Machine, SOON};
use hopbox_selftest::{files, programs};
use serde_json::Value;

use super::service_figures::keeper_of;
use super::services::start_work;
use super::world::*;

const ROUNDS: usize = 10;
const SERVICES: u16 = 10;
/// Of hopbox's and of pitchfork's services.
const PORTS: [u16; 2] = [18100, 18200];

/// What one round showed.
#[derive(Clone, Copy)]
struct Round {
    up: Duration,
    /// From the end of a service to the first list that tells it, and how long a list takes.
    noticed: Duration,
    list: Duration,
}

struct Beside<'a> {
    world: &'a World,
    pitchfork: &'a Path,
    dir: PathBuf,
}

impl Beside<'_> {
    fn write(&self) {
        fs::create_dir(&self.dir).unwrap();
        fs::write(self.dir.join("index.html"), "here\n").unwrap();
        let dir = self.dir.display();
        let server = |port: u16| format!("exec busybox httpd -f -p 127.0.0.1:{port} -h {dir}");
        let (mut yaml, mut toml) = ("name: ten\nservices:\n".to_owned(), String::new());
        for n in 0..SERVICES {
            let [ours, theirs] = PORTS.map(|first| first + n);
            yaml += &format!(
                "  s{n}:\n    type: native\n    command: {}\n    restart: never\n    \
                 health: {{http: 'http://localhost:{ours}/'}}\n",
                server(ours)
            );
            toml += &format!(
                "[daemons.s{n}]\nrun = \"{}\"\nready_http = \"http://127.0.0.1:{theirs}/\"\n",
                server(theirs)
            );
        }
        fs::write(self.dir.join("hopbox.yaml"), yaml).unwrap();
        fs::write(self.dir.join("pitchfork.toml"), toml).unwrap();
        files::give(&self.dir, USER).unwrap();
    }

    /// A command of the user's in the project's directory, and how long it took.
    fn run(&self, on: &Machine, program: &Path, words: &[&str]) -> (Duration, Output) {
        let mut command = self.world.command(program, words);
        command.current_dir(&self.dir);
        let run = move || {
            let began = Instant::now();
            let output = command.output().map_err(|error| error.to_string())?;
            Ok((began.elapsed(), output))
        };
        let (took, output) = on.run(LIMIT * 3, run).unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        (took, output)
    }

    fn hop(&self, words: &[&str]) -> (Duration, Output) {
        self.run(&self.world.laptop, &self.world.programs.hop, words)
    }

    fn pitchfork(&self, words: &[&str]) -> (Duration, Output) {
        self.run(&self.world.vps[0].machine, self.pitchfork, words)
    }

    fn ours(&self) -> Round {
        let (up, _) = self.hop(&["up", "--wait", "-y"]);
        self.all_answer(PORTS[0]);
        let runs = |answer: &Value| {
            let all = answer["data"]["services"].as_array().unwrap();
            let first = all.iter().find(|view| view["service"] == "s0").expect("s0");
            ["running", "healthy"].map(Value::from).contains(&first["state"])
        };
        let list = || self.hop(&["services", "ls", "--json"]);
        let (noticed, list) = ends(PORTS[0], &self.dir, list, runs);
        self.stop_ours(1);
        println!("hop {up:.1?}");
        Round { up, noticed, list }
    }

    fn stop_ours(&self, from: u16) {
        let names: Vec<String> = (from..SERVICES).map(|n| format!("s{n}")).collect();
        let mut words = vec!["services", "stop"];
        words.extend(names.iter().map(String::as_str));
        self.hop(&words);
    }

    fn theirs(&self) -> Round {
        let (up, _) = self.pitchfork(&["start", "--local"]);
        self.all_answer(PORTS[1]);
        let runs = |answer: &Value| {
            let all = answer.as_array().unwrap();
            let is_first = |entry: &&Value| entry["name"].as_str().unwrap().ends_with("s0");
            all.iter().find(is_first).expect("s0")["status"] == "running"
        };
        let (noticed, list) =
            ends(PORTS[1], &self.dir, || self.pitchfork(&["list", "--json"]), runs);
        self.pitchfork(&["stop", "--local"]);
        println!("pitchfork {up:.1?}");
        Round { up, noticed, list }
    }

    /// Says which do not, right after the command has said that they are ready.
    fn all_answer(&self, first: u16) {
        let look = move || {
            let is_deaf = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_err();
            Ok((first..first + SERVICES).filter(is_deaf).collect::<Vec<_>>())
        };
        let deaf = self.world.vps[0].machine.run(SOON, look).unwrap();
        println!("{first}: {} answer at once; not: {deaf:?}", SERVICES as usize - deaf.len());
    }
}

/// The first service is killed, and it is asked until that is told.
fn ends(
    port: u16,
    dir: &Path,
    list: impl Fn() -> (Duration, Output),
    runs: impl Fn(&Value) -> bool,
) -> (Duration, Duration) {
    let pid = process(&format!("127.0.0.1:{port}"), dir).expect("a service");
    signal::send(pid, signal::Kind::Kill).unwrap();
    let began = Instant::now();
    loop {
        let (took, output) = list();
        if !runs(&serde_json::from_slice(&output.stdout).unwrap()) {
            return (began.elapsed(), took);
        }
        assert!(began.elapsed() < LIMIT, "not noticed: {}", said(&output));
    }
}

/// The one that has these words among its own.
fn process(word: &str, dir: &Path) -> Option<u32> {
    let dir = dir.to_string_lossy();
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let has = |word: &str| line.split(|byte| *byte == 0).any(|it| it == word.as_bytes());
        has(word) && has(&dir)
    })
}

/// Resident and proportional memory of processes together, in KiB.
fn memory(pids: &[u32]) -> [u64; 2] {
    let of = |pid: &u32, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    ["Rss:", "Pss:"].map(|name| pids.iter().map(|pid| of(pid, name)).sum())
}

fn told(name: &str, rounds: &[Round]) {
    let median = |part: fn(&Round) -> Duration| {
        let mut all: Vec<Duration> = rounds.iter().map(part).collect();
        all.sort_unstable();
        let (middle, least, most) = (all[all.len() / 2], all[0], all[all.len() - 1]);
        format!("{middle:.1?} ({least:.1?} to {most:.1?})")
    };
    println!(
        "{name}: ten ready {}, an end told within {}, a list takes {}",
        median(|round| round.up),
        median(|round| round.noticed),
        median(|round| round.list)
    );
}

/// In a machine that nobody else uses.
pub fn ten_services_beside_pitchfork(pitchfork: &Path) {
    let Some(world) = World::start("ten_services_beside_pitchfork") else { return };
    sh(&world.vps[0].machine, "[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd");
    let beside = Beside { world: &world, pitchfork, dir: world.home.join("ten") };
    beside.write();
    world.up();
    let mut work = start_work(&world);
    // Both are there before the first round.
    let mut server = programs::command(pitchfork, USER);
    let home = world.home.join("laptop");
    server.args(["supervisor", "run"]).env("HOME", &home).env("XDG_STATE_HOME", home.join("state"));
    server.env("XDG_CONFIG_HOME", home.join("config")).env("XDG_RUNTIME_DIR", home.join("run"));
    let log = world.home.join("pitchfork.log");
    let start = move || programs::start(server, &log).map_err(|error| error.to_string());
    let server = world.vps[0].machine.run(SOON, start).unwrap();
    let until = Instant::now() + LIMIT;
    while world.hop(&["services", "ls"]).status.code() != Some(0) {
        assert!(Instant::now() < until);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        if n % 2 == 0 {
            ours.push(beside.ours());
        }
        theirs.push(beside.theirs());
        if n % 2 == 1 {
            ours.push(beside.ours());
        }
    }
    told("hop", &ours);
    told("pitchfork", &theirs);
    beside.hop(&["up", "--wait", "-y"]);
    let agent = world.vps[0].agent.as_ref().unwrap().id();
    let kept = world.home.join("laptop/there/hopbox-agent/ten/services");
    let keepers = (0..SERVICES).map(|n| keeper_of(&kept.join(format!("s{n}/state.json"))));
    let parts = [vec![agent], vec![work.id()], keepers.collect()];
    let names = ["hop-agent serve", "hop-agent work", "hop-agent keep"];
    for (name, pids) in names.into_iter().zip(&parts) {
        println!("{name}: {} of {}, resident and proportional KiB", show(pids), pids.len());
    }
    println!("hop together: {}", show(&parts.concat()));
    beside.pitchfork(&["start", "--local"]);
    println!("pitchfork: {}", show(&[server.id()]));
    beside.pitchfork(&["stop", "--local"]);
    end(Some(server));
    beside.stop_ours(0);
    let _ = work.kill();
    let _ = work.wait();
}

fn show(pids: &[u32]) -> String {
    let [resident, share] = memory(pids);
    format!("{resident}, {share}")
}
