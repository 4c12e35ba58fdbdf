//! A server that was taken over: it has the agent's key and port, and every packet of its tunnel is
//! made by hand.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use hopbox::base::key;
use hopbox::host::store;
use hopbox::sys::packet_pair;
use hopbox::sys::poll::{self, Interest};
use hopbox::tunnel::{self, Config, PathMtu, PeerConfig, TunDevice, Tunnel};
use hopbox_selftest::files::{HOST, LAPTOP_WAN};
use hopbox_selftest::machine::SOON;

use super::world::*;

pub(super) use crate::test_packets::TestPacket;

pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
const FIN_PUSH_ACK: u8 = 25;
pub const TCP: u8 = 6;
pub const ICMP: u8 = 1;
pub const UDP: u8 = 17;
/// The rest of what a scanner tries.
const SCANNED: u16 = 2000;

pub struct Intruder {
    /// Where a TUN would be.
    end: File,
    _tunnel: Tunnel,
}

impl Intruder {
    /// In the place of the world's agent, which ends.
    pub fn take_over(world: &mut World) -> Intruder {
        let mtu = store::load(&world.paths, HOST).unwrap().mtu;
        Intruder::with_mtu(world, mtu)
    }

    /// Its own tunnel cuts what is longer than `mtu` and plain TCP into so long packets.
    pub fn with_mtu(world: &mut World, mtu: u16) -> Intruder {
        world.stop_agent(0);
        let host = store::load(&world.paths, HOST).unwrap();
        let laptop = *key::load(&store::key_file(&world.paths, HOST)).unwrap();
        let port = world.status()["listen_port"].as_u64().unwrap() as u16;
        let (end, device) = packet_pair().unwrap();
        let start = move || {
            let at = Path::new("/var/lib/hopbox-agent");
            let key = key::load(&at.join("agent.key")).map_err(|error| error.to_string())?;
            let peer = PeerConfig {
                public_key: tunnel::public_key(&laptop),
                preshared_key: host.preshared_key.as_ref().map(|key| **key),
                endpoint: Some(SocketAddr::from((LAPTOP_WAN, port))),
                allowed_ips: vec![([0; 4].into(), 0), ([0; 16].into(), 0)],
                ..PeerConfig::default()
            };
            let config = Config {
                private_key: *key,
                other_private_keys: Vec::new(),
                listen_port: host.endpoint.port,
                second_port: None,
                peers: vec![peer],
                timestamp_file: Some(at.join("agent.stamp")),
                shield: None,
                path: PathMtu::Fixed,
            };
            let name = "intruder".to_owned();
            let device = TunDevice { fd: device, name, mtu, vnet_hdr: false };
            tunnel::start(device, &config).map_err(|error| error.to_string())
        };
        let tunnel = world.vps[0].machine.run(SOON, start).unwrap();
        Intruder { end: File::from(end), _tunnel: tunnel }
    }

    pub fn send(&mut self, packet: &[u8]) {
        while let Err(error) = self.end.write(packet) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            let free = poll::wait_one(self.end.as_fd(), Interest::WRITE, Some(LIMIT));
            assert!(free.unwrap(), "the tunnel takes no packet");
        }
    }

    /// The next packet that the laptop sent, at most so long.
    pub fn hear(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let mut packet = vec![0; 65_536];
        loop {
            match self.end.read(&mut packet) {
                Ok(len) => return Some(packet[..len].to_vec()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            if !poll::wait_one(self.end.as_fd(), Interest::READ, Some(limit)).unwrap() {
                return None;
            }
        }
    }

    /// The next question of this socket's own, behind those that others asked and nobody answered.
    pub fn hear_question(
        &mut self,
        asker: &UdpSocket,
        port: u16,
        limit: Duration,
    ) -> Option<Vec<u8>> {
        let from = asker.local_addr().unwrap().port().to_be_bytes();
        let end = Instant::now() + limit;
        loop {
            let packet = self.hear_at(UDP, port, end.saturating_duration_since(Instant::now()))?;
            if packet[20..22] == from {
                return Some(packet);
            }
        }
    }

    /// The next packet to a port of this protocol, whatever comes before it, at most so long.
    pub fn hear_at(&mut self, protocol: u8, port: u16, limit: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        loop {
            let packet = self.hear(end.saturating_duration_since(Instant::now()))?;
            if is_to(&packet, protocol, port) {
                return Some(packet);
            }
        }
    }
}

pub fn is_to(packet: &[u8], protocol: u8, port: u16) -> bool {
    packet[0] == 0x45 && packet[9] == protocol && packet[22..24] == port.to_be_bytes()
}

/// Whether it asks how long packets may be (R103), which a session does of whoever is there.
pub fn asks_for_size(packet: &[u8]) -> bool {
    packet[9] == ICMP && packet.get(20) == Some(&8) && packet.get(28..36) == Some(&b"path-mtu"[..])
}

/// What answers a packet: addresses and ports turned round, and, of TCP, all of it acknowledged.
pub(super) fn answer(packet: &[u8], flags: u8, payload: &[u8]) -> TestPacket {
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let long = |at: usize| u32::from_be_bytes(*packet[at..].first_chunk().unwrap());
    let udp = packet[9] == 17;
    let ports = [number(22), number(20)];
    let base = TestPacket { hosts: [2, 1], ports, payload: payload.to_vec(), ..any(udp) };
    if udp {
        return base;
    }
    let head = 20 + usize::from(packet[32] >> 4) * 4;
    let said = (packet.len() - head) as u32 + u32::from(packet[33] & 3 != 0);
    let first = flags & SYN != 0;
    let seq = if first { 1000 } else { long(28) };
    let (window, options) = (60_000, Vec::new());
    TestPacket { seq, ack: long(24).wrapping_add(said), flags, window, options, ..base }
}

pub(super) fn any(udp: bool) -> TestPacket {
    let any = if udp { TestPacket::udp(false, 20) } else { TestPacket::tcp(false, 1, 0) };
    TestPacket { hosts: [2, 1], ..any }
}

pub fn icmp(kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], &rest[..], body].concat();
    let words =
        message.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    message[2..4].copy_from_slice(&(!(sum + (sum >> 16)) as u16).to_be_bytes());
    any(true).carry(1, &message)
}

/// To a port that somebody may listen at, in every way that a scanner has.
fn knocks(port: u16) -> Vec<Vec<u8>> {
    let flags = [SYN, SYN | ACK, ACK, RST, 0, FIN_PUSH_ACK, 0x29, SYN | 1, SYN | RST, SYN | 0xc0];
    let tcp = flags.map(|flags| TestPacket { flags, ports: [50_000, port], ..any(false) });
    let udp = TestPacket { ports: [53, port], ..any(true) };
    tcp.iter().chain([&udp]).map(TestPacket::packet).collect()
}

fn with(packet: &TestPacket, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = packet.packet();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

/// What a hostile server may send to a laptop that has begun nothing, and why it ends.
pub(super) fn attacks(listening: &[u16]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let syn = |port| TestPacket { flags: SYN, ports: [50_000, port], ..any(false) };
    let knocked = listening.iter().flat_map(|port| knocks(*port));
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
        ("unsolicited", knocked.chain(scan).chain(protocols).collect()),
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
