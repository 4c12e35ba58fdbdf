//! What the steps of the protocol cost: a handshake, one data packet there and back, the replay
//! window, the router, the shield. Part of `make bench`; alone: `cargo bench --bench micro`.
//!
//! Medians of short rounds, because the machine has other work too; compare within one run only.
#![allow(dead_code)]

mod devices;

use devices::{Noise, Wire, now};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use hopbox::wg::{Arrival, Device, Inbound, Outbound, PeerUpdate, Time, public_key};

/// The shield, the window and the router, which the library keeps to itself.
#[path = "../../src/tunnel/shield/mod.rs"]
mod shield;
#[cfg(test)]
#[path = "../../src/tunnel/test_packets.rs"]
mod test_packets;
#[path = "../../src/wg"]
mod wg {
    pub use hopbox::wg::{Drop, Time};
    mod consts;
    pub mod index {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct PeerId(pub u32);
    }
    pub mod replay;
    pub mod router;
}

const ROUNDS: usize = 101;

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, n], 51820))
}

/// Device 1 or 2, which knows the other one.
fn device(me: u8) -> Device {
    let other = 3 - me;
    let mut device = Device::new(Box::new(Noise(u64::from(me))));
    let mut wire = Wire::default();
    device.set_private_key(now(0), Some([me * 8; 32]), &mut wire);
    let update = PeerUpdate {
        public_key: public_key(&[other * 8; 32]),
        endpoint: Some(at(other)),
        allowed_ips: vec![(IpAddr::V4(Ipv4Addr::new(203, 0, 113, other)), 32, true)],
        ..PeerUpdate::default()
    };
    device.update_peer(now(0), &update, &mut wire).expect("one peer");
    device.start(now(0), &mut wire);
    device
}

/// A packet from device 1 to device 2.
fn packet(len: usize) -> Vec<u8> {
    devices::packet([203, 0, 113, 1], [203, 0, 113, 2], len)
}

fn deliver(to: &mut Device, from: u8, datagram: &mut [u8], wire: &mut Wire) -> Inbound {
    let arrival = Arrival { remote: at(from), local: None, ecn: 0 };
    to.from_wire(now(1000), datagram, &arrival, wire)
}

/// Initiation, response and the first packet, until both ends have their keys.
fn shake(a: &mut Device, b: &mut Device) {
    let (mut from_a, mut from_b) = (Wire::default(), Wire::default());
    let mut first = packet(64);
    black_box(a.from_tun(now(1000), &mut first, 64, &mut from_a));
    deliver(b, 1, &mut from_a.0[0], &mut from_b);
    deliver(a, 2, &mut from_b.0[0], &mut from_a);
    let data = from_a.0.get_mut(1).expect("the packet that waited for the handshake");
    assert!(matches!(deliver(b, 1, data, &mut from_b), Inbound::Packet { .. }));
}

/// Medians over rounds of `times` calls each, in nanoseconds a call.
fn median(name: &str, times: usize, mut round: impl FnMut() -> u128) {
    let mut all: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    all.sort_unstable();
    println!("{name:34} {:>10.1} ns", all[ROUNDS / 2] as f64 / times as f64);
}

fn timed(work: impl FnOnce()) -> u128 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos()
}

fn packets(len: usize) {
    let (mut a, mut b) = (device(1), device(2));
    shake(&mut a, &mut b);
    let times = 200;
    let mut sealed = vec![packet(len); times];
    let (mut out, mut into, mut end) = (0, 0, 0);
    let mut halves = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let mut wire = Wire::default();
        for buf in &mut sealed {
            buf.copy_from_slice(&packet(len));
        }
        halves[0].push(timed(|| {
            for buf in &mut sealed {
                if let Outbound::Send { len, .. } = a.from_tun(now(1000), buf, len, &mut wire) {
                    (out, end) = (out + 1, len);
                }
            }
        }));
        halves[1].push(timed(|| {
            for buf in &mut sealed {
                let got = deliver(&mut b, 1, &mut buf[..end], &mut wire);
                into += usize::from(matches!(got, Inbound::Packet { .. }));
            }
        }));
    }
    assert_eq!((out, into), (ROUNDS * times, ROUNDS * times));
    for (mut all, what) in halves.into_iter().zip(["from_tun", "from_wire"]) {
        all.sort_unstable();
        let ns = all[ROUNDS / 2] as f64 / times as f64;
        println!("{:34} {ns:>10.1} ns", format!("{what}, {len} B"));
    }
}

/// A packet of TCP between us and a server, of flow `n` of many.
fn segment(n: u16, from_us: bool) -> Vec<u8> {
    let (us, them) = ([10, 10, 0, 1], [10, 10, 0, 2]);
    let (ports, address) = match from_us {
        true => ([40_000 + n, 443], [us, them]),
        false => ([443, 40_000 + n], [them, us]),
    };
    let mut packet = vec![0x45, 0, 5, 0x8c, 0, 1, 0x40, 0, 64, 6, 0, 0];
    packet.extend(address.concat());
    packet.extend(ports.map(u16::to_be_bytes).concat());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.resize(1420, 0);
    packet
}

fn shield() {
    let address = Ipv4Addr::new(10, 10, 0, 1);
    let us = shield::Shielded { address, connections: Vec::new() };
    let mut shield = shield::Shield::new(&us, Time::ZERO);
    for flows in [1, 64, 4096] {
        let packets = |from_us| (0..flows).map(|n| segment(n, from_us)).collect::<Vec<_>>();
        let (out, back) = (packets(true), packets(false));
        let each = |what: &str, of: &[Vec<u8>], act: &mut dyn FnMut(&[u8])| {
            median(&format!("shield, {what}, {flows} flows"), 4096, || {
                timed(|| {
                    for packet in of.iter().cycle().take(4096) {
                        act(black_box(packet));
                    }
                })
            });
        };
        each("out", &out, &mut |packet| shield.sent(Time::ZERO, packet));
        each("in", &back, &mut |packet| assert!(shield.admit(Time::ZERO, packet).is_ok()));
    }
}

fn main() {
    println!("medians of {ROUNDS} rounds; vector code: {}", hopbox::simd::status());
    median("handshake, both ends", 1, || {
        let (mut a, mut b) = (device(1), device(2));
        timed(|| shake(&mut a, &mut b))
    });
    median("handshake, keys made ahead", 1, || {
        let (mut a, mut b) = (device(1), device(2));
        a.prepare();
        b.prepare();
        timed(|| shake(&mut a, &mut b))
    });
    for len in [64, 256, 1420] {
        packets(len);
    }
    shield();
    let (mut window, mut counter) = (wg::replay::Window::default(), 0);
    median("replay window, in order", 1000, || {
        timed(|| {
            for _ in 0..1000 {
                assert!(window.accept(black_box(counter)));
                counter += 1;
            }
        })
    });
    for peers in [1u32, 64, 4096] {
        let mut router = wg::router::Router::default();
        let address = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
        for n in 0..peers {
            assert!(router.insert(address(n), 32, wg::index::PeerId(n)));
        }
        median(&format!("router, {peers} peers"), 1000, || {
            timed(|| {
                for n in 0..1000 {
                    black_box(router.peer_for(black_box(address(n * 7 % peers))));
                }
            })
        });
    }
}
