//! The shield by packets that are made by hand.

mod floods;
mod model;

use super::shield::{Shield, Shielded};
use super::test_packets::TestPacket;
use crate::wg::{Drop, Time};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const OUR: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

pub struct Lab {
    pub shield: Shield,
    pub now: Time,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(Vec::new())
    }

    fn with(connections: Vec<(u16, SocketAddrV4)>) -> Lab {
        let now = Time::from_nanos(5_000_000_000);
        Lab { shield: Shield::new(&Shielded { address: OUR, connections }, now), now }
    }

    fn out(&mut self, packet: &TestPacket) {
        self.shield.sent(self.now, &packet.packet());
    }

    fn enters(&mut self, packet: &TestPacket) -> Result<(), Drop> {
        self.shield.admit(self.now, &packet.packet())
    }

    fn wait(&mut self, s: u64) {
        self.now = self.now.after(Duration::from_secs(s));
    }
}

fn tcp(ports: [u16; 2], flags: u8) -> TestPacket {
    TestPacket { ports, flags, ..TestPacket::tcp(false, 1, 40) }
}

fn udp(ports: [u16; 2]) -> TestPacket {
    TestPacket { ports, ..TestPacket::udp(false, 40) }
}

/// What the other side would send in the same flow.
fn back(packet: &TestPacket) -> TestPacket {
    let ([a, b], [p, q]) = (packet.hosts, packet.ports);
    TestPacket { hosts: [b, a], ports: [q, p], ..packet.clone() }
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let packet = TestPacket { hosts: [2, 1], ..TestPacket::udp(false, 0) };
    packet.carry(1, &[&[kind, code, 0, 0], &rest[..], body].concat())
}

fn echo(kind: u8, hosts: [u8; 2], id: u8) -> Vec<u8> {
    let packet = TestPacket { hosts, ..TestPacket::udp(false, 0) };
    packet.carry(1, &[kind, 0, 0, 0, 0, id, 0, 1, 1, 2, 3])
}

const NO: Result<(), Drop> = Err(Drop::Unsolicited);

#[test]
fn answers_enter_and_what_was_not_asked_for_does_not() {
    let mut lab = Lab::new();
    for ask in [tcp([40_000, 22], SYN), udp([40_001, 53])] {
        let answer = back(&ask);
        assert_eq!(lab.enters(&answer), NO, "before it was asked for");
        lab.out(&ask);
        let answer = TestPacket { flags: SYN | ACK, ..answer };
        assert_eq!(lab.enters(&answer), Ok(()));
        let [there, here] = answer.ports;
        for ports in [[there, here + 1], [there + 1, here], [here, there]] {
            assert_eq!(lab.enters(&TestPacket { ports, ..answer.clone() }), NO, "{ports:?}");
        }
        let other = TestPacket { hosts: [3, 1], ..answer.clone() };
        assert_eq!(lab.enters(&other), NO, "another machine behind the same peer");
        let other = TestPacket { udp: !answer.udp, ..answer.clone() };
        assert_eq!(
            lab.enters(&TestPacket { options: Vec::new(), ..other }),
            NO,
            "another protocol"
        );
    }
    assert_eq!(lab.shield.admit(lab.now, &echo(0, [2, 1], 7)), NO);
    lab.shield.sent(lab.now, &echo(8, [1, 2], 7));
    assert_eq!(lab.shield.admit(lab.now, &echo(0, [2, 1], 7)), Ok(()));
    assert_eq!(lab.shield.admit(lab.now, &echo(0, [2, 1], 8)), NO);
    assert_eq!(lab.shield.admit(lab.now, &echo(8, [2, 1], 7)), Err(Drop::RefusedIcmp), "asks us");
}

#[test]
fn what_is_sent_from_other_addresses_opens_nothing() {
    let mut lab = Lab::new();
    let forwarded = TestPacket { hosts: [9, 2], ..udp([40_000, 53]) };
    lab.out(&forwarded);
    assert_eq!(lab.enters(&back(&forwarded)), Err(Drop::WrongDestination));
    assert_eq!(lab.enters(&back(&udp([40_000, 53]))), NO);
}

