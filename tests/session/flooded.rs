//! A laptop whose server was taken over and floods it, as fast as a tunnel carries it: nothing gets
//! in, its own flows go on, and it costs no memory. The same of a stranger at its UDP port, beside
//! what the laptop's user does. Prints rates; judges none.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::sys::mmsg::{BATCH, Batch, Outgoing};
use hopbox::sys::sock::{Family, Udp};
use hopbox_selftest::files::LAPTOP_WAN;
use hopbox_selftest::machine::SOON;

use super::desk::Desk;
use super::intruder::*;
use super::ports::echo;
use super::real_ports::{Runs, until};
use super::shielded::{ECHO, PORTS, SSH, Services, ask, asker, connection, entered};
use super::world::*;
use super::{alone, full, shared};

/// Packets before the flood lets an answer through.
pub(super) const BURST: usize = 256;
/// What a session may need more while it is flooded: its buffers have a size.
pub(super) const ROOM_KIB: u64 = 16 << 10;

/// Memory of a process in KiB, and how long it had a processor.
pub(super) fn cost(pid: u32) -> (u64, Duration) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib = line.split_whitespace().next().unwrap().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = words[11..13].iter().map(|word| word.parse::<u64>().unwrap()).sum();
    (kib, Duration::from_millis(ticks * 10))
}

/// A program of the laptop's that asks again and again; how many answers it has had.
pub(super) struct Asks {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
}

impl Asks {
    pub fn start(socket: UdpSocket) -> Asks {
        let asks = Asks { is_over: Arc::default(), answers: Arc::default() };
        let (is_over, answers) = (asks.is_over.clone(), asks.answers.clone());
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let run = move || {
            while !is_over.load(Ordering::Acquire) {
                let _ = socket.send(b"question");
                let heard = socket.recv(&mut [0; 64]).is_ok();
                answers.fetch_add(usize::from(heard), Ordering::AcqRel);
            }
        };
        // The socket is of the laptop, wherever the thread is.
        thread::spawn(run);
        asks
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Acquire)
    }
}

/// Of a stranger's datagrams: an initiation's, in runs as long as the kernel takes.
const STRANGE: usize = 148;
const RUN: usize = 60;
/// What its user does meanwhile is done within this, on a machine that has other things to do.
const WITHIN: Duration = Duration::from_secs(10);

/// Packets that the session dropped for this reason.
fn dropped(world: &World, reason: &str) -> u64 {
    world.status()["drops"][reason].as_u64().unwrap()
}

/// Until the time is over and three questions were answered; how many packets were sent.
pub(super) fn flood(
    intruder: &mut Intruder,
    bursts: std::slice::Chunks<Vec<u8>>,
    asks: &Asks,
    at_least: Duration,
) -> (usize, Duration) {
    let (began, before, mut sent) = (Instant::now(), asks.answers(), 0);
    for burst in bursts.cycle() {
        burst.iter().for_each(|packet| intruder.send(packet));
        sent += burst.len();
        while let Some(packet) = intruder.hear(Duration::ZERO) {
            if is_to(&packet, UDP, ECHO) {
                intruder.send(&answer(&packet, 0, b"answer").packet());
            }
        }
        if began.elapsed() >= at_least && asks.answers() >= before + 3 {
            break;
        }
        assert!(began.elapsed() < at_least + LIMIT * 2, "its own flow is starved");
    }
    (sent, began.elapsed())
}

#[test]
fn a_flood_gets_nothing_in_and_own_flows_go_on() {
    let _machine = shared();
    let name = "a_flood_gets_nothing_in_and_own_flows_go_on";
    let Some(mut world) = World::start(name) else { return };
    world.up();
    let services = Services::start(&world);
    let mut intruder = Intruder::take_over(&mut world);
    let (own, asker) = (asker(&world), asker(&world));
    ask(&mut intruder, &own, &[]);
    let mut open = connection(&world, &mut intruder);
    let asks = Asks::start(asker);
    let session = world.session().unwrap();
    let packets: Vec<Vec<u8>> =
        attacks(&PORTS).into_iter().flat_map(|(_, packets)| packets).collect();
    let bursts = packets.chunks(BURST);
    // Once, so that whatever it keeps for a flood is there.
    flood(&mut intruder, bursts.clone(), &asks, Duration::from_millis(300));
    let (inside, before) = (entered(&world), cost(session));
    let heard = asks.answers();
    let long = Duration::from_secs(if full() { 5 } else { 1 });
    let (sent, took) = flood(&mut intruder, bursts, &asks, long);
    let (after, heard) = (cost(session), asks.answers() - heard);
    println!(
        "{:.0} packets a second for {took:.1?}: {heard} questions answered meanwhile; {} KiB more, \
         {:.0} % of a processor",
        sent as f64 / took.as_secs_f64(),
        after.0.saturating_sub(before.0),
        100.0 * (after.1 - before.1).as_secs_f64() / took.as_secs_f64()
    );
    assert!(after.0 < before.0 + ROOM_KIB, "{} KiB, then {}", before.0, after.0);
    asks.end();
    // Each question has one answer, and the agent's silence makes none.
    let more = entered(&world) - inside;
    assert!(more <= sent as u64 / 100 + heard as u64 + 100, "{more} packets entered");
    services.assert_silent();
    ask(&mut intruder, &own, &[]);
    open.write_all(b"goes on").unwrap();
    let goes_on = |packet: Vec<u8>| packet.ends_with(b"goes on");
    assert!(intruder.hear_at(TCP, SSH, LIMIT).is_some_and(goes_on), "the connection is cut off");
}

