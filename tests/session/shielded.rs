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

const TCP: u8 = 6;
const UDP: u8 = 17;
const ECHO: u16 = 7;
const API: u16 = 4200;
const SSH: u16 = 22;
/// What listens on the laptop, on all of its addresses.
const PORTS: [u16; 6] = [22, 80, 631, 5353, 8080, 45_000];
/// The rest of what a scanner tries.
const SCANNED: u16 = 2000;
/// Datagrams that the laptop's socket keeps while its session does something else.
const BURST: usize = 100;
const FLOOD_ROUNDS: usize = 60;
/// A packet that is not there by then was lost.
const RETRY: Duration = Duration::from_secs(1);

/// The laptop's own services, which nobody should ever speak to.
struct Services(Vec<TcpListener>, Vec<UdpSocket>);

impl Services {
    fn start(world: &World) -> Services {
        let open = || {
            let (mut tcp, mut udp) = (Vec::new(), Vec::new());
            for port in PORTS {
                tcp.push(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?);
                udp.push(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?);
            }
            tcp.push(TcpListener::bind((LAPTOP_IP, 9000))?);
            tcp.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
            udp.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
            Ok(Services(tcp, udp))
        };
        world.laptop.run(SOON, move || open().map_err(|e: std::io::Error| e.to_string())).unwrap()
    }

    fn assert_silent(&self) {
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
fn entered(world: &World) -> u64 {
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
    // The session itself asks whether its agent answers, and a connection of the laptop's is open.
    while let Some(packet) = intruder.hear(Duration::ZERO) {
        let ours = is_to(&packet, TCP, API) || is_to(&packet, TCP, SSH);
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

fn with(packet: &TestPacket, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = packet.packet();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

/// What a hostile server may send to a laptop that has begun nothing, and why it ends.
fn attacks() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let syn = |port| TestPacket { flags: SYN, ports: [50_000, port], ..any(false) };
    let listening: Vec<Vec<u8>> = PORTS.into_iter().chain([9000]).flat_map(knocks).collect();
    let scan = (1..SCANNED).map(|port| syn(port).packet());
    let protocols =
        [0, 2, 4, 41, 47, 50, 51, 132, 136, 255].map(|p| any(true).carry(p, &[0x45; 60]));
    let sources: [[u8; 4]; 6] =
        [[10, 10, 0, 1], [10, 10, 0, 3], [127, 0, 0, 1], [198, 51, 100, 1], [8, 8, 8, 8], [0; 4]];
    let destinations: [[u8; 4]; 7] = [
        [127, 0, 0, 1],
        [198, 51, 100, 1],
        [192, 168, 1, 1],
        [10, 10, 0, 255],
        [10, 10, 0, 2],
        [224, 0, 0, 251],
        [255; 4],
    ];
    let v6 = [TestPacket::tcp(true, 1, 0), TestPacket::udp(true, 9)].map(|p| p.packet());
    // Neighbours, routers and redirects are asked for and told of by these.
    let v6_icmp = [128, 133, 134, 135, 136, 137, 143].map(|kind| {
        let mut packet = TestPacket::udp(true, 0).carry(58, &[kind; 40]);
        packet[8..24].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet
    });
    let about = TestPacket { hosts: [1, 2], ..any(true) }.packet();
    let asks = [8, 13, 15, 17].map(|kind| icmp(kind, 0, [0; 4], &[0; 40]));
    let errors = (1..=40).map(|kind| icmp(kind, 1, [0; 4], &about[..28])).chain(asks);
    let fragment = |fragment: u16, len: usize| {
        let first = TestPacket { payload: vec![0; 2000], ..syn(22) }.packet();
        TestPacket { fragment, ..syn(22) }.carry(TCP, &first[20..20 + len])
    };
    let fragments =
        [(0x2000, 8), (0x2000, 24), (0x2000, 1400), (0x2001, 1400), (1, 8), (0x1fff, 8)]
            .map(|(at, len)| fragment(at, len));
    let routed = [7, 0x83, 0x89, 0x44].map(|option| {
        let mut packet = syn(22).packet();
        packet.splice(20..20, [option, 7, 4, 198, 51, 100, 1, 0]);
        (packet[0], packet[3]) = (0x47, packet[3] + 8);
        packet
    });
    vec![
        ("unsolicited", listening.into_iter().chain(scan).chain(protocols).collect()),
        (
            "wrong_source",
            sources.iter().map(|ip| with(&syn(22), 12, ip)).chain(v6).chain(v6_icmp).collect(),
        ),
        ("wrong_destination", destinations.iter().map(|ip| with(&syn(22), 16, ip)).collect()),
        ("refused_icmp", errors.collect()),
        ("stray_fragment", fragments.into()),
        ("ip_options", routed.into()),
    ]
}

/// A program of the laptop's that asks over UDP.
fn asker(world: &World) -> UdpSocket {
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
        if let Some(question) = intruder.hear_at(UDP, ECHO, RETRY) {
            return question;
        }
    }
    panic!("no question came through");
}

/// A question and its answer, with this noise before it; how long that took.
fn ask(intruder: &mut Intruder, asker: &UdpSocket, noise: &[Vec<u8>]) -> Duration {
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
fn connection(world: &World, intruder: &mut Intruder) -> TcpStream {
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
    all_end(world, intruder, &[("refused_icmp", refused)]);
    assert!(!path_mtu(world).contains("mtu 100"), "{}", path_mtu(world));
    let end = Instant::now() + LIMIT;
    while !path_mtu(world).contains("mtu 1300") {
        assert!(Instant::now() < end, "{}", path_mtu(world));
        intruder.send(&told(1300, &question[..28]));
        std::thread::sleep(Duration::from_millis(20));
    }
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
    all_end(&world, &mut intruder, &attacks());
    services.assert_silent();
    let _open = connection(&world, &mut intruder);
    path_messages(&world, &mut intruder);
    // A burst of everything before each answer, as much as fits into the laptop's socket.
    let noise: Vec<Vec<u8>> = attacks().into_iter().flat_map(|(_, packets)| packets).collect();
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
