//! What a hostile server may do to the shield, compiled here as it is: it is private to the tunnel.
//!
//! Beside it stands a list of all that was ever sent from here, which forgets nothing. Whatever the
//! shield lets in is of a flow in that list, asks for nothing, and is for this machine's address; a
//! later fragment follows a first one that was let in. What comes in adds nothing to the list, so
//! nothing that comes in opens anything.

use super::bytes::Bytes;
use super::test_packets::TestPacket;
use hopbox::wg::Time;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use subject::{Shield, Shielded};

#[path = "../../../../src/tunnel/shield/mod.rs"]
mod subject;

/// As [`TestPacket`] has it where a host is 1.
const OWN: [u8; 4] = [10, 10, 0, 1];
const TCP: u8 = 6;
const ICMP: u8 = 1;

/// Protocol, address there, port here, port there; of an echo its number and none.
type Flow = (u8, [u8; 4], u16, u16);

struct Script {
    shield: Shield,
    now: Time,
    sent: HashSet<Flow>,
    /// Of first fragments that were let in: from whom, number, protocol.
    begun: HashSet<([u8; 4], u16, u8)>,
}

pub fn shield(data: &[u8]) {
    let mut b = Bytes::new(data);
    let now = Time::from_nanos(1_000_000_000 * u64::from(b.u16()));
    let connections = vec![(50_000, SocketAddrV4::new(Ipv4Addr::new(10, 10, 0, 2), 22))];
    let shielded = Shielded { address: OWN.into(), connections };
    let sent = HashSet::from([(TCP, [10, 10, 0, 2], 50_000, 22)]);
    let mut s = Script { shield: Shield::new(&shielded, now), now, sent, begun: HashSet::new() };
    while !b.is_empty() {
        match b.u8() % 8 {
            0 => s.now = s.now.after(Duration::from_secs(b.u16().into())),
            1 => s.send(&packet(&mut b, [1, 2]).packet()),
            2 => s.send(&odd(&mut b, 12)),
            3 => s.send(&echo(&mut b, [1, 2], 8)),
            4 => s.come(&echo(&mut b, [2, 1], 0)),
            5 => s.come(&odd(&mut b, 16)),
            _ => s.come(&packet(&mut b, [2, 1]).packet()),
        }
    }
}

/// Of few flows, so that they meet.
fn packet(b: &mut Bytes, [from, to]: [u8; 2]) -> TestPacket {
    let (kind, ports) = (b.u8(), b.u8());
    let other = 2 + (kind >> 6 & 1);
    let mine = [50_000 + u16::from(ports & 3), 22 + u16::from(ports >> 2 & 1)];
    let base = match kind & 1 {
        0 => TestPacket::tcp(kind & 14 == 14, 1, usize::from(b.u8())),
        _ => TestPacket::udp(false, usize::from(b.u8()) * 6),
    };
    let fragment = if kind & 16 != 0 { u16::from(b.u8()) << 8 | u16::from(b.u8()) } else { 0 };
    let hosts = if from == 1 { [1, other] } else { [other, to] };
    let ports = if from == 1 { mine } else { [mine[1], mine[0]] };
    let (flags, id) = (b.u8(), u16::from(b.u8() & 3));
    TestPacket { hosts, ports, flags, id, fragment, ..base }
}

fn echo(b: &mut Bytes, hosts: [u8; 2], kind: u8) -> Vec<u8> {
    let kind = if b.u8() & 7 == 7 { b.u8() } else { kind };
    let base = TestPacket { hosts, ..TestPacket::udp(false, 0) };
    let rest = b.some();
    base.carry(ICMP, &[&[kind, b.u8() & 1, 0, 0, 0, b.u8() & 3], rest].concat())
}

/// Bytes from anywhere, that begin as IPv4 does and have our address at `at`.
fn odd(b: &mut Bytes, at: usize) -> Vec<u8> {
    let mut bytes = b.some().to_vec();
    if let Some(first) = bytes.first_mut() {
        *first = 0x45 | (*first & 0x0f & if *first & 0x80 != 0 { 0x0f } else { 5 });
    }
    if let Some(own) = bytes.get_mut(at..at + 4) {
        own.copy_from_slice(&OWN);
    }
    bytes
}

impl Script {
    fn send(&mut self, packet: &[u8]) {
        self.shield.sent(self.now, packet);
        if let Some(head) = Head::read(packet).filter(|head| head.from == OWN && head.at == 0) {
            self.sent.extend(head.flow(head.to, [0, 2], 8));
        }
    }

    fn come(&mut self, packet: &[u8]) {
        if self.shield.admit(self.now, packet).is_err() {
            return;
        }
        let head = Head::read(packet).expect("something else than IPv4 was let in");
        assert!(head.to == OWN && packet[0] == 0x45, "for somebody else, or with a route");
        let train = (head.from, head.id, head.protocol);
        if head.at > 0 {
            return assert!(self.begun.contains(&train), "a fragment without a first one");
        }
        let asks = head.protocol == TCP && head.body[13] & 0x12 == 2;
        assert!(!asks, "somebody asks for a connection");
        if head.more {
            self.begun.insert(train);
        }
        match head.flow(head.from, [2, 0], 0) {
            Some(flow) => assert!(self.sent.contains(&flow), "nobody asked: {flow:?}"),
            None => self.error(&head),
        }
    }

    /// It must tell of a packet that was sent.
    fn error(&self, head: &Head) {
        assert!(head.protocol == ICMP && [3, 11, 12].contains(&head.body[0]));
        let ours = Head::read(&head.body[8..]).filter(|head| head.from == OWN && head.at == 0);
        let flow = ours.and_then(|ours| ours.flow(ours.to, [0, 2], 8));
        assert!(flow.is_some_and(|flow| self.sent.contains(&flow)), "of nothing of ours");
    }
}

struct Head<'a> {
    protocol: u8,
    from: [u8; 4],
    to: [u8; 4],
    id: u16,
    at: u16,
    more: bool,
    body: &'a [u8],
}

impl Head<'_> {
    fn read(bytes: &[u8]) -> Option<Head<'_>> {
        let body = bytes.get(usize::from(*bytes.first()? & 15) * 4..)?;
        let number = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let address = |at: usize| bytes.get(at..)?.first_chunk::<4>().copied();
        let (from, to, fragment) = (address(12)?, address(16)?, number(6)?);
        let (at, more) = (fragment & 0x1fff, fragment & 0x2000 != 0);
        let is_v4 = bytes[0] >> 4 == 4 && bytes[0] & 15 >= 5;
        is_v4.then_some(Head { protocol: bytes[9], from, to, id: number(4)?, at, more, body })
    }

    /// `places`: where the ports here and there stand; `echo`: which kind of those has a flow.
    fn flow(&self, other: [u8; 4], places: [usize; 2], echo: u8) -> Option<Flow> {
        let number = |at: usize| Some(u16::from_be_bytes(*self.body.get(at..)?.first_chunk()?));
        self.body.get(7)?;
        match self.protocol {
            ICMP if self.body[..2] == [echo, 0] => Some((ICMP, other, number(4)?, 0)),
            TCP | 17 => Some((self.protocol, other, number(places[0])?, number(places[1])?)),
            _ => None,
        }
    }
}