#[test]
fn only_our_address_is_a_destination() {
    let mut lab = Lab::new();
    let ask = udp([40_000, 53]);
    lab.out(&ask);
    let answer = back(&ask).packet();
    assert_eq!(lab.shield.admit(lab.now, &answer), Ok(()));
    for other in [[127, 0, 0, 1], [192, 168, 1, 9], [10, 10, 0, 255], [224, 0, 0, 251], [255; 4]] {
        let mut packet = answer.clone();
        packet[16..20].copy_from_slice(&other);
        assert_eq!(lab.shield.admit(lab.now, &packet), Err(Drop::WrongDestination), "{other:?}");
    }
    let v6 = TestPacket { v6: true, ..back(&ask) };
    assert_eq!(lab.enters(&v6), Err(Drop::WrongDestination));
    for short in [0, 1, 19] {
        assert_eq!(lab.shield.admit(lab.now, &answer[..short]), Err(Drop::WrongDestination));
    }
    for short in 20..28 {
        assert_eq!(lab.shield.admit(lab.now, &answer[..short]), Err(Drop::InnerMalformed));
    }
    let mut routed = answer.clone();
    routed[0] = 0x47;
    routed.splice(20..20, [131, 7, 4, 192, 168, 1, 9, 0]);
    assert_eq!(lab.shield.admit(lab.now, &routed), Err(Drop::IpOptions));
    for protocol in [0, 2, 4, 33, 41, 47, 50, 58, 89, 132, 136, 255] {
        let mut packet = answer.clone();
        packet[9] = protocol;
        assert_eq!(lab.shield.admit(lab.now, &packet), NO, "{protocol}");
    }
}

#[test]
fn nobody_else_begins_a_connection_whatever_flags_it_has() {
    let mut lab = Lab::new();
    let ask = tcp([40_000, 22], SYN);
    for opened in [false, true] {
        for more in 0..64u8 {
            let flags = SYN | more & !ACK;
            let packet = TestPacket { flags, ..back(&ask) };
            assert_eq!(lab.enters(&packet), NO, "{flags:#x}, open: {opened}");
        }
        lab.out(&ask);
    }
    // Both ask at once: theirs is not let in, but they answer ours.
    assert_eq!(lab.enters(&TestPacket { flags: SYN | ACK, ..back(&ask) }), Ok(()));
    // What this machine says to somebody who asked, or to refuse, opens nothing.
    for flags in [SYN | ACK, RST, RST | ACK] {
        let said = tcp([8080, 50_000], flags);
        lab.out(&said);
        assert_eq!(lab.enters(&TestPacket { flags: ACK, ..back(&said) }), NO, "{flags:#x}");
    }
}

#[test]
fn a_connection_stays_open_while_it_is_silent_and_no_longer_when_it_has_ended() {
    let mut lab = Lab::new();
    let (asks, says) = (tcp([40_000, 22], SYN), tcp([40_000, 22], ACK));
    let heard = back(&says);
    lab.out(&asks);
    lab.wait(131);
    assert_eq!(lab.enters(&heard), NO, "never answered");
    lab.out(&asks);
    assert_eq!(lab.enters(&TestPacket { flags: SYN | ACK, ..heard.clone() }), Ok(()));
    lab.wait(90 * 24 * 3600);
    assert_eq!(lab.enters(&heard), Ok(()), "asleep for three months");
    // One side has said all; the other may go on.
    lab.out(&TestPacket { flags: ACK | FIN, ..says.clone() });
    lab.wait(24 * 3600);
    assert_eq!(lab.enters(&heard), Ok(()));
    assert_eq!(lab.enters(&TestPacket { flags: ACK | FIN, ..heard.clone() }), Ok(()));
    lab.out(&says);
    lab.wait(100);
    assert_eq!(lab.enters(&heard), Ok(()), "late copies");
    lab.wait(21);
    assert_eq!(lab.enters(&heard), NO, "answers do not keep it open");
    // Cut off, but not really: this side goes on.
    lab.out(&asks);
    assert_eq!(lab.enters(&TestPacket { flags: RST, ..heard.clone() }), Ok(()));
    lab.out(&says);
    lab.wait(24 * 3600);
    assert_eq!(lab.enters(&heard), NO, "it was never answered");
}

