//! `hop selftest` as a user runs it: it passes, quickly, and leaves nothing behind, also when it
//! is interrupted or killed at any moment.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest a self test may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long the kernel may take to end the namespaces of a killed self test.
const GONE: Duration = Duration::from_secs(10);

/// One at a time: each looks at the whole machine before and after.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether this user may make namespaces; says so where not.
fn allowed(name: &str) -> bool {
    let tried = Command::new("unshare").args(["-n", "true"]).stderr(Stdio::null()).status();
    let allowed = tried.is_ok_and(|status| status.success());
    if !allowed {
        println!("SKIP {name}: needs root to make network namespaces");
    }
    allowed
}

/// Built with the test, where the other programs of the workspace are.
const SELFTEST: &str = env!("CARGO_BIN_EXE_hop-selftest");

fn program(name: &str) -> PathBuf {
    let path = Path::new(SELFTEST).with_file_name(name);
    assert!(path.is_file(), "{} is missing: cargo build --workspace", path.display());
    path
}

fn hop() -> Command {
    program("hop-agent");
    program("hop-helper");
    let mut command = Command::new(program("hop"));
    command.stdin(Stdio::null());
    command
}

/// What a self test could leave on this machine.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    interfaces: BTreeSet<String>,
    routes: String,
    named_spaces: BTreeSet<PathBuf>,
    mounts: String,
    hosts: Vec<u8>,
    scratch: BTreeSet<PathBuf>,
    processes: BTreeSet<String>,
}

