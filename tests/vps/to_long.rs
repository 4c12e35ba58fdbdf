//! `hop to` where that takes minutes, by `make moves`: a network that is away for long, machines
//! that are booted in the middle of it, and gigabytes of data with the time without service told.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::containers;
use super::lab;
use super::machine::Machine;
use super::site::{admit, equip};
use super::to_broken::{LINE, SOON, Two, hop, kill, runs, until};

#[test]
fn minutes_without_a_network() {
    if !lab::is_long() {
        return eprintln!("SKIP minutes_without_a_network: make moves");
    }
    lab::inside("to_long::minutes_without_a_network", || {
        let mut two = Two::new();
        // A minute, while services run: nobody needs to know.
        two.old.ok_as("dev", "head -c 30M /dev/urandom >/srv/app/data/large");
        let said = two.at("copy", |two| {
            for device in ["to-old", "to-new"] {
                two.link(device, "down");
            }
            thread::sleep(Duration::from_secs(60));
            assert!(runs(&two.old));
            for device in ["to-old", "to-new"] {
                two.link(device, "up");
            }
            // TCP asks again after about as long as it was away.
            two.until_at("copy_rest", None);
            kill(&two.old, "hop-agent hop-agent-work");
        });
        two.goes_back(&said, &["not all of it got to new"]);
        // Longer than anybody waits, while they do not: the old host goes on, and says so as soon
        // as it is asked.
        for device in ["to-old", "to-new"] {
            let mut began = Instant::now();
            let said = two.at("copy_rest", |two| {
                began = Instant::now();
                two.link(device, "down");
            });
            assert!(said.code != 0 && said.err.contains("fix: hop to new"), "{said}");
            assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
            until("running on old", SOON, || runs(&two.old));
            two.link(device, "up");
        }
        let said = two.at("copy_rest", |two| {
            two.new.power_cut();
            two.cable_new();
        });
        two.goes_back(&said, &["not all of it got to new", "app runs on old again"]);
        let said = hop(&two.laptop, LINE);
        assert_eq!(said.code, 0, "{said}");
        two.has_all();
    });
}

/// As somebody does it who does not know that a move is going on: in its first pass, and in its
/// last, of either machine.
#[test]
fn machines_are_booted_in_the_middle() {
    if !lab::is_long() {
        return eprintln!("SKIP machines_are_booted_in_the_middle: make moves");
    }
    lab::inside("to_long::machines_are_booted_in_the_middle", || {
        let mut two = Two::new();
        two.old.ok_as("dev", "head -c 30M /dev/urandom >/srv/app/data/large");
        for step in ["copy", "copy_rest"] {
            let said = two.at(step, |two| {
                until_data_flows(two);
                two.old.reboot();
                two.cable_old();
            });
            two.goes_back(&said, &["not all of it got to new"]);
            let said = two.at(step, |two| {
                until_data_flows(two);
                two.new.reboot();
                two.cable_new();
            });
            two.goes_back(&said, &["not all of it got to new"]);
        }
        let said = hop(&two.laptop, LINE);
        assert_eq!(said.code, 0, "{said}");
        two.has_all();
    });
}

/// Whoever is not reached yet is waited for.
fn until_data_flows(two: &Two) {
    let sent = || -> u64 {
        let count = two.laptop.ok("cat /sys/class/net/to-new/statistics/tx_bytes");
        count.trim().parse().unwrap()
    };
    let before = sent();
    until("sending", SOON, || sent() > before + (1 << 20));
}

/// In their order, as the journal has them.
const STEPS: [&str; 9] =
    ["prepare", "copy", "pause", "copy_rest", "verify", "leave", "place", "start", "switch"];

/// Of either host, as each step begins: whatever became of it, once more is enough, and back again.
#[test]
fn agents_are_killed_at_every_step() {
    if !lab::is_long() {
        return eprintln!("SKIP agents_are_killed_at_every_step: make moves");
    }
    lab::inside("to_long::agents_are_killed_at_every_step", || {
        let two = Two::new();
        for (number, step) in STEPS.iter().enumerate() {
            for machine in [&two.old, &two.new] {
                let since = two.written();
                let command = two.laptop.begun("dev", &format!("cd app && hop {LINE}"));
                until(step, SOON, || {
                    let at = two.written().filter(|at| Some(*at) != since).and_then(|_| two.step());
                    let position = |at: &str| STEPS.iter().position(|it| *it == at);
                    // It has none any more once it has moved.
                    at.is_some_and(|at| at.is_empty() || position(&at) >= Some(number))
                });
                kill(machine, "hop-agent hop-agent-work");
                let said = command.end(|| two.never_both());
                let words = format!("{} killed at {step}", machine.name);
                eprintln!("NOTE {words}: {}", said.code);
                if said.code != 0 {
                    assert!(said.code != 101 && said.err.contains("\nfix: "), "{words}: {said}");
                    let again = hop(&two.laptop, LINE);
                    assert_eq!(again.code, 0, "{words}: {said}\nand then: {again}");
                }
                two.has_all();
                let back = hop(&two.laptop, "to new --rollback --confirm=new");
                assert_eq!(back.code, 0, "{words}: {back}");
                until("running on old", SOON, || runs(&two.old));
                assert!(!runs(&two.new), "{words}");
            }
        }
    });
}

