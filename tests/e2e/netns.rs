//! Hosts for tests: a thread each, in a network and mount namespace of its own.
//!
//! The namespaces have no names, so they vanish with their processes, however those end. Programs
//! are started so that they die with the test.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// Tests that measure take the machine for themselves; all others share it.
static MACHINE: RwLock<()> = RwLock::new(());

/// One machine on the test's own network.
pub struct Host {
    name: &'static str,
    tid: i32,
    jobs: mpsc::Sender<Job>,
}

/// Why the tests of this folder cannot run here; `None` where they can. In CI root must be able to.
pub fn unable() -> Option<String> {
    let why = if !nix::unistd::geteuid().is_root() {
        "needs root".into()
    } else if !Path::new("/dev/net/tun").exists() {
        "needs /dev/net/tun".to_string()
    } else {
        let missing = ["ip", "nft", "wg", "wg-quick", "wireguard-go", "ping", "setpriv", "bash"]
            .into_iter()
            .filter(|c| !sh_ok(&format!("command -v {c}")))
            .collect::<Vec<_>>();
        if missing.is_empty() {
            return None;
        }
        format!("needs {}", missing.join(", "))
    };
    let root_in_ci = std::env::var_os("CI").is_some() && nix::unistd::geteuid().is_root();
    assert!(!root_in_ci, "in CI nothing that root can run is skipped: {why}");
    Some(why)
}

/// Returns from the calling test with a printed reason where it cannot run.
#[macro_export]
macro_rules! need_root {
    ($name:expr) => {
        if let Some(why) = $crate::netns::unable() {
            println!("SKIP {}: {why}", $name);
            return;
        }
        let _machine = $crate::netns::shared();
    };
}

/// Like [`need_root`], with no other test of this program beside this one.
#[macro_export]
macro_rules! need_machine {
    ($name:expr) => {
        if let Some(why) = $crate::netns::unable() {
            println!("SKIP {}: {why}", $name);
            return;
        }
        let _machine = $crate::netns::alone();
    };
}

pub fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

fn sh_ok(script: &str) -> bool {
    Command::new("sh")
        .args(["-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

impl Host {
    pub fn new(name: &'static str) -> Host {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                enter().unwrap_or_else(|e| panic!("{name}: no namespaces: {e}"));
                ready.send(nix::unistd::gettid().as_raw()).unwrap();
                for job in inbox {
                    job();
                }
            })
            .unwrap();
        let tid = started.recv_timeout(Duration::from_secs(5)).expect("host thread started");
        let host = Host { name, tid, jobs };
        host.sh("ip link set lo up");
        host
    }

    /// Joins two hosts by a veth pair: `wan` on both sides.
    pub fn join(&self, other: &Host) {
        self.join_as("wan", other, "wan");
    }

    /// Joins two hosts by a veth pair with these names, without duplicate address detection.
    pub fn join_as(&self, mine: &str, other: &Host, theirs: &str) {
        self.sh(&format!(
            "ip link add {mine} type veth peer name {theirs} netns {} && {}",
            other.tid,
            up(mine)
        ));
        other.sh(&up(theirs));
    }

    /// Moves an interface to another host; the program behind it stays.
    pub fn move_link(&self, link: &str, other: &Host) {
        self.sh(&format!("ip link set {link} netns {}", other.tid));
    }

    /// Loads a ruleset of nft(8), which wants a new line before a second closing brace.
    pub fn nft(&self, rules: &str) {
        let rules = rules.replace("; } }", ";\n}\n}");
        self.run(move || std::fs::write("/run/rules.nft", rules)).unwrap();
        self.sh("nft -f /run/rules.nft");
    }

    /// Packets that the named counter of table `inet t` has seen.
    pub fn counted(&self, counter: &str) -> u64 {
        self.counter(counter, "packets")
    }

    /// Bytes of them, with their IP headers.
    pub fn counted_bytes(&self, counter: &str) -> u64 {
        self.counter(counter, "bytes")
    }

    fn counter(&self, name: &str, unit: &str) -> u64 {
        let text = self.sh(&format!("nft list counter inet t {name}"));
        let mut words = text.split_whitespace().skip_while(|w| *w != unit).skip(1);
        words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    }

    /// `count` pings in quick succession, each answered.
    pub fn ping(&self, count: u32, to: &str) {
        self.sh(&format!("ping -n -q -c {count} -i 0.02 -W 2 {to}"));
    }

    /// One ping that is not answered; what ping(8) says.
    pub fn no_ping(&self, to: &str) -> String {
        let said = self.try_sh(&format!("ping -n -c 1 -W 1 {to}"));
        said.err().unwrap_or_else(|| panic!("{}: {to} must not answer", self.name))
    }

    /// Runs `job` on this host.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (out, result) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(out.send(job())))).expect("host thread lives");
        result.recv_timeout(Duration::from_secs(60)).expect("job finished within a minute")
    }

    /// Runs a script; its output, or its failure as a panic.
    pub fn sh(&self, script: &str) -> String {
        self.try_sh(script).unwrap_or_else(|e| panic!("{}: {script}\n{e}", self.name))
    }

    /// Runs a script; output or error text.
    pub fn try_sh(&self, script: &str) -> Result<String, String> {
        let line = script.to_string();
        self.run(move || {
            let out = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            if out.status.success() {
                Ok(text(&out.stdout))
            } else {
                Err(format!("{}{}", text(&out.stdout), text(&out.stderr)))
            }
        })
    }

    /// Starts a program that lives as long as the returned value.
    pub fn spawn(&self, program: &[&str]) -> Running {
        let words: Vec<String> = program.iter().map(|s| s.to_string()).collect();
        let child = self.run(move || {
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--"])
                .args(&words)
                .env("WG_PROCESS_FOREGROUND", "1")
                .env("LOG_LEVEL", "error")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        });
        Running(child.unwrap_or_else(|e| panic!("{}: {program:?}: {e}", self.name)))
    }

    /// Waits until `script` succeeds, five seconds at most.
    pub fn until(&self, script: &str) {
        let end = Instant::now() + Duration::from_secs(5);
        let mut last = String::new();
        while Instant::now() < end {
            match self.try_sh(script) {
                Ok(_) => return,
                Err(e) => last = e,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{}: never: {script}\n{last}", self.name);
    }
}

fn up(link: &str) -> String {
    format!("echo 0 >/proc/sys/net/ipv6/conf/{link}/accept_dad; ip link set {link} up")
}

fn enter() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    // The interfaces' own view, for `ip` and for /sys/class/net.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).or(Ok(()))
}

/// A started program; killed when dropped.
pub struct Running(Child);

impl Running {
    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("a live process");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends SIGTERM and waits: true if the program ended within two seconds.
    pub fn terminate(&mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        self.ended_within(Duration::from_secs(2))
    }

    pub fn ended_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if !self.is_running() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// What it wrote to standard error, once it has ended.
    pub fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(e) = self.0.stderr.as_mut() {
            let _ = e.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
