//! Server programs as they come: restarted at other addresses while they are connected, two at one
//! port, at addresses of every kind, started by others, stopped, and coming and going faster than
//! anybody can look.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use hopbox::sys::signal::{Kind, send};
use hopbox_selftest::files::{VPS_WAN, vps_ip};
use hopbox_selftest::machine::SOON;

use super::full;
use super::mirror::is_at;
use super::ports::{answers, echo, view, wait_until};
use super::real_ports::listed;
use super::world::*;

/// One line in, one out: a number. Whoever listens says back what it hears.
const ODD: &str = r#"
import os, socket, subprocess, sys, threading, time
all = {}
def one(c):
    try:
        while b := c.recv(65536):
            c.sendall(b)
        c.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    c.close()
def run(s):
    while True:
        try:
            c, _ = s.accept()
        except OSError:
            return s.close()
        threading.Thread(target=one, args=(c,), daemon=True).start()
def bound(at, port, *more):
    s = socket.socket(socket.AF_INET6 if ':' in at else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if 'shared' in more:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if ':' in at:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 'six' in more)
    s.bind((at, int(port)))
    s.listen(128)
    return s
def listen(at, port, *more):
    all[port] = bound(at, port, *more)
    threading.Thread(target=run, args=(all[port],), daemon=True).start()
    return 1
def close(port):
    all.pop(port).shutdown(socket.SHUT_RDWR)
    return 1
