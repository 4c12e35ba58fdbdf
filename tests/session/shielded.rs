//! A laptop whose server was taken over: nothing of it can be reached, nothing of it answers, and
//! what its own programs began goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use hopbox_selftest::files::{LAPTOP_IP, VPS_IP};
use hopbox_selftest::machine::SOON;

use serde_json::Value;

use super::intruder::*;
use super::shared;
use super::world::*;

pub(super) const ECHO: u16 = 7;
const API: u16 = 4200;
pub(super) const SSH: u16 = 22;
/// What listens on the laptop, on all of its addresses or on that of the tunnel.
pub(super) const PORTS: [u16; 7] = [22, 80, 631, 5353, 8080, 9000, 45_000];
/// Datagrams that the laptop's socket keeps while its session does something else.
const BURST: usize = 100;
const FLOOD_ROUNDS: usize = 60;
/// A packet that is not there by then was lost.
const RETRY: Duration = Duration::from_secs(1);

/// The laptop's own services, which nobody should ever speak to.
pub(super) struct Services(Vec<TcpListener>, Vec<UdpSocket>);

impl Services {
    pub fn start(world: &World) -> Services {
        let open = || {
            let (mut tcp, mut udp) = (Vec::new(), Vec::new());
            for (n, port) in PORTS.into_iter().enumerate() {
                // On all addresses, or on that of the tunnel alone.
                let ip = if n % 2 == 0 { Ipv4Addr::UNSPECIFIED } else { LAPTOP_IP };
                tcp.push(TcpListener::bind((ip, port))?);
                udp.push(UdpSocket::bind((ip, port))?);
            }
            tcp.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
            udp.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
            Ok(Services(tcp, udp))
        };
        world.laptop.run(SOON, move || open().map_err(|e: std::io::Error| e.to_string())).unwrap()
    }

