//! One device with many peers, and the shield with many flows: the steps of the packet path, of
//! time and of configuration, for growth.py to count their instructions at several sizes:
//! `growth PEERS PREFIXES FLOWS`, PREFIXES for each peer. Each function here whose name begins with
//! `step_` is one row; what is printed is how many units of work it did.
#![allow(dead_code)]

mod devices;

use devices::{Noise, Wire, now};
use hopbox::wg::{
    Arrival, DataHeader, Device, Inbound, Outbound, PeerUpdate, Time, is_handshake, public_key,
};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The shield, which the library keeps to itself.
#[path = "../../src/tunnel/shield/mod.rs"]
mod shield;
mod wg {
    pub use hopbox::wg::{Drop, Time};
}

/// Packets of a row, and peers that are shaken hands with or changed in one.
const PACKETS: usize = 512;
const FEW: usize = 4;
const HUB: [u8; 4] = [203, 0, 113, 1];
const SECOND: u64 = 1_000_000_000;

/// The key of peer `n`; the hub's is another. Of a private key the lowest bits mean nothing.
fn key(n: usize) -> [u8; 32] {
    let mut key = [7; 32];
    key[8..16].copy_from_slice(&(n as u64).to_le_bytes());
    key
}

const HUB_KEY: [u8; 32] = [9; 32];

/// The addresses of peer `n`, one behind the other.
fn addresses(n: usize, each: usize) -> Vec<(IpAddr, u8, bool)> {
    let address = |i: usize| Ipv4Addr::from(0x0a00_0000 + (n * each + i) as u32);
    (0..each).map(|i| (address(i).into(), 32, true)).collect()
}

fn from(n: usize) -> Arrival {
    let [.., high, low] = (n as u32).to_be_bytes();
    Arrival { remote: SocketAddr::from(([198, 18, high, low], 51820)), local: None, ecn: 0 }
}

/// A device with this key, up.
fn device(seed: usize, key: [u8; 32]) -> Device {
    let mut device = Device::new(Box::new(Noise(seed as u64)));
    device.set_private_key(now(0), Some(key), &mut Wire::default());
    device.start(now(0), &mut Wire::default());
    device
}

struct Bed {
    hub: Device,
    peers: Vec<Device>,
    /// Theirs, which take longer to make than what they are for.
    keys: Vec<[u8; 32]>,
    each: usize,
    wire: Wire,
}

impl Bed {
    /// A hub with so many peers, each with so many allowed IPs. [`FEW`] of them have no session.
    fn new(count: usize, each: usize) -> Bed {
        let mut bed = Bed {
            hub: device(usize::MAX, HUB_KEY),
            peers: (0..count).map(|n| device(n, key(n))).collect(),
            keys: (0..count).map(|n| public_key(&key(n))).collect(),
            each,
            wire: Wire::default(),
        };
        for n in 0..count {
            bed.update(n);
            let update = PeerUpdate {
                public_key: public_key(&HUB_KEY),
                endpoint: Some(from(usize::MAX).remote),
                allowed_ips: vec![(HUB.into(), 32, true)],
                ..PeerUpdate::default()
            };
            bed.peers[n].update_peer(now(0), &update, &mut bed.wire).expect("one peer");
        }
        for n in FEW..count {
            let initiation = bed.initiation(n);
            bed.answer(n, initiation);
        }
        bed
    }

    /// What the hub is told of peer `n`.
    fn update(&mut self, n: usize) {
        let update = PeerUpdate {
            public_key: self.keys[n],
            endpoint: Some(from(n).remote),
            replace_allowed_ips: true,
            allowed_ips: addresses(n, self.each),
            ..PeerUpdate::default()
        };
        self.hub.update_peer(now(0), &update, &mut self.wire).expect("one peer more");
    }