/// Sends what is no word of the protocol, initiations that nobody signed among it, to the laptop's
/// port; ends when dropped.
struct Stranger {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Stranger {
    fn start(world: &World) -> Stranger {
        let port = world.status()["listen_port"].as_u64().unwrap() as u16;
        let (to, is_over) = (SocketAddr::from((LAPTOP_WAN, port)), Arc::<AtomicBool>::default());
        let open = || Udp::bind(Family::V4, 0).map_err(|error| error.to_string());
        let socket = world.vps[0].machine.run(SOON, open).unwrap();
        let junk = [[1, 0, 0, 0], [4, 0, 0, 0], [2, 0, 0, 0], [0xff; 4]].map(|kind| {
            let one = [&kind[..], &[7; STRANGE - 4]].concat();
            one.repeat(RUN)
        });
        let ended = is_over.clone();
        let run = move || {
            let (mut batch, mut sent) = (Batch::new(), 0);
            let segment = STRANGE as u16;
            while !ended.load(Ordering::Acquire) {
                let one = |n: usize| {
                    let data = junk.get(n % 4).map_or(&[][..], Vec::as_slice);
                    Outgoing { to, from: None, tos: 0, segment, data }
                };
                // A queue that is full is part of it.
                sent += batch.send(&socket, BATCH, one).unwrap_or(0) as u64 * RUN as u64;
            }
            sent
        };
        Stranger { is_over, thread: Some(thread::spawn(run)) }
    }

    /// How many it has sent.
    fn end(mut self) -> u64 {
        self.is_over.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

#[test]
fn a_stranger_s_flood_leaves_the_tunnel_to_its_user() {
    let _machine = alone();
    let Some(world) = World::start("a_stranger_s_flood_leaves_the_tunnel_to_its_user") else {
        return;
    };
    let desk = Desk::start(world, "name: app\nbridges: [{type: clipboard}]\n");
    let world = &desk.world;
    let _server = Runs::of(super::ports::server(world, &["127.0.0.1-7100"]));
    until("it is mirrored", || echo(world, "127.0.0.1:7100".to_owned()).is_ok());
    let session = world.session().unwrap();
    let reasons = ["malformed", "bad_mac1", "unknown_index", "socket_overflow"];
    let count = || reasons.map(|reason| dropped(world, reason));
    let (first, before) = (cost(session), count());
    let (began, stranger) = (Instant::now(), Stranger::start(world));
    let timed = |what: &str, act: &dyn Fn() -> bool| {
        let began = Instant::now();
        until(what, act);
        println!("{what}: {:.1?}", began.elapsed());
        assert!(began.elapsed() < WITHIN, "{what} took {:?}", began.elapsed());
    };
    let ping = "ping -n -q -c 1 -W 1 10.10.0.2 >/dev/null";
    timed("a ping", &|| world.laptop.run(SOON, || Ok(shell(ping))).unwrap());
    timed("a question through the mirror", &|| echo(world, "[::1]:7100".to_owned()).is_ok());
    timed("a notice", &|| {
        desk.there(&["notify", "in a flood"], b"").status.success()
            && desk.calls().contains("[mybox] in a flood")
    });
    timed("a status", &|| world.hop(&["status"]).status.success());
    while began.elapsed() < Duration::from_secs(if full() { 10 } else { 2 }) {
        thread::sleep(Duration::from_millis(50));
    }
    let (sent, took, last) = (stranger.end(), began.elapsed(), cost(session));
    let counted: Vec<u64> = count().iter().zip(before).map(|(now, then)| now - then).collect();
    println!("{:.0} datagrams a second: {reasons:?} {counted:?}", sent as f64 / took.as_secs_f64());
    println!(
        "{} KiB more, {:.0} % of a processor",
        last.0.saturating_sub(first.0),
        100.0 * (last.1 - first.1).as_secs_f64() / took.as_secs_f64()
    );
    assert!(counted.iter().take(3).all(|count| *count > 0), "{counted:?}");
    assert!(last.0 < first.0 + ROOM_KIB, "{} KiB, then {}", first.0, last.0);
    assert_eq!(world.session(), Some(session));
}

fn shell(line: &str) -> bool {
    std::process::Command::new("sh").args(["-c", line]).status().is_ok_and(|it| it.success())
}