impl Machine {
    fn look() -> Machine {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            interfaces: names(Path::new("/sys/class/net"))
                .into_iter()
                .map(|path| path.display().to_string())
                .collect(),
            routes: text("/proc/self/net/route"),
            named_spaces: names(Path::new("/run/netns")),
            mounts: text("/proc/self/mounts"),
            hosts: fs::read("/etc/hosts").unwrap_or_default(),
            scratch: ["/run/hopbox", "/etc/hopbox", "/tmp/bin", "/tmp/laptop", "/tmp/agent.log"]
                .into_iter()
                .map(PathBuf::from)
                .filter(|path| path.exists())
                .collect(),
            processes: processes(),
        }
    }

    /// Compares with the machine as it was; processes may take a moment to end.
    fn assert_same(&self, what: &str) {
        let end = Instant::now() + GONE;
        loop {
            let now = Machine::look();
            if now == *self {
                return;
            }
            assert!(Instant::now() < end, "{what} left something:\n{self:#?}\n{now:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn names(dir: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Processes of ours by program and process number. Other programs of this machine come and go.
fn processes() -> BTreeSet<String> {
    let mut ours = BTreeSet::new();
    for path in names(Path::new("/proc")) {
        let Ok(line) = fs::read_to_string(path.join("cmdline")) else { continue };
        let Ok(program) = fs::read_link(path.join("exe")) else { continue };
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let self_test = line.contains("selftest") || program.starts_with("/tmp/bin");
        if self_test && name.trim_end_matches(" (deleted)").starts_with("hop") {
            ours.insert(format!("{} {line:?}", path.display()));
        }
    }
    ours
}

fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("the self test took more than {} s", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn send(signal: &str, child: &Child) {
    let pid = child.id().to_string();
    let _ = Command::new("kill").args(["-s", signal, pid.as_str()]).stderr(Stdio::null()).status();
}

#[test]
fn passes_quickly_and_leaves_nothing() {
    if !allowed("passes_quickly_and_leaves_nothing") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(|poison| poison.into_inner());
    let before = Machine::look();
    let began = Instant::now();
    let output = hop().args(["selftest", "-v", "--json"]).output().unwrap();
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}\n{said}", output.status);
    assert!(took < LIMIT, "took {took:?}\n{said}");
    before.assert_same("the self test");

    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["schema"], "hopbox.selftest/1");
    for figure in ["handshake_us", "usable_us", "ping_median_us", "to_vps_bytes_per_s"] {
        assert!(answer["data"][figure].as_u64().is_some_and(|value| value > 0), "{answer}");
    }
    let steps = [
        "tunnel device hopbox0",
        "handshake",
        "agent",
        "mybox.hop → 10.10.0.2",
        "ping",
        "kill -9",
        "hop down",
        "nothing left",
    ];
    for step in steps {
        assert!(said.contains(step), "no {step:?} in:\n{said}");
    }
}

#[test]
fn leaves_nothing_when_stopped_at_any_moment() {
    if !allowed("leaves_nothing_when_stopped_at_any_moment") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(|poison| poison.into_inner());
    let before = Machine::look();
    // Most of what can be left is made in the first moments; the rest is spread over the run.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..15 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let below_ms = [30, 90, 250, 5000][round % 4];
        let moment = Duration::from_millis(seed % below_ms);
        let signal = ["INT", "TERM", "KILL"][round % 3];
        let what = format!("round {round}: SIG{signal} after {moment:?}");
        let mut child =
            hop().arg("selftest").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(moment);
        send(signal, &child);
        let status = wait(&mut child);
        // Before it listens, a signal ends it directly; and it may have passed before.
        let number =
            [("INT", 2), ("TERM", 15), ("KILL", 9)].iter().find(|(name, _)| *name == signal);
        let fits = match status.code() {
            Some(code) => code == 130 && signal != "KILL" || code == 0,
            None => status.signal() == number.map(|(_, number)| *number),
        };
        assert!(fits, "{what}: {status:?}");
        before.assert_same(&what);
    }
}

/// Becomes another user, who finds /dev/net/tun as distributions have it: open to all.
const AS_USER: &str = "mknod -m 666 $0/tun c 10 200 && mount --bind $0/tun /dev/net/tun && \
                       exec setpriv --reuid 4242 --regid 4242 --clear-groups env HOME=$0 $@";

/// Nobody needs root for it where users may make user namespaces.
#[test]
fn passes_for_a_user_without_root() {
    if !allowed("passes_for_a_user_without_root") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(|poison| poison.into_inner());
    // Where every user can read them.
    let dir = std::env::temp_dir().join(format!("hopbox-user-{}", std::process::id()));
    let run = |words: &[&str]| {
        fs::create_dir_all(&dir).unwrap();
        for name in ["hop", "hop-agent", "hop-helper", "hop-selftest"] {
            fs::copy(program(name), dir.join(name)).unwrap();
        }
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", AS_USER]).arg(&dir).args(words).stdin(Stdio::null());
        let output = command.output().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        output
    };
    if !run(&["unshare", "-Urn", "true"]).status.success() {
        return println!("SKIP passes_for_a_user_without_root: users may not make user namespaces");
    }
    let output = run(&[dir.join("hop").to_str().unwrap(), "selftest", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn says_what_is_missing() {
    let _alone = ALONE.lock().unwrap_or_else(|poison| poison.into_inner());
    let dir = std::env::temp_dir().join(format!("hopbox-lonely-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let lonely = dir.join("hop");
    let said = |next: &str| {
        let output = Command::new(&lonely).arg("selftest").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.ends_with(next)), (Some(4), true), "{said}");
        said
    };
    fs::copy(program("hop"), &lonely).unwrap();
    let first = said("fix: make && sudo make install\n");
    assert!(first.contains("hop-selftest is not installed"), "{first}");
    fs::copy(SELFTEST, dir.join("hop-selftest")).unwrap();
    let second = said("fix: make && sudo make install\n");
    assert!(second.contains("hop-agent is not installed"), "{second}");
    fs::remove_dir_all(&dir).unwrap();
}

/// It says where it belongs, and its parts are no commands of hop's.
#[test]
fn is_started_by_hop_alone() {
    let _alone = ALONE.lock().unwrap_or_else(|poison| poison.into_inner());
    for words in [&[][..], &["--json"], &["/usr/bin/hop"], &["/usr/bin/hop", "outsid"]] {
        let output = Command::new(SELFTEST).args(words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("hop selftest"), "{words:?}");
    }
    let output = hop().arg("selftest-inside").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
