//! The shield under more than its table holds, from either side.

use super::*;

/// Places of the table.
const ENTRIES: usize = 16 * 1024;

fn accepted(ask: &TestPacket) -> TestPacket {
    TestPacket { flags: SYN | ACK, ..back(ask) }
}

/// Asks, and is answered.
fn open(lab: &mut Lab, ports: [u16; 2]) -> TestPacket {
    let ask = tcp(ports, SYN);
    lab.out(&ask);
    assert_eq!(lab.enters(&accepted(&ask)), Ok(()));
    ask
}

/// Everything that nobody asked for, at and from every port.
#[test]
fn what_a_server_floods_makes_no_flow_and_ends_none() {
    let mut lab = Lab::new();
    let ours: Vec<_> = (0..500).map(|n| open(&mut lab, [40_000 + n, 22])).collect();
    let asked: Vec<_> = (0..500).map(|n| udp([41_000 + n, 53])).collect();
    asked.iter().for_each(|ask| lab.out(ask));
    let long = TestPacket { payload: vec![0; 2000], ..back(&udp([9, 9])) };
    let first = piece(&long, 0, 1200, true);
    let mut hostile: Vec<_> = (0..64).map(|flags| back(&tcp([9, 9], flags)).packet()).collect();
    let errors = (0..32).map(|kind| icmp(kind, 0, [0; 4], &udp([9, 9]).packet()));
    hostile.extend(errors.chain([back(&udp([9, 9])).packet(), first, echo(8, [2, 1], 1)]));
    for n in (0..60_000u16).step_by(7) {
        for packet in hostile.iter_mut().skip(usize::from(n % 16)).step_by(16) {
            // Below our own ports, where packets have theirs.
            packet[20..22].copy_from_slice(&n.to_be_bytes());
            packet[22..24].copy_from_slice(&(n % 40_000).to_be_bytes());
            let is_icmp = packet[9] == 1;
            assert!(lab.shield.admit(lab.now, packet).is_err() || is_icmp && packet[20] == 0);
        }
    }
    for ask in ours.iter().chain(&asked) {
        let answer = TestPacket { flags: ACK, ..back(ask) };
        assert_eq!(lab.enters(&answer), Ok(()), "{:?}", ask.ports);
    }
}

/// A program of this machine's that opens a hundred thousand connections: those that go on stay,
/// the newest do, and what has gone is what nobody spoke in for longest.
#[test]
fn of_a_hundred_thousand_flows_the_oldest_go_and_what_goes_on_stays() {
    let mut lab = Lab::new();
    let goes_on: Vec<_> = (0..200).map(|n| open(&mut lab, [60_000 + n, 22])).collect();
    let ports = |n: u32| [(1024 + n % 50_000) as u16, 80 + (n / 50_000) as u16];
    for n in 0..100_000 {
        open(&mut lab, ports(n));
        if n % 1000 == 999 {
            lab.wait(1);
            goes_on.iter().for_each(|ask| lab.out(&TestPacket { flags: ACK, ..ask.clone() }));
        }
    }
    for ask in &goes_on {
        assert_eq!(lab.enters(&accepted(ask)), Ok(()), "{:?}", ask.ports);
    }
    let open: Vec<bool> =
        (0..100_000).map(|n| lab.enters(&accepted(&tcp(ports(n), SYN))).is_ok()).collect();
    let count = |of: &[bool]| of.iter().filter(|is_open| **is_open).count();
    let (new, old, all) = (count(&open[96_000..]), count(&open[..60_000]), count(&open));
    assert!(new >= 3_990 && old <= 10 && all <= ENTRIES, "{new} new, {old} old, {all} of all");
}

/// A resolver of this machine's, or a game's list of servers: all of them are answered.
#[test]
fn of_twelve_thousand_flows_side_by_side_none_has_to_go() {
    let mut lab = Lab::new();
    let asked: Vec<_> = (0..12_000).map(|n| udp([20_000 + n, 53])).collect();
    asked.iter().for_each(|ask| lab.out(ask));
    let lost = asked.iter().filter(|ask| lab.enters(&back(ask)).is_err()).count();
    assert_eq!(lost, 0);
}
