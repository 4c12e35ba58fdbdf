//! Namespaces for one test, and the programs run in them.

use hopbox::sys::process;
use hopbox_selftest::sys::namespace::{self, Space};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tests count threads and descriptors of this process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The program under test.
pub const HOP: &str = env!("CARGO_BIN_EXE_hop");

/// Run `test` in a thread with its own network and mounts (an empty /run); nothing of it is left
/// when it ends. Skipped, in print, for users who may not.
pub fn alone(test: impl FnOnce() + Send + 'static) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !process::is_root() || !Path::new("/dev/net/tun").exists() {
        println!("SKIP: needs root and /dev/net/tun");
        return;
    }
    let inside = move || {
        namespace::unshare(&[Space::Net, Space::Mount]).expect("namespaces");
        namespace::make_private_recursive().expect("private mounts");
        namespace::mount_tmpfs(Path::new("/run"), 0o755).expect("an empty /run");
        ip("link set lo up");
        test();
    };
    std::thread::spawn(inside).join().expect("the test failed");
}

/// Whether the programs exist; prints SKIP if not.
pub fn have(programs: &[&str]) -> bool {
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = |p: &&&str| !paths.split(':').any(|d| Path::new(d).join(p).exists());
    let missing: Vec<_> = programs.iter().filter(found).collect();
    if !missing.is_empty() {
        println!("SKIP: not installed: {missing:?}");
    }
    missing.is_empty()
}

pub fn output(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output().expect("sh")
}

/// Standard output of a shell line that must succeed.
pub fn sh(line: &str) -> String {
    let o = output(line);
    assert!(o.status.success(), "{line}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).trim().to_owned()
}

pub fn ip(line: &str) -> String {
    sh(&format!("ip {line}"))
}

/// Wait until `condition` holds, at most 5 s.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < until, "not within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Another network namespace, beside the calling thread's.
pub struct Net {
    fd: OwnedFd,
}

impl Net {
    pub fn new() -> Net {
        let home = namespace::current_space(Space::Net).expect("ns");
        namespace::unshare(&[Space::Net]).expect("unshare");
        ip("link set lo up");
        let fd = namespace::current_space(Space::Net).expect("ns");
        namespace::setns(&home, Space::Net).expect("setns");
        Net { fd }
    }

    /// Run `work` in it.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let home = namespace::current_space(Space::Net).expect("ns");
        namespace::setns(&self.fd, Space::Net).expect("setns");
        let result = work();
        namespace::setns(&home, Space::Net).expect("setns");
        result
    }

    /// A path that ip(8) takes as the name of this namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }
}

/// A program that ends with the test.
pub struct Running(pub Child);

impl Running {
    pub fn start(program: &str, args: &[&str]) -> Running {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("LOG_LEVEL", "error").env_remove("WG_PROCESS_FOREGROUND");
        Running(command.spawn().expect(program))
    }

    /// Its exit code, once it ends by itself (at most 5 s).
    pub fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the program ends", || {
            status = self.0.try_wait().expect("wait");
            status.is_some()
        });
        status.and_then(|s| s.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