#[test]
fn a_connection_that_was_there_before_goes_on_whoever_speaks_first() {
    let there = SocketAddrV4::new(Ipv4Addr::new(10, 10, 0, 2), 22);
    let mut lab = Lab::with(vec![(40_000, there)]);
    lab.wait(7200);
    assert_eq!(lab.enters(&back(&tcp([40_000, 22], ACK))), Ok(()));
    let other = tcp([40_001, 22], ACK);
    assert_eq!(lab.enters(&back(&other)), NO);
    lab.out(&other);
    lab.wait(7200);
    assert_eq!(lab.enters(&back(&other)), Ok(()), "who speaks is believed");
}

#[test]
fn only_what_is_sent_keeps_a_flow_open() {
    for (ask, answer, limit) in [
        (udp([40_000, 53]).packet(), back(&udp([40_000, 53])).packet(), 300),
        (echo(8, [1, 2], 7), echo(0, [2, 1], 7), 60),
    ] {
        let mut lab = Lab::new();
        lab.shield.sent(lab.now, &ask);
        for _ in 0..limit {
            assert_eq!(lab.shield.admit(lab.now, &answer), Ok(()));
            lab.wait(1);
        }
        assert_eq!(lab.shield.admit(lab.now, &answer), Ok(()));
        lab.wait(1);
        assert_eq!(lab.shield.admit(lab.now, &answer), NO);
        lab.shield.sent(lab.now, &ask);
        assert_eq!(lab.shield.admit(lab.now, &answer), Ok(()));
    }
}

#[test]
fn errors_enter_about_packets_of_ours_alone() {
    let mut lab = Lab::new();
    let refused = Err(Drop::RefusedIcmp);
    let admit = |lab: &mut Lab, packet: Vec<u8>| lab.shield.admit(lab.now, &packet);
    for ask in [tcp([40_000, 22], SYN).packet(), udp([40_000, 53]).packet(), echo(8, [1, 2], 7)] {
        let quote = &ask[..28];
        assert_eq!(admit(&mut lab, icmp(3, 3, [0; 4], quote)), refused, "before it was sent");
        lab.shield.sent(lab.now, &ask);
        for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 13), (11, 0), (11, 1), (12, 0)] {
            assert_eq!(admit(&mut lab, icmp(kind, code, [0; 4], quote)), Ok(()), "{kind} {code}");
        }
        for kind in (0..=255).filter(|kind| ![3, 11, 12].contains(kind)) {
            let entered = admit(&mut lab, icmp(kind, 0, [0; 4], quote));
            assert!(entered.is_err(), "{kind}");
        }
        for (mtu, entered) in [(0u16, refused), (575, refused), (576, Ok(())), (1280, Ok(()))] {
            let [a, b] = mtu.to_be_bytes();
            assert_eq!(admit(&mut lab, icmp(3, 4, [0, 0, a, b], quote)), entered, "{mtu}");
        }
        for short in 0..28 {
            assert_eq!(admit(&mut lab, icmp(3, 3, [0; 4], &quote[..short])), refused, "{short}");
        }
        // From another address of ours, to another of theirs, of another flow, a later fragment,
        // and our own words turned round.
        for at in [15, 19, 21, 25, 7] {
            let mut other = quote.to_vec();
            other[at] ^= 1;
            let same = at == 25 && other[9] != 1 || at == 21 && other[9] == 1;
            assert!(same || admit(&mut lab, icmp(3, 3, [0; 4], &other)) == refused, "{at}");
        }
        let mut turned = quote.to_vec();
        turned[12..20].rotate_left(4);
        turned[20..24].rotate_left(2);
        assert_eq!(admit(&mut lab, icmp(3, 3, [0; 4], &turned)), refused);
    }
}

/// The bytes `from..to` behind the network header, as a fragment.
fn piece(packet: &TestPacket, from: usize, to: usize, more: bool) -> Vec<u8> {
    let whole = packet.packet();
    let fragment = (from / 8) as u16 | u16::from(more) << 13;
    let protocol = whole[9];
    TestPacket { fragment, ..packet.clone() }.carry(protocol, &whole[20..][from..to])
}