    fn initiation(&mut self, n: usize) -> Vec<u8> {
        let mut packet = self.inner(n, true);
        let mut wire = Wire::default();
        let got = self.peers[n].from_tun(now(SECOND), &mut packet, 64, &mut wire);
        assert!(matches!(got, Outbound::Staged) && is_handshake(&wire.0[0]));
        wire.0.remove(0)
    }

    /// The hub answers, and peer `n` has a session.
    fn answer(&mut self, n: usize, mut initiation: Vec<u8>) {
        let (mut there, mut here) = (Wire::default(), Wire::default());
        self.hub.from_wire(now(SECOND), &mut initiation, &from(n), &mut there);
        let arrival = from(usize::MAX);
        self.peers[n].from_wire(now(SECOND), &mut there.0[0], &arrival, &mut here);
        let got = self.hub.from_wire(now(SECOND), &mut here.0[0], &from(n), &mut there);
        assert!(matches!(got, Inbound::Packet { .. }), "peer {n}: {got:?}");
    }

    /// A packet between the hub and the last address of peer `n`.
    fn inner(&self, n: usize, to_hub: bool) -> Vec<u8> {
        let address = (0x0a00_0000 + (n * self.each + self.each - 1) as u32).to_be_bytes();
        let (from, to) = if to_hub { (address, HUB) } else { (HUB, address) };
        devices::packet(from, to, 64)
    }

    /// Those with a session, as often as there are packets, in an order that helps no cache.
    fn some(&self) -> impl Iterator<Item = usize> + use<> {
        let with = self.peers.len() - FEW;
        (0..PACKETS).map(move |i| FEW + i * 7 % with)
    }
}

/// All but sealing, which knows one session.
#[inline(never)]
fn step_packet_out(bed: &mut Bed, packets: &mut [Vec<u8>]) -> usize {
    for packet in packets.iter_mut() {
        let got = bed.hub.from_tun_unsealed(now(2 * SECOND), packet, 64, &mut bed.wire);
        assert!(matches!(got, (Outbound::Send { .. }, Some(_))));
    }
    packets.len()
}

/// With opening, of 64 bytes.
#[inline(never)]
fn step_packet_in(bed: &mut Bed, datagrams: &mut [(usize, Vec<u8>)]) -> usize {
    for (n, datagram) in datagrams.iter_mut() {
        let header = DataHeader::read(datagram).expect("data");
        let (time, arrival) = (now(2 * SECOND), from(*n));
        let got = bed.hub.data_from_wire(time, header, datagram, None, &arrival, &mut bed.wire);
        assert!(matches!(got, Inbound::Packet { .. }));
    }
    datagrams.len()
}

/// What each turn of the loop asks.
#[inline(never)]
fn step_next_deadline(bed: &mut Bed) -> usize {
    for _ in 0..PACKETS {
        black_box(bed.hub.next_deadline());
    }
    PACKETS
}

/// Each peer that was heard is answered by a keepalive.
#[inline(never)]
fn step_deadline(bed: &mut Bed) -> usize {
    bed.wire.0.clear();
    bed.hub.on_time(now(13 * SECOND), &mut bed.wire);
    bed.wire.0.len()
}

/// The responder's half.
#[inline(never)]
fn step_handshake(bed: &mut Bed, initiations: &mut [Vec<u8>]) -> usize {
    bed.wire.0.clear();
    for (n, initiation) in initiations.iter_mut().enumerate() {
        bed.hub.from_wire(now(SECOND), initiation, &from(n), &mut bed.wire);
    }
    assert_eq!(bed.wire.0.len(), FEW, "each was answered");
    FEW
}

/// The allowed IPs of one peer are replaced: of each.
#[inline(never)]
fn step_change_allowed_ip(bed: &mut Bed) -> usize {
    (0..FEW).for_each(|n| bed.update(n));
    FEW * bed.each
}

/// What wg(8) shows: of each allowed IP.
#[inline(never)]
fn step_list_allowed_ip(bed: &mut Bed) -> usize {
    black_box(bed.hub.peers()).iter().map(|peer| peer.allowed_ips.len()).sum()
}

