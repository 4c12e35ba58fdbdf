//! What a port of the server's costs here: until it can be used, bytes, time, memory; and whether
//! it is still the right one after the server's process was started again and again. Prints
//! figures; judges only what must not happen anywhere.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use hopbox::session::ports::view::PortChange;
use hopbox_selftest::files::vps_ip;
use hopbox_selftest::machine::{Machine, SOON};

use super::ports::{answers, change, companion, server, wait_until};
use super::sshd::{self, Sshd};
use super::world::*;
use super::{alone, full};

/// One line in, one out, on either side; moments are of the clock that both have.
const METER: &str = r#"
import socket, sys, threading, time
kept = []
def serve(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    what = c.recv(16)
    if what[:1] == b's':
        left, piece = int(what[1:]), bytes(1 << 20)
        while left > 0:
            c.sendall(piece[:min(left, len(piece))])
            left -= len(piece)
        what = c.recv(16)
    while what:
        c.sendall(b'.')
        what = c.recv(16)
    c.close()
def listen(port, at='0.0.0.0'):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((at, port))
    s.listen(4096)
    at = time.monotonic()
    def run():
        while True:
            c, _ = s.accept()
            threading.Thread(target=serve, args=(c,), daemon=True).start()
    threading.Thread(target=run, daemon=True).start()
    return at
def connect(at, port):
    c = socket.create_connection((at, port), 10)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.settimeout(60)
    return c
def usable(port):
    while True:
        try:
            c = connect('127.0.0.1', port)
            c.sendall(b'p')
            if c.recv(1):
                return time.monotonic()
        except OSError:
            pass
        time.sleep(0.001)
def bulk(at, port, size):
    c = connect(at, port)
    began, room = time.monotonic(), bytearray(1 << 20)
    c.sendall(b's%d' % size)
    left = size
    while left > 0:
        read = c.recv_into(room, min(left, len(room)))
        assert read, left
        left -= read
    return size / (time.monotonic() - began) / 1e6
def latency(at, port, count):
    c, took = connect(at, port), []
    for _ in range(count):
        began = time.monotonic()
        c.sendall(b'p')
        assert c.recv(1)
        took.append(time.monotonic() - began)
    return sorted(took)[count // 2] * 1e6
def hold(port, count):
    for _ in range(count):
        kept.append(connect('127.0.0.1', port))
        kept[-1].sendall(b'p')
        assert kept[-1].recv(1)
    return len(kept)
for line in sys.stdin:
    name, *words = line.split()
    words = [int(word) if word.isdigit() else word for word in words]
    print(globals()[name](*words), flush=True)
"#;

struct Meter(Child);

impl Meter {
    fn start(world: &World, machine: &Machine) -> Meter {
        let mut command = world.command(Path::new("python3"), &["-c", METER]);
        command.stdin(Stdio::piped()).stderr(Stdio::inherit());
        let start = move || command.spawn().map_err(|error| error.to_string());
        Meter(machine.run(SOON, start).unwrap())
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self) -> f64 {
        let mut line = String::new();
        // One byte at a time: what follows is for the next.
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("{line:?}"))
    }

    fn ask(&mut self, line: &str) -> f64 {
        self.say(line);
        self.hear()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[test]
fn what_a_mirrored_port_costs() {
    let _machine = alone();
    let Some(world) = World::start("what_a_mirrored_port_costs") else { return };
    let mut work = world.start_work(0);
    let (rounds, bytes) = if full() { (40, 1 << 30) } else { (4, 4 << 20) };
    world.up();
    let (mut there, mut here) =
        (Meter::start(&world, &world.vps[0].machine), Meter::start(&world, &world.laptop));
    there.ask("listen 7300");
    here.ask("usable 7300");

    let mut times: Vec<f64> = (0..rounds)
        .map(|n| {
            let port = 7301 + n;
            here.say(&format!("usable {port}"));
            let listens = there.ask(&format!("listen {port}"));
            (here.hear() - listens) * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("listen() to usable here: median {:.0} ms, 95th {:.0} ms", at(50), at(95));

    beside(&world, &mut here, &mut there, bytes);

    let mirror = companion(&world, "--ports").unwrap();
    let before = resident(mirror);
    let held = here.ask(&format!("hold 7300 {}", if full() { 2000 } else { 200 }));
    let each = (resident(mirror) - before) / held;
    println!("{held} idle connections: {each:.0} bytes each");
    drop((here, there));

    let echo = server(&world, &["127.0.0.1-7290", "0.0.0.0-7291", "::1-7292"]);
    wait_until(&world, "all", || [7290, 7291, 7292].iter().all(|port| answers(&world, *port)));
    for _ in 0..if full() { 20 } else { 2 } {
        end(Some(work));
        work = world.start_work(0);
        wait_until(&world, "back", || [7290, 7291, 7292].iter().all(|p| answers(&world, *p)));
    }
    end(Some(echo));
    end(Some(work));
}

/// The same work by turns: through the tunnel alone, at a mirrored port, at the tunnel's address of
/// what listens on loopback alone, and at the port of a `fwd` (crates.io, version 0.9), where
/// HOP_FWD says where that is.
fn beside(world: &World, here: &mut Meter, there: &mut Meter, bytes: u64) {
    let fwd = std::env::var("HOP_FWD").ok().map(|program| fwd(world, here, there, &program));
    let direct = vps_ip(0).to_string();
    there.ask(&format!("listen {LOOPBACK_PORT} 127.0.0.1"));
    here.ask(&format!("usable {LOOPBACK_PORT}"));
    let mut ways = vec![
        ("tunnel", direct.as_str(), 7300),
        ("mirror", "127.0.0.1", 7300),
        ("the stack beside the device", &direct, LOOPBACK_PORT),
    ];
    ways.extend(fwd.iter().map(|_| ("fwd", "127.0.0.1", FWD_PORT)));
    for (what, more, unit) in
        [("bulk", bytes / 8, "MB/s"), ("latency", 500, "µs for a byte and back")]
    {
        let mut seen = vec![Vec::new(); ways.len()];
        for _ in 0..if full() { 5 } else { 1 } {
            for ((_, at, port), seen) in ways.iter().zip(&mut seen) {
                seen.push(here.ask(&format!("{what} {at} {port} {more}")));
            }
        }
        for ((way, ..), mut seen) in ways.iter().zip(seen) {
            seen.sort_by(f64::total_cmp);
            println!("{way}: {:.0} {unit} (of {seen:.0?})", seen[seen.len() / 2]);
        }
    }
    if let Some((one, _sshd)) = fwd {
        end(Some(one));
    }
}

const FWD_PORT: u16 = 7280;
/// Of a listener on the server's loopback alone.
const LOOPBACK_PORT: u16 = 7281;

/// It forwards a port that the mirror leaves alone.
fn fwd(world: &World, here: &mut Meter, there: &mut Meter, program: &str) -> (Child, Sshd) {
    change(world, PortChange::Exclude(FWD_PORT));
    there.ask(&format!("listen {FWD_PORT}"));
    let place = Path::new(program).parent().unwrap().display();
    let sshd = sshd::start(world, &format!("{place}:/usr/bin:/bin"));
    // It draws on a terminal.
    let line = format!("TERM=xterm {program} {}", sshd::ALIAS);
    let fwd = sshd::login(world, "script", &["-qfc", &line, "/dev/null"]);
    here.ask(&format!("usable {FWD_PORT}"));
    (fwd, sshd)
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