#[test]
fn fragments_enter_in_their_order_behind_a_first_one_that_may() {
    let mut lab = Lab::new();
    let ask = udp([40_000, 53]);
    let answer = TestPacket { payload: vec![1; 3000], ..back(&ask) };
    let [a, b, c] = [(0, 1400, true), (1400, 2800, true), (2800, 3008, false)]
        .map(|(from, to, more)| piece(&answer, from, to, more));
    let stray = Err(Drop::StrayFragment);
    let enters = |lab: &mut Lab, bytes: &[u8]| lab.shield.admit(lab.now, bytes);
    assert_eq!(enters(&mut lab, &a), NO, "not asked for");
    lab.out(&ask);
    for later in [&b, &c] {
        assert_eq!(enters(&mut lab, later), stray, "no first one");
    }
    assert_eq!(enters(&mut lab, &a), Ok(()));
    assert_eq!(enters(&mut lab, &a), stray, "twice");
    assert_eq!(enters(&mut lab, &c), stray, "a gap");
    // It lies over the headers, or over what came.
    for from in [8, 16, 1392] {
        assert_eq!(enters(&mut lab, &piece(&answer, from, from + 1000, true)), stray, "{from}");
    }
    assert_eq!(enters(&mut lab, &piece(&answer, 1400, 1408, true)), stray, "tiny");
    assert_eq!(enters(&mut lab, &piece(&answer, 1400, 2403, true)), stray, "no multiple of 8");
    for (at, name) in [(4, "id"), (12, "source"), (9, "protocol")] {
        let mut other = b.clone();
        other[at] ^= 16;
        assert!(enters(&mut lab, &other).is_err(), "another {name}");
    }
    assert_eq!(enters(&mut lab, &b), Ok(()));
    assert_eq!(enters(&mut lab, &b), stray, "twice");
    assert_eq!(enters(&mut lab, &c), Ok(()));
    assert_eq!(enters(&mut lab, &c), stray, "it is whole");
    assert_eq!(enters(&mut lab, &a), Ok(()));
    lab.wait(31);
    assert_eq!(enters(&mut lab, &b), stray, "late");
    let mut stream = tcp([40_000, 22], SYN);
    lab.out(&stream);
    stream = TestPacket { payload: vec![0; 2000], flags: ACK, ..back(&stream) };
    assert_eq!(enters(&mut lab, &piece(&stream, 0, 1400, true)), stray, "of TCP");
}

#[test]
fn few_packets_are_awaited_at_once_and_none_longer_than_there_are() {
    let mut lab = Lab::new();
    let ask = udp([40_000, 53]);
    lab.out(&ask);
    let first = |id| {
        let answer = TestPacket { id, payload: vec![1; 3000], ..back(&ask) };
        piece(&answer, 0, 1400, true)
    };
    let entered = (0..100).filter(|id| lab.shield.admit(lab.now, &first(*id)).is_ok()).count();
    assert_eq!(entered, 16);
    lab.wait(31);
    assert_eq!(lab.shield.admit(lab.now, &first(200)), Ok(()));
    // Longer than any packet, when it is put together.
    let long = TestPacket { id: 200, payload: vec![1; 65_000], ..back(&ask) };
    let mut sent = 1400;
    while lab.shield.admit(lab.now, &piece(&long, sent, sent + 1400, true)).is_ok() {
        sent += 1400;
        if sent + 1400 > 65_008 {
            break;
        }
    }
    assert!(sent > 60_000);
    let last = TestPacket { fragment: (sent / 8) as u16, id: 200, ..back(&ask) };
    assert!(lab.shield.admit(lab.now, &last.carry(17, &vec![0; 65_516 - sent])).is_err());
    assert_eq!(lab.shield.admit(lab.now, &last.carry(17, &vec![0; 65_515 - sent])), Ok(()));
}

#[test]
fn a_full_table_keeps_what_is_worth_most() {
    let mut lab = Lab::new();
    let user: Vec<_> = (0..100).map(|n| tcp([30_000 + n, 22], SYN)).collect();
    for ask in &user {
        lab.out(ask);
        assert_eq!(lab.enters(&TestPacket { flags: SYN | ACK, ..back(ask) }), Ok(()));
    }
    lab.wait(7200);
    // Refused, unanswered, ended, and datagrams: as many as there are ports.
    for n in 1024..30_000 {
        lab.out(&tcp([n, 80], SYN));
        if n % 3 == 0 {
            assert_eq!(lab.enters(&back(&tcp([n, 80], RST | ACK))), Ok(()));
        }
        lab.out(&udp([n, 53]));
        assert_eq!(lab.enters(&back(&udp([n, 53]))), Ok(()));
    }
    for ask in &user {
        assert_eq!(lab.enters(&TestPacket { flags: ACK, ..back(ask) }), Ok(()), "{:?}", ask.ports);
    }
}
