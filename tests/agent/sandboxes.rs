//! What listens in network namespaces of the login's own, made by real programs, and what such a
//! namespace could do to whoever looks into it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hopbox::agent::work::sandbox;
use hopbox::rpc::method::PortsWatch;
use hopbox::rpc::types::Nothing;
use hopbox::rpc::types::ports::PortEvent;
use hopbox::session::ports::probe::probe;
use hopbox::session::ports::view::PortState;
use hopbox::sys::process;

use super::work::Worker;

const AGENT: &str = env!("CARGO_BIN_EXE_hop-agent");
/// Debian's own, which every user may run.
const PYTHON: &str = "/usr/bin/python3";
const UP: &str = "ip link set lo up && exec";

/// A program with all that it started.
struct Group(Child);

impl Group {
    fn start(program: &str, words: &[&str], user: Option<u32>) -> Group {
        let mut command = Command::new(program);
        command.args(words).process_group(0).current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        Group(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    /// A shell line in a network namespace of its own.
    fn apart(line: &str) -> Group {
        Group::start("unshare", &["-Urn", "sh", "-c", line], None)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn pages(port: u16, at: &str) -> String {
    format!("{PYTHON} -u -m http.server {port} -b {at}")
}

fn is_seen(port: u16) -> bool {
    sandbox::listeners_by(Path::new(AGENT)).iter().any(|one| one.listener.port == port)
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = sandbox::connect_by(Path::new(AGENT), port)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// That whoever listens there answers.
fn page(port: u16) -> String {
    let mut stream = eventually("a connection", || connect(port).ok());
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn dial(pid: u32, space: u64, to: &str) -> bool {
    let words = ["dial".to_owned(), pid.to_string(), space.to_string(), to.to_owned()];
    let mut command = Command::new(AGENT);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Whether this test can be run here; says so if not.
fn can(programs: &[&str]) -> bool {
    let is_there = |program: &&&str| {
        let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        !paths.split(':').any(|dir| Path::new(dir).join(program).exists())
    };
    let missing: Vec<_> = programs.iter().filter(is_there).collect();
    let works =
        || Command::new("unshare").args(["-Urn", "true"]).status().is_ok_and(|s| s.success());
    let can = missing.is_empty() && works();
    if !can {
        println!("SKIP: no {missing:?}, or no user namespaces");
    }
    can
}

#[test]
fn servers_in_sandboxes_of_ones_own_are_seen_and_reached() {
    if !can(&["unshare", "ip", "bwrap", PYTHON]) {
        return;
    }
    let first = Group::apart(&format!("{UP} {}", pages(18_123, "127.0.0.1")));
    let server = pages(18_124, "::");
    // Root's would have none of its own.
    let mut words = vec!["--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "--dev", "/dev"];
    words.extend(server.split(' '));
    let _second = Group::start("bwrap", &words, None);
    for port in [18_123, 18_124] {
        eventually("it is seen", || is_seen(port).then_some(()));
        assert!(page(port).contains("Directory listing"), "{port}");
    }
    // From here it is not there, and neither is what nobody has.
    assert!(TcpStream::connect(("127.0.0.1", 18_123)).is_err());
    assert_eq!(connect(18_125).map(drop).map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    // It goes away in the middle of a connection.
    let mut held = connect(18_123).unwrap();
    held.write_all(b"GET / HTTP/1.0\r\n").unwrap();
    drop(first);
    let ended = held
        .read(&mut [0; 100])
        .map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |count| count == 0);
    assert!(ended);
    // What is remembered is looked at again.
    let refused = connect(18_123).map(drop).map_err(|e| e.kind());
    assert!(matches!(refused, Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused)));
    eventually("it is gone", || (!is_seen(18_123)).then_some(()));
    // The port comes back, at another address, in another sandbox.
    let _again = Group::apart(&format!("{UP} {}", pages(18_123, "::1")));
    eventually("it is seen again", || is_seen(18_123).then_some(()));
    assert!(page(18_123).contains("Directory listing"));
}

#[test]
fn namespaces_of_others_and_of_the_system_are_refused() {
    if !process::is_root() || !can(&["unshare", "ip", PYTHON]) {
        println!("SKIP: needs root");
        return;
    }
    // Another user's sandbox, and one that the system made and this user's program runs in.
    let line = |port| format!("{UP} {}", pages(port, "127.0.0.1"));
    let other = Group::start("unshare", &["-Urn", "sh", "-c", &line(18_133)], Some(65_534));
    let system = Group::start("unshare", &["-n", "sh", "-c", &line(18_134)], None);
    let own = Group::apart(&line(18_135));
    eventually("one's own is seen", || is_seen(18_135).then_some(()));
    let number = |group: &Group| {
        let link = format!("/proc/{}/ns/net", group.0.id());
        let text = std::fs::read_link(link).unwrap().to_string_lossy().into_owned();
        text.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap()
    };
    eventually("they are in there", || {
        let home = std::fs::metadata("/proc/self/ns/net").unwrap();
        let home = std::os::unix::fs::MetadataExt::ino(&home);
        [&other, &system].iter().all(|group| number(group) != home).then_some(())
    });
    std::thread::sleep(Duration::from_millis(1500));
    for (port, group) in [(18_133, &other), (18_134, &system)] {
        assert!(!is_seen(port), "{port}");
        assert_eq!(connect(port).map(drop).map_err(|e| e.kind()), Err(ErrorKind::NotFound));
        // Nor does the child, whatever it is told.
        assert!(!dial(group.0.id(), number(group), &format!("127.0.0.1:{port}")));
    }
    let (pid, space) = (own.0.id(), number(&own));
    assert!(!dial(pid, space + 1, "127.0.0.1:18135"), "another namespace than was meant");
    assert!(!dial(pid, space, "192.0.2.1:18135"), "not on loopback");
    assert!(!dial(1, number(&system), "127.0.0.1:18134"));
}

/// Listens at one port after another, at each line that it is told, and accepts at each second.
const LATE: &str = r#"
import socket, sys, threading
all, port = [], int(sys.argv[1])
def accept(s):
    while True:
        all.append(s.accept())
for n in range(20):
    if n: sys.stdin.readline()
    s = socket.socket(); s.bind(("127.0.0.1", port + n)); s.listen(8)
    if n % 2: threading.Thread(target=accept, args=(s,), daemon=True).start()
    all.append(s)
    print(flush=True)
sys.stdin.readline()
"#;

/// One that is seen between two looks at all processes, and ports that follow in it; and whether a
/// program in there takes connections.
#[test]
fn what_listens_in_a_sandbox_is_told_of_soon() {
    if !can(&["unshare", "ip", PYTHON]) {
        return;
    }
    let worker = Worker::running("sandboxed");
    let soon = Duration::from_secs(30);
    let mut events = worker.client().open(PortsWatch, &Nothing, soon).unwrap();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for start in [18_200, 18_230, 18_260] {
        let line = format!("{UP} {PYTHON} -c '{LATE}' {start}");
        let mut command = Command::new("unshare");
        command.args(["-Urn", "sh", "-c", &line]).process_group(0).stdin(Stdio::piped());
        let mut sandbox = Group(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut tells = sandbox.0.stdin.take().unwrap();
        let mut said = std::io::BufReader::new(sandbox.0.stdout.take().unwrap());
        for port in start..start + 20 {
            if port > start {
                tells.write_all(b"\n").unwrap();
            }
            std::io::BufRead::read_line(&mut said, &mut String::new()).unwrap();
            let began = Instant::now();
            while !matches!(events.next_event().unwrap().unwrap(),
                PortEvent::Listens(view) if view.port == port && view.owner.is_sandboxed)
            {
            }
            if port == start { &mut first } else { &mut later }.push(began.elapsed());
        }
        let ports = [start, start + 1];
        let mut states = probe(&worker.client(), &ports);
        states.sort_by_key(|(port, _)| *port);
        assert_eq!(states, [(start, PortState::Hung), (start + 1, PortState::Ready)]);
    }
    first.sort();
    later.sort();
    let at = |share: usize| later[(later.len() - 1) * share / 100].as_millis();
    println!(
        "NOTE in a sandbox that is known: p50 {} ms, p95 {} ms; new: {first:?}",
        at(50),
        at(95)
    );
    assert!(at(50) < 2000, "{later:?}");
}

/// Looks, from within, for whoever has come in, and at what it could be made to show. The process
/// that sleeps is one that may be looked at.
const SPY: &str = r#"
import os, socket, subprocess, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 18143)); s.listen(0)
full = [socket.socket() for _ in range(4)]
for one in full:
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", 18143))
sleeper = subprocess.Popen(["sleep", "60"])
def look(pid):
    found = []
    ways = {"root": os.listdir, "environ": lambda path: open(path).read(),
            "fd/0": os.readlink, "ns/net": os.readlink}
    for name, way in ways.items():
        try:
            way("/proc/%d/%s" % (pid, name))
            found.append(name)
        except OSError: pass
    return found
print("own", *look(sleeper.pid), flush=True)
until = time.time() + 30
while time.time() < until:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: line = open("/proc/%s/cmdline" % pid).read()
        except OSError: continue
        if "\0dial\0" in line and "18143" in line:
            found = look(int(pid))
            time.sleep(0.3)
            print("came", *(found + look(int(pid))), flush=True)
            time.sleep(60)
"#;

#[test]
fn who_comes_into_a_sandbox_shows_it_nothing() {
    if !can(&["unshare", "ip", PYTHON]) {
        return;
    }
    let mut sandbox = Group::apart(&format!("{UP} {PYTHON} -c '{SPY}'"));
    let mut said = std::io::BufReader::new(sandbox.0.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        line.trim().to_owned()
    };
    assert_eq!(line(), "own root environ fd/0 ns/net", "what may be looked at is");
    eventually("it is seen", || is_seen(18_143).then_some(()));
    let began = Instant::now();
    // Its queue is full, so whoever comes stays for a while, and not for longer.
    let late = connect(18_143).map(drop).map_err(|e| e.kind());
    assert_eq!(late, Err(ErrorKind::TimedOut));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(line(), "came", "nothing of it");
}