def child(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return pid
def pair(port):
    return [child(lambda: run(bound('127.0.0.1', port, 'shared'))) for _ in range(2)][0]
def passed(port):
    s = bound('127.0.0.1', port)
    pid = child(lambda: run(s))
    s.close()
    return pid
def activated(port):
    s = bound('127.0.0.1', port)
    def begin():
        while True:
            c, _ = s.accept()
            subprocess.Popen(['cat'], stdin=c, stdout=c, stderr=subprocess.DEVNULL)
            c.close()
    threading.Thread(target=begin, daemon=True).start()
    return 1
def flap(port, count):
    for _ in range(int(count)):
        s = bound('127.0.0.1', port)
        time.sleep(0.005)
        s.close()
        time.sleep(0.005)
    return 1
for line in sys.stdin:
    name, *words = line.split()
    try:
        said = globals()[name](*words)
    except OSError as error:
        said = -error.errno
    print(said, flush=True)
"#;

/// On the server, with what it started.
struct Odd(Child);

impl Odd {
    fn start(world: &World) -> Odd {
        let mut command = world.command(Path::new("python3"), &["-c", ODD]);
        command.stdin(Stdio::piped()).stderr(Stdio::inherit());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let start = move || command.spawn().map_err(|error| error.to_string());
        Odd(world.vps[0].machine.run(SOON, start).unwrap())
    }

    fn ask(&mut self, line: &str) -> u32 {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut said = String::new();
        let out = self.0.stdout.as_mut().unwrap();
        BufReader::with_capacity(1, out).read_line(&mut said).unwrap();
        said.trim().parse().unwrap_or_else(|_| panic!("{line}: error {said}"))
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        let _ = hopbox::sys::signal::send_group(self.0.id(), Kind::Kill);
        let _ = self.0.wait();
    }
}

/// A connection that stays.
struct Held(TcpStream);

impl Held {
    fn open(world: &World, at: String) -> Held {
        let connect = move || TcpStream::connect(at).map_err(|error| error.to_string());
        let mut held = Held(world.laptop.run(SOON, connect).unwrap());
        held.0.set_read_timeout(Some(LIMIT)).unwrap();
        held.goes_on("at first");
        held
    }

    fn goes_on(&mut self, when: &str) {
        let mut heard = [0];
        self.0.write_all(b"x").unwrap_or_else(|error| panic!("{when}: {error}"));
        self.0.read_exact(&mut heard).unwrap_or_else(|error| panic!("{when}: {error}"));
    }
}

pub fn come_and_go(world: &World) {
    let mut there = Odd::start(world);
    restarted_elsewhere(world, &mut there);
    of_every_kind(world, &mut there);
    faster_than_a_look(world, &mut there);
    stopped(world, &there);
}

/// `0.0.0.0` and `[::]` can be had each time, since nothing of ours listens there; at the tunnel's
/// address it answers wherever it is; and what was connected goes on.
fn restarted_elsewhere(world: &World, there: &mut Odd) {
    let mut held = Vec::new();
    let direct = format!("{}:7800", vps_ip(0));
    for round in 0..if full() { 10 } else { 2 } {
        for at in ["127.0.0.1", "0.0.0.0", "::", "::1"] {
            let when = format!("round {round}, at {at}");
            there.ask(&format!("listen {at} 7800"));
            is_at(world, 7800, 7800);
            wait_until(world, &format!("{when}: at the tunnel's address"), || {
                echo(world, direct.clone()).is_ok()
            });
            held.iter_mut().for_each(|held: &mut Held| held.goes_on(&when));
            held.push(Held::open(world, "127.0.0.1:7800".to_owned()));
            held.push(Held::open(world, direct.clone()));
            there.ask("close 7800");
        }
    }
    held.iter_mut().for_each(|held| held.goes_on("at last"));
    there.ask("listen 127.0.0.1 7800");
}

fn of_every_kind(world: &World, there: &mut Odd) {
    there.ask("listen 127.0.0.2 7801");
    there.ask(&format!("listen {VPS_WAN} 7802"));
    there.ask("listen :: 7803 six");
    let [first, child] = [there.ask("pair 7804"), there.ask("passed 7805")];
    there.ask("activated 7806");
    (7801..=7806).for_each(|port| is_at(world, port, port));
    send(first, Kind::Kill).unwrap();
    // Until its sockets are closed the kernel gives it connections.
    wait_until(world, "its end", || {
        let stat = fs::read_to_string(format!("/proc/{first}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    });
    (0..8).for_each(|_| assert!(answers(world, 7804), "the other of the two"));
    let owner = || view(world, 7805).and_then(|view| view.server?.owner.pid);
    wait_until(world, "whose it is now", || owner() == Some(child));
}

/// A port that comes and goes 100 times a second keeps its number, is said of nowhere, and is in
/// nobody's way.
fn faster_than_a_look(world: &World, there: &mut Odd) {
    let before = world.log();
    there.ask("flap 7807 100");
    assert!(answers(world, 7801), "another's");
    there.ask("listen 127.0.0.1 7807");
    is_at(world, 7807, 7807);
    let log = world.log();
    let said = log.get(before.len()..).unwrap_or_default();
    assert!(!said.contains("7807"), "{said}");
}

/// The kernel connects for a program that is stopped; that it is hung is told all the same, and
/// whoever is connected waits and is not cut off.
fn stopped(world: &World, there: &Odd) {
    let mut held = Held::open(world, "127.0.0.1:7801".to_owned());
    let state = || Some(listed(world, 7801)?["state"].clone());
    world.sh(&format!("kill -STOP {}", there.0.id()));
    wait_until(world, "hung", || state() == Some("hung".into()));
    held.0.write_all(b"y").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    send(there.0.id(), Kind::Continue).unwrap();
    held.0.read_exact(&mut [0]).unwrap();
    held.goes_on("after it was stopped");
    wait_until(world, "ready", || state() == Some("ready".into()));
}

/// A session that is killed, and the next: its ports are let go of, and are where they were.
pub fn after_a_kill(world: &World, number: u16) {
    let mut held = Held::open(world, format!("127.0.0.1:{number}"));
    let session = world.session().unwrap();
    send(session, Kind::Kill).unwrap();
    let ended = held.0.read(&mut [0]);
    assert!(matches!(ended, Ok(0)) || ended.is_err(), "{ended:?}");
    world.up();
    is_at(world, number, number);
}
