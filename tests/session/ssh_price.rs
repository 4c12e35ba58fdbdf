//! What a tunnel over SSH costs on a bad line: what a transfer gets, and what a ping beside it
//! waits.
//! `HOP_LINE="MBIT DELAY_MS LOSS_PERCENT SECONDS"` measures another line, `HOP_CC` with another
//! congestion control than cubic.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox_selftest::files::VPS_IP;
use hopbox_selftest::machine::SOON;

use super::alone;
use super::transport::Place;
use super::world::*;

const LINE: &str = include_str!("line.py");
const HERE: &str = "192.0.2.1";
const THERE: &str = "192.0.2.2";

/// Takes what comes, or sends without an end, and says how much it was.
const BULK: &str = r#"
import socket, sys, time
role, host, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
control = (socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[4].encode())
if role == "serve":
    s = socket.create_server((host, 7001))
    print("ready", flush=True)
    while True:
        c = s.accept()[0]
        c.setsockopt(*control)
        try:
            if c.recv(1) == b"d":
                while True:
                    c.sendall(bytes(65536))
            while c.recv(1 << 20):
                pass
        except OSError:
            pass
else:
    c = socket.create_connection((host, 7001))
    c.setsockopt(*control)
    end, count = time.monotonic() + seconds, 0
    c.settimeout(seconds + 5)
    c.sendall(b"u" if role == "up" else b"d")
    while time.monotonic() < end:
        count += c.send(bytes(16384)) if role == "up" else len(c.recv(1 << 20))
    print(count * 8 / seconds / 1e6)
"#;

/// Ended with this value.
struct Python(Option<Child>);

impl Drop for Python {
    fn drop(&mut self) {
        end(self.0.take());
    }
}

impl Python {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it runs")
    }
}

fn python(world: &World, on_laptop: bool, script: &str, words: &[&str]) -> Python {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(script).args(words).stdout(Stdio::piped()).stdin(Stdio::null());
    let machine = if on_laptop { &world.laptop } else { &world.vps[0].machine };
    let start = move || command.spawn().map_err(|error| error.to_string());
    Python(Some(machine.run(SOON, start).unwrap()))
}

fn says_ready(python: &mut Python) {
    let mut line = String::new();
    BufReader::new(python.child().stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
}

/// The sorted times of so many pings, in milliseconds; lost ones took for ever.
fn pings(world: &World, count: usize) -> Vec<f64> {
    let (n, ip) = (count.to_string(), VPS_IP.to_string());
    let mut command = Command::new("ping");
    command.args(["-n", "-i", "0.05", "-W", "2", "-c", &n, &ip]).stdout(Stdio::piped());
    let child = world.laptop.run(SOON, move || command.spawn().map_err(|error| error.to_string()));
    let text = child.unwrap().wait_with_output().unwrap().stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let times = text.lines().filter_map(|line| line.split("time=").nth(1)?.split(' ').next());
    let mut times: Vec<f64> = times.map(|time| time.parse().unwrap()).collect();
    times.resize(count, f64::INFINITY);
    times.sort_by(f64::total_cmp);
    times
}

fn at(times: &[f64], percent: usize) -> f64 {
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[test]
fn a_ping_beside_a_transfer_waits_little() {
    let _turn = alone();
    let Some(place) = Place::start("a_ping_beside_a_transfer_waits_little") else { return };
    let world = &place.world;
    let line = std::env::var("HOP_LINE").unwrap_or_else(|_| "20 20 1 5".to_owned());
    let words: Vec<&str> = line.split(' ').collect();
    let seconds = words[3];
    let space = world.vps[0].machine.run(SOON, || {
        let task = std::fs::read_link("/proc/thread-self").map_err(|error| error.to_string())?;
        Ok(format!("/proc/{}/ns/net", task.display()))
    });
    let cc = std::env::var("HOP_CC").unwrap_or_else(|_| "cubic".to_owned());
    let space = space.unwrap();
    let all = [&[space.as_str(), HERE, THERE], &words[..3], &["1", &cc]].concat();
    let mut middle = python(world, true, LINE, &all);
    says_ready(&mut middle);
    world.sh(&format!(
        "sed -i 's/^HostName .*/HostName {THERE}/' {}/laptop/.ssh/config",
        world.home.display()
    ));
    place.change(|host| host["transport"] = "ssh".into());
    let up = world.hop(&["up"]);
    assert!(up.status.success(), "{}{}", said(&up), world.log());
    let mut server = python(world, false, BULK, &["serve", &VPS_IP.to_string(), "0", &cc]);
    says_ready(&mut server);
    let idle = pings(world, 60);
    println!("NOTE {line} {cc}: idle p50 {:.1} p99 {:.1} ms", at(&idle, 50), at(&idle, 99));
    for role in ["up", "down"] {
        let mut bulk = python(world, true, BULK, &[role, &VPS_IP.to_string(), seconds, &cc]);
        thread::sleep(Duration::from_secs(1));
        let beside = pings(world, (seconds.parse::<usize>().unwrap() - 1) * 20);
        let got = bulk.0.take().unwrap().wait_with_output().unwrap().stdout;
        let got: f64 = String::from_utf8_lossy(&got).trim().parse().unwrap_or(0.0);
        let (p50, p90, p99) = (at(&beside, 50), at(&beside, 90), at(&beside, 99));
        let lost = beside.iter().filter(|time| time.is_infinite()).count();
        println!(
            "NOTE {role}: {got:.2} Mbit/s, ping p50 {p50:.1} p90 {p90:.1} p99 {p99:.1} ms, {lost} lost"
        );
        // Far from what is seen, so that no neighbour of this test decides it.
        assert!(got > 0.2 && p50 - at(&idle, 50) < 400.0, "{role}: {got} Mbit/s, {beside:?}");
    }
    cut(&place, &mut middle);
}

/// The line is dead for some seconds, and the tunnel is there again soon after it is not.
fn cut(place: &Place, middle: &mut Python) {
    let pid = middle.child().id().to_string();
    let toggle = || Command::new("kill").args(["-USR1", &pid]).status().unwrap();
    assert!(toggle().success());
    thread::sleep(Duration::from_secs(5));
    assert!(toggle().success());
    let began = Instant::now();
    while pings(&place.world, 1)[0].is_infinite() {
        assert!(began.elapsed() < LIMIT, "{}", place.world.log());
    }
    println!("NOTE a ping is answered {:.1} s after a cut of 5 s", began.elapsed().as_secs_f64());
    // Over a line that is gone sshd(8) would wait for ever, also where the last word was lost.
    assert!(place.world.hop(&["down"]).status.success());
    thread::sleep(Duration::from_secs(3));
}