    pub fn assert_silent(&self) {
        for listener in &self.0 {
            let came = listener.accept().map(|(_, from)| from);
            assert_eq!(came.unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        for socket in &self.1 {
            assert_eq!(socket.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}

/// Packets that the session gave to the laptop's kernel so far.
pub(super) fn entered(world: &World) -> u64 {
    let look = || {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("hopbox"));
        let count = line.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
        count.ok_or_else(|| format!("no hopbox device: {text}"))
    };
    world.laptop.run(SOON, look).unwrap()
}

/// Every packet ends at the shield, counted for its reason, and nothing answers. What is lost on
/// its way, as when the session takes another socket, is sent again.
fn all_end(world: &World, intruder: &mut Intruder, attacks: &[(&str, Vec<Vec<u8>>)]) {
    let (inside, before) = (entered(world), world.status());
    let count = |status: &Value, reason: &str| status["drops"][reason].as_u64().unwrap();
    for (_, packets) in attacks {
        send_all(intruder, packets);
    }
    let lacks = |now: &Value| {
        let rest = attacks.iter().filter_map(|(reason, packets)| {
            let ended = (count(now, reason) - count(&before, reason)) as usize;
            Some((*reason, packets.get(ended..)?)).filter(|(_, rest)| !rest.is_empty())
        });
        rest.collect::<Vec<_>>()
    };
    let mut missing = lacks(&world.status());
    for _ in 0..20 {
        missing.iter().for_each(|(_, rest)| send_all(intruder, rest));
        if missing.is_empty() {
            break;
        }
        missing = lacks(&world.status());
    }
    let missing: Vec<_> = missing.iter().map(|(reason, rest)| (reason, rest.len())).collect();
    assert!(missing.is_empty(), "not counted: {missing:?}");
    assert_eq!(entered(world), inside, "what entered the laptop");
    // The session itself asks whether its agent answers, and how long packets may be; and a
    // connection of the laptop's is open.
    while let Some(packet) = intruder.hear(Duration::ZERO) {
        let asks = is_to(&packet, TCP, API) || asks_for_size(&packet);
        let ours = asks || is_to(&packet, TCP, SSH);
        assert!(ours, "the laptop said {packet:x?}");
    }
    for (reason, packets) in attacks {
        println!("{} packets ended: {reason}", packets.len());
    }
}

/// No faster than the laptop's socket keeps them while its session does something else.
fn send_all(intruder: &mut Intruder, packets: &[Vec<u8>]) {
    for burst in packets.chunks(BURST) {
        burst.iter().for_each(|packet| intruder.send(packet));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program of the laptop's that asks over UDP.
pub(super) fn asker(world: &World) -> UdpSocket {
    let open = || {
        let socket = UdpSocket::bind((LAPTOP_IP, 0)).map_err(|error| error.to_string())?;
        socket.connect((VPS_IP, ECHO)).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(RETRY)).map_err(|error| error.to_string())?;
        Ok(socket)
    };
    world.laptop.run(SOON, open).unwrap()
}

/// A question, as the intruder hears it; asked again while it is lost.
fn question(intruder: &mut Intruder, asker: &UdpSocket, text: &[u8]) -> Vec<u8> {
    for _ in 0..40 {
        asker.send(text).unwrap();
        if let Some(question) = intruder.hear_question(asker, ECHO, RETRY) {
            return question;
        }
    }
    panic!("no question came through");
}

/// A question and its answer, with this noise before it; how long that took.
pub(super) fn ask(intruder: &mut Intruder, asker: &UdpSocket, noise: &[Vec<u8>]) -> Duration {
    for _ in 0..40 {
        let began = Instant::now();
        let question = question(intruder, asker, b"question");
        noise.iter().for_each(|packet| intruder.send(packet));
        intruder.send(&answer(&question, 0, b"answer").packet());
        let mut heard = [0; 9];
        if let Ok(len) = asker.recv(&mut heard) {
            assert_eq!(&heard[..len], b"answer");
            return began.elapsed();
        }
    }
    panic!("no answer came through");
}

/// A connection of the laptop's to a port that the intruder serves by hand: it asks at the same
/// moment, which the laptop never hears, and answers.
pub(super) fn connection(world: &World, intruder: &mut Intruder) -> TcpStream {
    let (send, connected) = std::sync::mpsc::channel();
    let connect = move || {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((VPS_IP, SSH)), LIMIT);
        send.send(stream).map_err(|error| error.to_string())
    };
    let connecting = world.laptop.start_work(connect);
    let stream = loop {
        if let Some(asked) = intruder.hear_at(TCP, SSH, Duration::from_millis(50)) {
            intruder.send(&answer(&asked, SYN, &[]).packet());
            intruder.send(&answer(&asked, SYN | ACK, &[]).packet());
        }
        if let Ok(stream) = connected.try_recv() {
            break stream;
        }
    };
    connecting.wait(LIMIT).unwrap();
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(RETRY)).unwrap();
    stream.write_all(b"hello").unwrap();
    let said = loop {
        let packet = intruder.hear_at(TCP, SSH, LIMIT).expect("it goes on");
        if packet.ends_with(b"hello") {
            break packet;
        }
    };
    let answered = answer(&said, ACK, b"welcome");
    let mut heard = [0; 7];
    let told = (0..40).any(|_| {
        intruder.send(&answered.packet());
        stream.read_exact(&mut heard).is_ok()
    });
    assert!(told && &heard == b"welcome");
    // Now that it is open: who asks for the same ports asks in vain.
    let again = TestPacket { flags: SYN, ..answered };
    settle(world, intruder);
    all_end(world, intruder, &[("unsolicited", vec![again.packet()])]);
    stream
}

/// Until the laptop has said all that belongs to what was before.
fn settle(world: &World, intruder: &mut Intruder) {
    let mut before = entered(world);
    loop {
        let heard = intruder.hear_at(TCP, SSH, Duration::from_millis(300));
        let now = entered(world);
        if heard.is_none() && now == before {
            return;
        }
        before = now;
    }
}

/// The MTU that the laptop knows for the way to its server.
fn path_mtu(world: &World) -> String {
    let look = || {
        let output = Command::new("ip").args(["route", "get", "10.10.0.2"]).output();
        let output = output.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    world.laptop.run(SOON, look).unwrap()
}

/// What is told about the way of a packet of ours is believed as far as a way can be so.
fn path_messages(world: &World, intruder: &mut Intruder) {
    let asker = asker(world);
    let question = question(intruder, &asker, &[0; 1300]);
    let told = |mtu: u16, quote: &[u8]| {
        let [a, b] = mtu.to_be_bytes();
        icmp(3, 4, [0, 0, a, b], quote)
    };
    let mut other = question[..28].to_vec();
    other[21] ^= 1;
    let refused = vec![told(100, &question[..28]), told(1300, &other), told(1300, &question[..27])];
    // By another gateway, of the laptop's LAN.
    let redirects = (0..4).map(|code| icmp(5, code, [198, 51, 100, 9], &question[..28]));
    let refused = refused.into_iter().chain(redirects).collect();
    all_end(world, intruder, &[("refused_icmp", refused)]);
    assert!(!path_mtu(world).contains("mtu 100"), "{}", path_mtu(world));
    let end = Instant::now() + LIMIT;
    while !path_mtu(world).contains("mtu 1300") {
        assert!(Instant::now() < end, "{}", path_mtu(world));
        intruder.send(&told(1300, &question[..28]));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An answer that is longer than a packet comes in pieces, as long as they are nothing but that.
fn fragments(world: &World, intruder: &mut Intruder) {
    let asker = asker(world);
    let question = question(intruder, &asker, b"long");
    let text: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    let mut heard = vec![0; 4000];
    let told = (0..40).any(|id| {
        let whole = TestPacket { id, ..answer(&question, 0, &text) };
        let bytes = whole.packet()[20..].to_vec();
        let piece = |from: usize, to: usize| {
            let fragment = (from / 8) as u16 | u16::from(to < bytes.len()) << 13;
            TestPacket { fragment, ..whole.clone() }.carry(UDP, &bytes[from..to])
        };
        intruder.send(&piece(0, 1200));
        // Over the headers, over what came, too small, behind a gap, and the first one again.
        let bad = [(8, 1208), (1192, 2392), (1200, 1208), (2400, 3008), (0, 1200)];
        bad.iter().for_each(|(from, to)| intruder.send(&piece(*from, *to)));
        intruder.send(&piece(1200, 2400));
        intruder.send(&piece(2400, 3008));
        asker.recv(&mut heard).is_ok_and(|len| heard[..len] == text)
    });
    assert!(told, "no long answer came through");
    let status = world.status();
    assert!(status["drops"]["stray_fragment"].as_u64() >= Some(5), "{status:#}");
}

#[test]
fn a_server_that_was_taken_over_reaches_nothing_of_the_laptop() {
    let _machine = shared();
    let name = "a_server_that_was_taken_over_reaches_nothing_of_the_laptop";
    let Some(mut world) = World::start(name) else { return };
    world.up();
    let services = Services::start(&world);
    let mut intruder = Intruder::take_over(&mut world);
    let asker = asker(&world);
    let mut quiet: Vec<_> = (0..40).map(|_| ask(&mut intruder, &asker, &[])).collect();
    all_end(&world, &mut intruder, &attacks(&PORTS));
    services.assert_silent();
    let _open = connection(&world, &mut intruder);
    path_messages(&world, &mut intruder);
    fragments(&world, &mut intruder);
    // A burst of everything before each answer, as much as fits into the laptop's socket.
    let noise: Vec<Vec<u8>> =
        attacks(&PORTS).into_iter().flat_map(|(_, packets)| packets).collect();
    let mut bursts = noise.chunks(BURST).cycle();
    let mut loud: Vec<_> = (0..FLOOD_ROUNDS)
        .map(|_| ask(&mut intruder, &asker, bursts.next().unwrap_or_default()))
        .collect();
    services.assert_silent();
    quiet.sort();
    loud.sort();
    println!(
        "an answer takes {:?}, worst {:?}; behind {BURST} hostile packets {:?}, worst {:?}",
        quiet[quiet.len() / 2],
        quiet[quiet.len() - 1],
        loud[loud.len() / 2],
        loud[loud.len() - 1],
    );
    let said = said(&world.hop(&["status", "--verbose"]));
    assert!(said.contains("(unsolicited)") && said.contains("(refused_icmp)"), "{said}");
}

#[test]
fn a_connection_outlives_its_session_whoever_speaks_first_afterwards() {
    let _machine = shared();
    let name = "a_connection_outlives_its_session_whoever_speaks_first_afterwards";
    let Some(world) = World::start(name) else { return };
    world.up();
    let listen = || TcpListener::bind((VPS_IP, ECHO)).map_err(|error| error.to_string());
    let listener = world.vps[0].machine.run(SOON, listen).unwrap();
    let connect = || TcpStream::connect((VPS_IP, ECHO)).map_err(|error| error.to_string());
    // In pieces, there and back.
    world.sh("ping -n -c 1 -W 5 -s 8000 10.10.0.2");
    let mut here = world.laptop.run(SOON, connect).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    // Nobody on the server reaches what listens on the laptop, with a session or after the next.
    let service = || TcpListener::bind(("0.0.0.0", 8080)).map_err(|error| error.to_string());
    let service = world.laptop.run(SOON, service).unwrap();
    service.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        let reach = || {
            let to = SocketAddr::from((LAPTOP_IP, 8080));
            Ok(TcpStream::connect_timeout(&to, Duration::from_millis(300)).map(drop))
        };
        let reached = world.vps[0].machine.run(SOON, reach).unwrap();
        assert_eq!(reached.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(service.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(world.hop(&["down"]).status.code(), Some(0));
        world.up();
        // The laptop has nothing to say, so it is the server that goes on.
        there.write_all(b"more").unwrap();
        here.set_read_timeout(Some(LIMIT)).unwrap();
        let mut heard = [0; 4];
        here.read_exact(&mut heard).expect("the connection goes on");
        assert_eq!(&heard, b"more");
    }
}