/// Its daemon is root's, and so is what its containers write; the login may ask it, by its group.
#[test]
fn a_container_of_docker_moves() {
    if !lab::is_long() {
        return eprintln!("SKIP a_container_of_docker_moves: make moves");
    }
    lab::inside("to_long::a_container_of_docker_moves", || {
        let Two { laptop, old, new } = Two::prepared(|machine| {
            machine.ok("usermod -aG docker dev");
            machine.ok(DOCKERD);
        });
        for machine in [&old, &new] {
            containers::image(machine, "docker import");
        }
        let docker = "docker ps -q | wc -l";
        laptop.ok_as("dev", &format!("mkdir boxed && cat >boxed/hopbox.yaml <<'END'\n{DOCKED}END"));
        let hop = |line: &str| laptop.sh_as("dev", &format!("cd boxed && hop {line}"));
        let up = hop("up old -y --wait");
        assert_eq!(up.code, 0, "{up}");
        until("mine", SOON, || old.path("/home/dev/boxed/mine").exists());
        assert_eq!(old.ok_as("dev", docker), "1\n");
        let dry = hop("to new -H old --dry-run");
        assert!(dry.code == 0 && dry.out.contains("1 of them are others' (uid 0; gid 0)"), "{dry}");
        let said = hop("-y to new -H old");
        assert_eq!(said.code, 0, "{said}");
        assert_eq!(new.ok_as("dev", "stat -c %U boxed/mine; wc -l <boxed/mine"), "dev\n2\n");
        assert_eq!([&old, &new].map(|machine| machine.ok_as("dev", docker)), ["0\n", "1\n"]);
        // And back, where its container is as it was.
        let said = hop("to new --rollback --confirm=new");
        assert_eq!(said.code, 0, "{said}");
        assert_eq!([&old, &new].map(|machine| machine.ok_as("dev", docker)), ["1\n", "0\n"]);
        until("begun again", SOON, || old.ok_as("dev", "wc -l <boxed/mine") == "2\n");
    });
}

/// With a hierarchy of groups for itself, as those of a machine like this cannot be written to.
const DOCKERD: &str = "systemd-run -q --unit dockerd -p PrivateMounts=yes -p Delegate=yes sh -c \
    'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; \
    exec dockerd -G docker --storage-driver vfs'; \
    for i in $(seq 300); do docker version >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1";
const DOCKED: &str = r#"
name: boxed
services:
  web:
    type: container
    image: "box:1"
    command: [sh, -c, 'trap exit TERM; echo begun >>/data/mine; while :; do sleep 0.05; done']
    data: [{host: "~/boxed", container: /data}]
"#;

/// As it ends it changes 100 MiB of what it has, in as many files as are said.
const MANIFEST: &str = r#"
name: large
services:
  db:
    type: native
    stop_timeout: 60s
    command: 'cd /srv/disk/data; trap "sh /srv/disk/change; exit" TERM; while :; do sleep 0.05; done'
    data: [{host: /srv/disk/data}]
"#;
const SEGMENTS: u64 = 16;

/// Of `HOP_MOVES_GIB` (2) in 16 files, of which `HOP_MOVES_FILES` (2) are changed in the pause.
#[test]
fn what_large_data_takes() {
    if !lab::is_long() {
        return eprintln!("SKIP what_large_data_takes: make moves");
    }
    lab::inside("to_long::what_large_data_takes", || {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let gib = number("HOP_MOVES_GIB").unwrap_or(2);
        let changed = number("HOP_MOVES_FILES").unwrap_or(2).clamp(1, SEGMENTS);
        let _disk = Disk::new(["old", "new"]);
        let [laptop, old, new] = Machine::boot(["laptop", "old", "new"]);
        laptop.cable("198.51.100.1/24", &old, "198.51.100.2/24");
        laptop.cable("203.0.113.1/24", &new, "203.0.113.2/24");
        equip(&laptop);
        admit(&laptop);
        for machine in [&old, &new] {
            machine.ok("chown dev:dev /srv/disk");
        }
        let (mib, each) = (gib * 1024 / SEGMENTS, 100 / changed);
        old.ok_as(
            "dev",
            &format!(
                "cd /srv/disk && mkdir data && for n in $(seq {SEGMENTS}); do \
                 head -c {mib}M /dev/urandom >data/$n; done; cat >change <<'END'\n\
                 for n in $(seq {changed}); do for at in $(seq {each}); do \
                 dd if=/dev/urandom of=data/$n bs=1M count=1 conv=notrunc status=none \
                 seek=$((at * {mib} / {each} - 1)); done; done\nEND"
            ),
        );
        laptop.ok_as("dev", &format!("mkdir app && cat >app/hopbox.yaml <<'END'\n{MANIFEST}END"));
        laptop.ok_as("dev", "hop setup old -a 198.51.100.2 && hop host default old");
        laptop.ok_as("dev", "hop setup new -a 203.0.113.2 && cd app && hop up old -y --wait");
        let said = laptop.sh_as("dev", "cd app && hop --json -y to new");
        assert_eq!(said.code, 0, "{said}");
        let told: Value = serde_json::from_str(&said.out).unwrap();
        eprintln!(
            "NOTE {gib} GiB, {each} MiB changed in each of {changed} files: without service {} ms, \
             all of it {} ms",
            told["data"]["without_service_ms"], told["data"]["took_ms"]
        );
        let digest = "cd /srv/disk/data && sha256sum * | sha256sum";
        assert_eq!(new.ok_as("dev", digest), old.ok_as("dev", digest));
    });
}

/// A directory of this machine's disk for each, at /srv/disk: so much does not fit in memory. See
/// boot.sh.
struct Disk(PathBuf);

impl Disk {
    fn new<const N: usize>(names: [&str; N]) -> Disk {
        let dir = PathBuf::from(lab::sh("mktemp -d /var/tmp/hopbox-moves-XXXXXX").trim());
        for name in names {
            let (on_disk, seen) = (dir.join(name), format!("{}/disk/{name}", lab::LAB));
            fs::create_dir_all(&on_disk).unwrap();
            lab::sh(&format!("mkdir -p {seen} && mount --bind {} {seen}", on_disk.display()));
        }
        Disk(dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
