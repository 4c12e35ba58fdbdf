//! A laptop whose server was taken over and floods it, as fast as a tunnel carries it: nothing gets
//! in, its own flows go on, and it costs no memory. Prints rates; judges none.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::intruder::*;
use super::shielded::{ECHO, PORTS, SSH, Services, ask, asker, connection, entered};
use super::world::*;
use super::{full, shared};

/// Packets before the flood lets an answer through.
const BURST: usize = 256;
/// What a session may need more while it is flooded: its buffers have a size.
const ROOM_KIB: u64 = 16 << 10;

/// Memory of a process in KiB, and how long it had a processor.
fn cost(pid: u32) -> (u64, Duration) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib = line.split_whitespace().next().unwrap().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = words[11..13].iter().map(|word| word.parse::<u64>().unwrap()).sum();
    (kib, Duration::from_millis(ticks * 10))
}

/// A program of the laptop's that asks again and again; how many answers it has had.
struct Asks {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
}

impl Asks {
    fn start(socket: UdpSocket) -> Asks {
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

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Acquire)
    }
}

/// Until the time is over and three questions were answered; how many packets were sent.
fn flood(intruder: &mut Intruder, asks: &Asks, at_least: Duration) -> (usize, Duration) {
    let packets: Vec<Vec<u8>> =
        attacks(&PORTS).into_iter().flat_map(|(_, packets)| packets).collect();
    let (began, before, mut sent) = (Instant::now(), asks.answers(), 0);
    for burst in packets.chunks(BURST).cycle() {
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
    // Once, so that whatever it keeps for a flood is there.
    flood(&mut intruder, &asks, Duration::from_millis(300));
    let (inside, before) = (entered(&world), cost(session));
    let heard = asks.answers();
    let long = Duration::from_secs(if full() { 5 } else { 1 });
    let (sent, took) = flood(&mut intruder, &asks, long);
    let (after, heard) = (cost(session), asks.answers() - heard);
    println!(
        "{:.0} packets a second for {took:.1?}: {heard} questions answered meanwhile; {} KiB more, \
         {:.0} % of a processor",
        sent as f64 / took.as_secs_f64(),
        after.0.saturating_sub(before.0),
        100.0 * (after.1 - before.1).as_secs_f64() / took.as_secs_f64()
    );
    assert!(after.0 < before.0 + ROOM_KIB, "{} KiB, then {}", before.0, after.0);
    asks.is_over.store(true, Ordering::Release);
    // Each question has one answer, and the agent's silence makes none.
    let more = entered(&world) - inside;
    assert!(more <= sent as u64 / 100 + heard as u64 + 100, "{more} packets entered");
    services.assert_silent();
    ask(&mut intruder, &own, &[]);
    open.write_all(b"goes on").unwrap();
    let goes_on = |packet: Vec<u8>| packet.ends_with(b"goes on");
    assert!(intruder.hear_at(TCP, SSH, LIMIT).is_some_and(goes_on), "the connection is cut off");
}
