//! Where the machines of one test live: the test runs again inside namespaces of its own, and
//! everything in them ends with it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};

/// Names the test that is to run inside; its presence says that this is inside.
const INSIDE: &str = "HOPBOX_LAB";
/// The prefix of the cgroups of its machines.
pub const CGROUP: &str = "HOPBOX_CGROUP";
/// Files of the machines, in memory.
pub const LAB: &str = "/run/lab";
/// For a whole test, boots included; and where `make moves` takes what it takes.
const LIMIT_S: &str = "300";
const LONG_LIMIT_S: &str = "7200";
const UNSHARE: [&str; 4] = ["-mnpf", "--mount-proc", "--kill-child", "--propagation=private"];
const TOOLS: [&str; 14] = [
    "ip",
    "systemd-nspawn",
    "sshd",
    "ssh",
    "ssh-keygen",
    "sudo",
    "openssl",
    "nft",
    "busybox",
    "strace",
    "wg-quick",
    "wireguard-go",
    "podman",
    "nginx",
];

/// Booting takes every core there is, and most of what follows waits.
const AT_A_TIME: usize = 2;
static SEATS: Seats = Seats { taken: Mutex::new(0), given_back: Condvar::new() };

struct Seats {
    taken: Mutex<usize>,
    given_back: Condvar,
}

/// A lab that may be there.
struct Seat;

impl Seat {
    fn take() -> Seat {
        let taken = SEATS.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = SEATS.given_back.wait_while(taken, |taken| *taken >= AT_A_TIME);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        Seat
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *SEATS.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        SEATS.given_back.notify_one();
    }
}

/// Runs `body` inside; outside, runs the test `name` again inside or says why it cannot.
pub fn inside(name: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == name) {
        prepare();
        return body();
    }
    if let Some(why) = unable() {
        let strict = is_root() && std::env::var_os("CI").is_some();
        assert!(!strict, "in CI nothing that root can run is skipped: {name}: {why}");
        return eprintln!("SKIP {name}: {why}");
    }
    let _seat = Seat::take();
    remove_abandoned();
    let cgroup = format!("hopbox-lab-{}-{}", std::process::id(), name.replace(':', "-"));
    let out = Command::new("timeout")
        .args(["-k", "5", if is_long() { LONG_LIMIT_S } else { LIMIT_S }, "unshare"])
        .args(UNSHARE)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, name)
        .env(CGROUP, &cgroup)
        .output()
        .unwrap();
    remove_cgroups(&cgroup);
    let said = String::from_utf8_lossy(&out.stdout);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    errors.lines().filter(|line| line.starts_with("NOTE ")).for_each(|line| eprintln!("{line}"));
}

/// What `make check` has no time for is wanted: see the Makefile's `moves`.
pub fn is_long() -> bool {
    std::env::var_os("HOP_MOVES").is_some()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

/// Why no machine can be booted here; `None` where it can.
fn unable() -> Option<String> {
    if !is_root() {
        return Some("needs root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".to_owned());
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        return Some("needs systemd".to_owned());
    }
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let there = |tool: &&str| dirs.iter().any(|dir| Path::new(dir).join(tool).exists());
    let missing = TOOLS.iter().find(|tool| !there(tool));
    missing.map(|tool| format!("needs {tool}"))
}

fn prepare() {
    sh("ip link set lo up && mount -t tmpfs -o mode=0755 tmpfs /run");
    // The machines' files grow in memory, not on disk.
    sh(&format!("mkdir {LAB} && ssh-keygen -q -t ed25519 -N '' -C lab -f {LAB}/key"));
    // In a fresh network namespace the control groups may be read-only or not mounted at all.
    sh("[ -e /sys/fs/cgroup/cgroup.procs ] || [ -e /sys/fs/cgroup/systemd/cgroup.procs ] || \
        mount -t cgroup2 none /sys/fs/cgroup");
}

/// A command of the lab itself, outside of all machines.
pub fn sh(script: &str) -> String {
    let out = Command::new("sh").args(["-euc", script]).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// What a run left that was killed itself.
fn remove_abandoned() {
    let of = |name: &str| name.strip_prefix("hopbox-lab-")?.split('-').next()?.parse::<u32>().ok();
    for tree in ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"] {
        for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
            let owner = entry.file_name().to_str().and_then(of);
            let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
            if let Some(pid) = owner.filter(gone) {
                remove_cgroups(&format!("hopbox-lab-{pid}"));
            }
        }
    }
}

/// What the containers left of their control groups, the deepest first.
fn remove_cgroups(prefix: &str) {
    let script = format!(
        "for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do \
         find $tree/{prefix}-* -depth -type d -exec rmdir {{}} \\; 2>/dev/null; done; true"
    );
    let _ = Command::new("sh").args(["-c", &script]).output();
}
