//! Ports of the server that answer on the laptop: where, for how long, and what happens to those
//! who use them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::session::ports::client;
use hopbox::session::ports::view::{MirrorView, PortChange, PortState, WhyNot};
use hopbox::sys::signal::{Kind, send};
use hopbox_selftest::files;
use hopbox_selftest::machine::SOON;

use super::shared;
use super::world::*;

/// Says back what it hears, at each of `address-port`, and ends each way when the other has.
const ECHO: &str = r#"
import socket, sys, threading
def one(c):
    try:
        while b := c.recv(65536):
            c.sendall(b)
        c.shutdown(socket.SHUT_WR)
    except OSError:
        pass # it was reset
    c.close()
def run(s):
    while True:
        c, _ = s.accept()
        threading.Thread(target=one, args=(c,), daemon=True).start()
for place in sys.argv[1:]:
    at, port = place.split('-')
    s = socket.socket(socket.AF_INET6 if ':' in at else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((at, int(port)))
    s.listen(128)
    threading.Thread(target=run, args=(s,), daemon=True).start()
print('ready', flush=True)
threading.Event().wait()
"#;

/// On the server, with the login's rights; ready when this returns.
pub fn server(world: &World, places: &[&str]) -> Child {
    server_of(world, 0, places)
}

/// The same on another one.
pub fn server_of(world: &World, n: usize, places: &[&str]) -> Child {
    let mut command = world.command(Path::new("python3"), &["-c", ECHO]);
    command.args(places).stderr(Stdio::inherit());
    let start = move || command.spawn().map_err(|error| error.to_string());
    let mut child = world.vps[n].machine.run(SOON, start).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// What is said back at a place on the laptop.
pub fn echo(world: &World, at: String) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let ask = move || {
        let mut stream = TcpStream::connect(&at).map_err(text)?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
        stream.write_all(at.as_bytes()).map_err(text)?;
        stream.shutdown(Shutdown::Write).map_err(text)?;
        let mut back = String::new();
        stream.read_to_string(&mut back).map_err(text)?;
        if back == at { Ok(()) } else { Err(format!("{back:?}")) }
    };
    world.laptop.run(LIMIT, ask)
}

pub fn answers(world: &World, port: u16) -> bool {
    ["127.0.0.1", "[::1]"].iter().all(|at| echo(world, format!("{at}:{port}")).is_ok())
}

pub fn wait_until(world: &World, what: &str, so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !so() {
        let views = views(world);
        assert!(began.elapsed() < LIMIT, "never {what}: {views:#?}\n{}", world.log());
        thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

pub fn views(world: &World) -> Vec<MirrorView> {
    let paths = world.paths.clone();
    // One that ends while it is asked is followed by another.
    let list = move || {
        let once = || client::list(&paths, files::HOST);
        once().or_else(|_| once()).map_err(|error| format!("{error:?}"))
    };
    world.laptop.run(LIMIT, list).map(|views| views.ports).unwrap_or_default()
}

pub fn view(world: &World, port: u16) -> Option<MirrorView> {
    views(world).into_iter().find(|view| view.port == port)
}

pub fn change(world: &World, what: PortChange) -> MirrorView {
    let paths = world.paths.clone();
    let ask =
        move || client::change(&paths, files::HOST, what).map_err(|error| format!("{error:?}"));
    world.laptop.run(LIMIT, ask).unwrap()
}

fn set_auto(world: &World, is_on: bool) {
    let paths = world.paths.clone();
    let ask =
        move || client::set_auto(&paths, files::HOST, is_on).map_err(|error| format!("{error:?}"));
    world.laptop.run(LIMIT, ask).unwrap();
}

/// The process whose first argument this is, of this world.
pub fn companion(world: &World, argument: &str) -> Option<u32> {
    let hosts = world.paths.hosts_dir().to_string_lossy().into_owned();
    let is_it = |pid: &u32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split('\0').skip(1).take(3).eq([argument, files::HOST, &hosts])
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it)
}

/// Somebody on the laptop who has a number at this address.
pub fn take(world: &World, at: &'static str) -> TcpListener {
    world.laptop.run(SOON, move || TcpListener::bind(at).map_err(|e| e.to_string())).unwrap()
}

/// Whether nobody listens at this number of the laptop's. Looked up, since whoever tries it by a
/// bind(2) has it for that moment, and another who wants it then does not get it.
pub fn is_free(world: &World, port: u16) -> bool {
    let look = move || {
        let of = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
        let text = of("tcp").and_then(|v4| Ok(v4 + &of("tcp6")?)).map_err(|e| e.to_string())?;
        let listens = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().take(4).collect();
            words.get(3) == Some(&"0A") && words[1].ends_with(&format!(":{port:04X}"))
        };
        Ok(!text.lines().any(listens))
    };
    world.laptop.run(SOON, look).unwrap()
}

/// Whether nobody else could have this number, though nobody listens at it.
fn is_kept(world: &World, port: u16) -> bool {
    let bind = move || Ok(TcpListener::bind(("127.0.0.1", port)).is_err());
    is_free(world, port) && world.laptop.run(SOON, bind).unwrap()
}

#[test]
fn what_listens_there_appears_here() {
    let _machine = shared();
    let Some(world) = World::start("what_listens_there_appears_here") else { return };
    let mut work = world.start_work(0);
    // Somebody here has one number at all addresses of one family, and another at ::1 alone.
    let (any, six) = (take(&world, "0.0.0.0:7102"), take(&world, "[::1]:7104"));
    let places = ["127.0.0.1-7100", "::1-7101", "0.0.0.0-7102", "127.0.0.1-7103", "::1-7104"];
    let first = server(&world, &places);
    world.up();
    let is_here = |port| view(&world, port).is_some_and(|it| it.local.is_some());
    wait_until(&world, "all", || (7100..7105).all(is_here));
    for port in [7100, 7101, 7103] {
        assert_eq!(view(&world, port).unwrap().local, Some(port));
        assert!(answers(&world, port), "{port}\n{}", world.log());
    }
    // Not 7103, which is another's own.
    for (port, moved) in [(7102, 7105), (7104, 7106)] {
        let view = view(&world, port).unwrap();
        assert_eq!(view.local, Some(moved));
        assert!(matches!(view.why_not, Some(WhyNot::Taken { .. })), "{view:?}");
        assert!(answers(&world, moved), "{moved}");
        let said = format!("port {port} of {} is at localhost:{moved}", files::HOST);
        assert_eq!(world.log().matches(&said).count(), 1, "{}", world.log());
    }
    drop((any, six));
    let second = outlives(&world, first, &places);
    killed(&world);
    as_wanted(&world);
    let mirror = companion(&world, "--ports").unwrap();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert!(!Path::new(&format!("/proc/{mirror}")).exists());
    assert!(is_free(&world, 7100));
    end(Some(second));
    let _ = (work.kill(), work.wait());
}

/// A server program that is restarted, and an agent.
fn outlives(world: &World, first: Child, places: &[&str]) -> Child {
    end(Some(first));
    wait_until(world, "gone", || view(world, 7100).is_some_and(|it| it.state == PortState::Gone));
    let began = Instant::now();
    let refused = echo(world, "127.0.0.1:7100".to_owned()).unwrap_err();
    assert!(refused.contains("refused"), "{refused} after {:?}", began.elapsed());
    assert!(is_kept(world, 7100) && is_kept(world, 7105), "they are kept");
    let again = server(world, places);
    wait_until(world, "back", || answers(world, 7100) && answers(world, 7105));
    assert_eq!(view(world, 7100).unwrap().state, PortState::Ready);
    again
}

/// `lsof -ti :7100 | xargs kill`: the tunnel stays, and so do the numbers.
fn killed(world: &World) {
    let (session, before) = (world.session(), companion(world, "--ports").unwrap());
    send(before, Kind::Kill).unwrap();
    let took = wait_until(world, "back", || {
        companion(world, "--ports").is_some_and(|pid| pid != before) && answers(world, 7100)
    });
    println!("the mirror is back {} ms after it was killed", took.as_millis());
    assert_eq!(world.session(), session);
    assert!(answers(world, 7105), "7102 is where it was");
    let log = world.log();
    assert!(log.contains("ports ended (signal: 9"), "{log}");
    assert_eq!(log.matches("is at localhost:7105").count(), 1, "said once: {log}");
}

fn as_wanted(world: &World) {
    let pinned = change(world, PortChange::Pin { port: 7100, local: Some(7200) });
    assert_eq!((pinned.local, pinned.is_pinned), (Some(7200), true));
    assert!(answers(world, 7200) && is_free(world, 7100));
    let excluded = change(world, PortChange::Exclude(7101));
    assert_eq!((excluded.local, excluded.why_not), (None, Some(WhyNot::Excluded)));
    assert!(is_free(world, 7101));
    set_auto(world, false);
    wait_until(world, "off", || is_free(world, 7103) && answers(world, 7200));
    set_auto(world, true);
    change(world, PortChange::Include(7101));
    change(world, PortChange::Unpin(7100));
    wait_until(world, "as before", || answers(world, 7100) && answers(world, 7101));
    assert!(is_free(world, 7200));
}