/// A peer goes, and comes back: of each allowed IP.
#[inline(never)]
fn step_remove_allowed_ip(bed: &mut Bed) -> usize {
    for n in 0..FEW {
        let mut gone = PeerUpdate::default();
        (gone.public_key, gone.remove) = (bed.keys[n], true);
        bed.hub.update_peer(now(SECOND), &gone, &mut bed.wire).expect("it goes");
    }
    FEW * bed.each
}

#[inline(never)]
fn step_flow_out(shield: &mut shield::Shield, packets: &[Vec<u8>]) -> usize {
    packets.iter().for_each(|packet| shield.sent(Time::ZERO, black_box(packet)));
    packets.len()
}

#[inline(never)]
fn step_flow_in(shield: &mut shield::Shield, packets: &[Vec<u8>]) -> usize {
    packets.iter().for_each(|p| assert!(shield.admit(Time::ZERO, black_box(p)).is_ok()));
    packets.len()
}

/// A packet of UDP of flow `n`, without the room of a datagram.
fn of_flow(n: usize, out: bool) -> Vec<u8> {
    let (us, them, ports) = ([10, 10, 0, 1], [10, 10, 0, 2], [20_000 + n as u16, 53]);
    let (from, to) = if out { (us, them) } else { (them, us) };
    let ports = if out { ports } else { [ports[1], ports[0]] };
    let mut packet = devices::packet(from, to, 64)[hopbox::wg::HEADROOM..][..64].to_vec();
    packet[20..24].copy_from_slice(&ports.map(u16::to_be_bytes).concat());
    packet
}

fn flows(count: usize) {
    let us = shield::Shielded { address: Ipv4Addr::new(10, 10, 0, 1), connections: Vec::new() };
    let mut shield = shield::Shield::new(&us, Time::ZERO);
    // Opened one after the other, then in an order that helps no cache.
    (0..count).for_each(|n| shield.sent(Time::ZERO, &of_flow(n, true)));
    let some = |out| (0..PACKETS).map(|i| of_flow(i * 7 % count, out)).collect::<Vec<_>>();
    say("flow_out", step_flow_out(&mut shield, &some(true)));
    say("flow_in", step_flow_in(&mut shield, &some(false)));
}

fn say(step: &str, units: usize) {
    println!("{step} {units}");
}

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|n| n.parse().ok()).collect();
    let [peers, prefixes, open] = sizes[..] else {
        eprintln!("usage: growth PEERS PREFIXES FLOWS");
        std::process::exit(2);
    };
    let mut bed = Bed::new(peers.max(2 * FEW), prefixes.max(1));
    let mut packets: Vec<_> = bed.some().map(|n| bed.inner(n, false)).collect();
    say("packet_out", step_packet_out(&mut bed, &mut packets));
    let mut datagrams = Vec::new();
    for n in bed.some() {
        let mut packet = bed.inner(n, true);
        let got = bed.peers[n].from_tun(now(2 * SECOND), &mut packet, 64, &mut bed.wire);
        let Outbound::Send { len, .. } = got else { panic!("{got:?}") };
        packet.truncate(len);
        datagrams.push((n, packet));
    }
    say("packet_in", step_packet_in(&mut bed, &mut datagrams));
    let mut initiations: Vec<_> = (0..FEW).map(|n| bed.initiation(n)).collect();
    say("handshake", step_handshake(&mut bed, &mut initiations));
    say("next_deadline", step_next_deadline(&mut bed));
    say("deadline", step_deadline(&mut bed));
    say("list_allowed_ip", step_list_allowed_ip(&mut bed));
    say("change_allowed_ip", step_change_allowed_ip(&mut bed));
    say("remove_allowed_ip", step_remove_allowed_ip(&mut bed));
    flows(open.max(1));
}
