//! The program by an interpreter of its own, against what is written down about it.

use super::*;
use crate::core::bpf::RETURN;
use std::net::Ipv4Addr;

/// The verdict on a packet. A load past its end, where the kernel would let it in, is a failure.
fn verdict(program: &[sock_filter], packet: &[u8]) -> u32 {
    let (mut at, mut word) = (0, 0_u32);
    for _ in 0..program.len() {
        let step = program[at];
        at += 1;
        let load = |bytes: usize| {
            let from = step.k as usize;
            let part = packet.get(from..from + bytes).expect("a load past the end");
            part.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
        };
        let taken = match step.code {
            LENGTH => {
                word = packet.len() as u32;
                continue;
            }
            BYTE | HALF | WORD => {
                word = load(match step.code {
                    BYTE => 1,
                    HALF => 2,
                    _ => 4,
                });
                continue;
            }
            AND => {
                word &= step.k;
                continue;
            }
            RETURN => return step.k,
            EQUAL => word == step.k,
            AT_LEAST => word >= step.k,
            ANY_BIT => word & step.k != 0,
            code => panic!("unknown instruction {code}"),
        };
        at += usize::from(if taken { step.jt } else { step.jf });
    }
    panic!("the program does not end");
}

fn ip(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

/// An IPv4 packet without options.
fn packet(from: &str, to: &str, protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, (20 + body.len()) as u8, 0, 1, 0, 0, 64, protocol, 0, 0];
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet.extend(ip(from));
    packet.extend(ip(to));
    packet.extend(body);
    packet
}

fn error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    [&[kind, 4, 0, 0, 0, 0, 5, 20][..], quoted].concat()
}

fn laptop() -> Vec<sock_filter> {
    let (local, peer) = (Ipv4Addr::from(ip("10.10.0.1")), Ipv4Addr::from(ip("10.10.0.2")));
    program(Some(Endpoints { local, peer, prefix: 32 }))
}

fn server() -> Vec<sock_filter> {
    let (local, peer) = (Ipv4Addr::from(ip("10.10.0.2")), Ipv4Addr::from(ip("10.10.0.1")));
    program(Some(Endpoints { local, peer, prefix: 24 }))
}

#[test]
fn what_is_routed_to_the_device_comes_in() {
    let flow = packet("10.10.0.1", "10.10.0.2", 6, 0x4000, &[0; 20]);
    for protocol in [6, 17, 1, 4, 47, 50, 132] {
        let body = &[0; 40];
        let from_peer = packet("10.10.0.2", "10.10.0.1", protocol, 0x4000, body);
        assert_eq!(verdict(&laptop(), &from_peer), PASS, "{protocol}");
    }
    for fragment in [0x2000, 0x2001, 0x0100] {
        for protocol in [1, 17] {
            let part = packet("10.10.0.2", "10.10.0.1", protocol, fragment, &[8; 16]);
            assert_eq!(verdict(&laptop(), &part), PASS, "{protocol} {fragment:x}");
        }
    }
    for kind in [3, 11, 12] {
        let told = packet("10.10.0.2", "10.10.0.1", 1, 0, &error(kind, &flow));
        assert_eq!(verdict(&laptop(), &told), PASS, "{kind}");
    }
    for host in ["10.10.0.1", "10.10.0.3", "10.10.0.254"] {
        let from_one = packet(host, "10.10.0.2", 17, 0, &[0; 8]);
        assert_eq!(verdict(&server(), &from_one), PASS, "{host}");
    }
}

#[test]
fn nothing_else_does() {
    let (from, to) = ("10.10.0.2", "10.10.0.1");
    let drops = |what: &str, packet: Vec<u8>| {
        assert_eq!(verdict(&laptop(), &packet), DROP, "{what}");
    };
    for other in ["10.10.0.3", "192.168.1.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", to] {
        drops("source", packet(other, to, 17, 0, &[0; 8]));
    }
    for other in ["10.10.0.2", "10.10.0.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "8.8.8.8"]
    {
        drops("destination", packet(from, other, 17, 0, &[0; 8]));
    }
    let mut options = packet(from, to, 17, 0, &[0; 12]);
    options[0] = 0x46;
    drops("options", options);
    for protocol in [2, 89, 103, 112] {
        drops("of routers", packet(from, to, protocol, 0, &[0; 40]));
    }
    let ours = packet(to, from, 6, 0, &[0; 20]);
    for kind in (0..=255).filter(|kind| ![0, 3, 8, 11, 12].contains(kind)) {
        drops("kind", packet(from, to, 1, 0, &error(kind, &ours)));
    }
    for quoted in [
        packet("192.168.1.7", "192.168.1.1", 6, 0, &[0; 20]),
        packet(to, "192.168.1.1", 6, 0, &[0; 20]),
        packet("192.168.1.7", from, 6, 0, &[0; 20]),
        packet(from, to, 6, 0, &[0; 20]),
    ] {
        for kind in [3, 11, 12] {
            drops("another's flow", packet(from, to, 1, 0, &error(kind, &quoted)));
        }
    }
    drops("a first fragment of an error", packet(from, to, 1, 0x2000, &error(3, &ours)));
    drops("half a quote", packet(from, to, 1, 0, &error(3, &ours[..27])));
    let mut six = packet(from, to, 17, 0, &[0; 40]);
    six[0] = 0x60;
    drops("IPv6", six);
    for of_route in ["10.10.0.2", "10.10.1.1", "192.168.1.1"] {
        let at_server = packet(of_route, "10.10.0.2", 17, 0, &[0; 8]);
        assert_eq!(verdict(&server(), &at_server), DROP, "{of_route}");
    }
}

/// Also of every length: no load is past the end, and every jump stays inside.
#[test]
fn any_bytes_get_a_verdict() {
    let mut state = 5_u64;
    let mut passed = 0;
    for round in 0..200_000_usize {
        let good = packet("10.10.0.2", "10.10.0.1", 1, 0, &error(3, &[0x45; 40]));
        let mut bytes = good;
        for _ in 0..round % 4 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        bytes.truncate(round % 80);
        passed += usize::from(verdict(&laptop(), &bytes) == PASS);
        assert_eq!(verdict(&program(None), &bytes), DROP);
    }
    assert!(passed > 0);
    for from in 0..=255_usize {
        let short = vec![0x45; from.min(60)];
        assert_eq!(verdict(&laptop(), &short), DROP);
    }
    assert!(laptop().len() < 64, "{}", laptop().len());
}
