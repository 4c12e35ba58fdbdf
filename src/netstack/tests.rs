//! Our stack and a laptop's, with a wire between them: what a connection is worth, and what no
//! packet can do.

use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::time::Duration;

use super::SERVED_BYTES as BUFFER_BYTES;
use super::test_peer::{CLOSED, OWN, PEER, World};

pub(super) const MTU: u16 = 1420;

pub(super) fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()
}

/// A connection that is there on both sides.
fn connected(world: &mut World, port: u16) -> SocketHandle {
    let before = world.far.len();
    let handle = world.connect(port);
    world.until("connected", |world| {
        world.socket(handle).state() == State::Established && world.far.len() > before
    });
    world.steps(2);
    handle
}

/// Sends as much as goes; how much.
pub(super) fn put(world: &mut World, handle: SocketHandle, bytes: &[u8]) -> usize {
    world.socket(handle).send_slice(bytes).unwrap_or(0)
}

pub(super) fn get(world: &mut World, handle: SocketHandle, into: &mut Vec<u8>) {
    let socket = world.socket(handle);
    let mut room = vec![0; socket.recv_queue()];
    let count = socket.recv_slice(&mut room).unwrap_or(0);
    into.extend_from_slice(&room[..count]);
}

/// Reads what is there; whether the end was.
pub(super) fn drain(world: &mut World, n: usize, into: &mut Vec<u8>) -> bool {
    let mut room = [0; 16 * 1024];
    loop {
        match world.far[n].read(&mut room) {
            Ok(0) => return true,
            Ok(count) => into.extend_from_slice(&room[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The same bytes both ways, then the end of each side.
pub(super) fn crosses(world: &mut World, handle: SocketHandle, n: usize, sent: &[u8]) {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let (mut up, mut down) = (0, 0);
    world.until("across", |world| {
        up += put(world, handle, &sent[up..]);
        down += world.far[n].write(&sent[down..]).unwrap_or(0);
        drain(world, n, &mut there);
        get(world, handle, &mut back);
        there.len() >= sent.len() && back.len() >= sent.len()
    });
    assert!(there == sent && back == sent);
}

#[test]
fn bytes_cross_and_each_side_ends_by_itself() {
    for (mtu, v6) in [(576, false), (MTU, false), (1280, true), (MTU, true)] {
        for laptop_first in [true, false] {
            let mut world = World::new(mtu);
            world.v6 = v6;
            let handle = connected(&mut world, 80);
            crosses(&mut world, handle, 0, &bytes(300_000));
            let (mut there, mut back) = (Vec::new(), Vec::new());
            if laptop_first {
                put(&mut world, handle, b"last");
                world.socket(handle).close();
                world.until("its end", |world| drain(world, 0, &mut there));
                assert_eq!(there, b"last");
                assert_eq!(world.relays.len(), 1, "half of it is open");
                world.far[0].write_all(b"answer").unwrap();
                world.far[0].shutdown(Shutdown::Write).unwrap();
            } else {
                world.far[0].write_all(b"answer").unwrap();
                world.far[0].shutdown(Shutdown::Write).unwrap();
                let fin = |world: &mut World| world.socket(handle).state() == State::CloseWait;
                world.until("our end", fin);
                put(&mut world, handle, b"last");
                world.socket(handle).close();
                world.until("its end", |world| drain(world, 0, &mut there));
                assert_eq!(there, b"last");
            }
            world.until("over", |world| {
                get(world, handle, &mut back);
                world.relays.is_empty() && !world.socket(handle).may_recv()
            });
            assert_eq!(back, b"answer");
        }
    }
}

#[test]
fn a_reset_is_carried_both_ways() {
    let mut world = World::new(MTU);
    let handle = connected(&mut world, 80);
    world.socket(handle).abort();
    world.until("over", |world| world.relays.is_empty());
    // A pair of streams knows no resets: it has an end.
    assert!(drain(&mut world, 0, &mut Vec::new()));

    let handle = connected(&mut world, 80);
    // Closing with something unread is a reset.
    put(&mut world, handle, b"unread");
    world.steps(5);
    drop(world.far.pop());
    world.until("reset", |world| world.socket(handle).state() == State::Closed);
    world.until("over", |world| world.relays.is_empty());
}

#[test]
fn what_nobody_is_behind_is_refused_at_once() {
    let mut world = World::new(MTU);
    let handle = world.connect(CLOSED);
    world.steps(3);
    assert_eq!(world.socket(handle).state(), State::Closed);
    assert_eq!((world.count("stack_refused"), world.relays.len()), (1, 0));
}

#[test]
fn lost_packets_are_sent_again() {
    for (lost, v6) in [(2, false), (10, true), (10, false), (25, false)] {
        let mut world = World::new(MTU);
        world.v6 = v6;
        let handle = connected(&mut world, 80);
        world.lost = lost;
        crosses(&mut world, handle, 0, &bytes(100_000));
        println!("{lost} of 100 lost: {:?}", world.now);
    }
}

/// A narrow way is used, and not filled with what it has no room for.
#[test]
fn a_narrow_way_is_not_flooded() {
    let mut world = World::new(MTU);
    let handle = connected(&mut world, 80);
    world.narrow = Some(40);
    let (sent, mut back, mut down) = (bytes(4_000_000), Vec::new(), 0);
    let (began, before) = (world.now, world.sent);
    world.until("all of it", |world| {
        down += world.far[0].write(&sent[down..]).unwrap_or(0);
        get(world, handle, &mut back);
        back.len() >= sent.len()
    });
    assert!(back == sent);
    let (took, cost) = (world.now - began, (world.sent - before) as f64 / sent.len() as f64);
    println!("{took:?}, {cost:.2} bytes sent for each");
    // Without a limit more than five bytes are sent for each. 2.9 s is what the way takes.
    assert!(cost < 1.5 && took < Duration::from_secs(9), "{took:?}, {cost:.2}");
}

#[test]
fn many_connections_do_not_mix() {
    let mut world = World::new(MTU);
    let handles: Vec<_> = (0..200).map(|n| world.connect(1000 + n % 3)).collect();
    world.until("all there", |world| world.relays.len() == 200);
    world.steps(5);
    for (n, handle) in handles.iter().enumerate() {
        put(&mut world, *handle, format!("{n}").as_bytes());
    }
    world.steps(5);
    for (n, handle) in handles.iter().enumerate() {
        let mut there = Vec::new();
        drain(&mut world, n, &mut there);
        assert_eq!(there, format!("{n}").as_bytes());
        world.far[n].write_all(&there).unwrap();
        world.step();
        let mut back = Vec::new();
        get(&mut world, *handle, &mut back);
        assert_eq!(back, there);
    }
}

#[test]
fn whoever_does_not_read_is_not_read_for() {
    let mut world = World::new(MTU);
    let handle = connected(&mut world, 80);
    let sent = bytes(8 << 20);
    // Here nobody reads what the laptop sends: our buffer, the stream's, and the laptop's own.
    let mut up = 0;
    for _ in 0..3000 {
        up += put(&mut world, handle, &sent[up..]);
        world.step();
    }
    assert!((BUFFER_BYTES..BUFFER_BYTES + (2 << 20)).contains(&up), "{up}");
    let (mut there, mut back) = (Vec::new(), Vec::new());
    world.until("all of it", |world| {
        up += put(world, handle, &sent[up..]);
        drain(world, 0, &mut there);
        there.len() >= sent.len()
    });
    assert!(there == sent);
    // And there, of what is sent to it; then the word that there is room is lost.
    let mut down = 0;
    for _ in 0..3000 {
        down += world.far[0].write(&sent[down..]).unwrap_or(0);
        world.step();
    }
    assert!((BUFFER_BYTES..BUFFER_BYTES + (1 << 20)).contains(&down), "{down}");
    world.lost = 100;
    get(&mut world, handle, &mut back);
    world.steps(20);
    world.lost = 0;
    world.until("all of it back", |world| {
        down += world.far[0].write(&sent[down..]).unwrap_or(0);
        get(world, handle, &mut back);
        back.len() >= sent.len()
    });
    assert!(back == sent);
}

#[test]
fn who_only_knocks_does_not_stay() {
    let mut world = World::new(MTU);
    let segment = |control, ack| segment(40_000, 80, control, 1, ack, b"");
    // The laptop's own stack does not hear of it.
    world.lost = 100;
    world.feed(&segment(TcpControl::Syn, None));
    world.steps(9_900);
    assert_eq!(world.relays.len(), 1);
    world.steps(200);
    assert_eq!(world.relays.len(), 0);
    // One that takes it back leaves nothing that would listen for the next.
    world.feed(&segment(TcpControl::Syn, None));
    world.step();
    world.feed(&segment(TcpControl::Rst, None));
    world.feed(&self::segment(40_000, 80, TcpControl::Rst, 2, None, b""));
    world.steps(2);
    assert_eq!(world.relays.len(), 0);
    world.lost = 0;
    let handle = connected(&mut world, 80);
    crosses(&mut world, handle, 2, &bytes(1000));
    assert_eq!(world.relays.len(), 1);
}

fn ip(from: Ipv4Addr, to: Ipv4Addr, next_header: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; header.buffer_len() + payload.len()];
    let sums = ChecksumCapabilities::default();
    header.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &sums);
    packet[header.buffer_len()..].copy_from_slice(payload);
    packet
}

pub(super) fn segment(
    from: u16,
    to: u16,
    control: TcpControl,
    seq: u32,
    ack: Option<u32>,
    payload: &[u8],
) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: from,
        dst_port: to,
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
        window_len: 1000,
        window_scale: (control == TcpControl::Syn).then_some(2),
        max_seg_size: (control == TcpControl::Syn).then_some(1380),
        sack_permitted: control == TcpControl::Syn,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    let ends = (IpAddress::Ipv4(PEER), IpAddress::Ipv4(OWN));
    let sums = ChecksumCapabilities::default();
    repr.emit(&mut TcpPacket::new_unchecked(&mut bytes[..]), &ends.0, &ends.1, &sums);
    ip(PEER, OWN, IpProtocol::Tcp, &bytes)
}

#[test]
fn what_is_no_connection_is_answered_or_counted() {
    let mut world = World::new(MTU);
    // An echo request, and a datagram for a port.
    let mut echo = vec![8, 0, 0, 0, 0, 1, 0, 1, 5, 6, 7, 8];
    let sum = !echo.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).sum::<u16>();
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    world.feed(&ip(PEER, OWN, IpProtocol::Icmp, &echo));
    let answers = world.turn();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0][20], &answers[0][28..]), (0, &echo[8..]), "an echo reply");
    world.feed(&ip(PEER, OWN, IpProtocol::Udp, &[0, 1, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]));
    let answers = world.turn();
    assert_eq!((answers.len(), answers[0][20], answers[0][21]), (1, 3, 3), "no such port");
    assert_eq!(
        (&answers[0][12..16], &answers[0][16..20]),
        (&[10, 10, 0, 2][..], &[10, 10, 0, 1][..])
    );

    let syn = segment(40_000, 80, TcpControl::Syn, 1, None, b"");
    let with = |at: usize, byte: u8| {
        let mut packet = syn.clone();
        packet[at] = byte;
        if at < 20 {
            Ipv4Packet::new_unchecked(&mut packet[..]).fill_checksum();
        }
        packet
    };
    let mut bad_sum = syn.clone();
    bad_sum[10] ^= 1;
    let table: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "stack_malformed"),
        (vec![0x45; 10], "stack_malformed"),
        (bad_sum, "stack_malformed"),
        (with(0, 0x44), "stack_malformed"),
        (with(30, 0xff), "stack_malformed"),
        (syn[..39].to_vec(), "stack_malformed"),
        (vec![0x60; 60], "stack_malformed"),
        (with(19, 3), "stack_not_ours"),
        (with(15, 2), "stack_bad_source"),
        (with(12, 127), "stack_bad_source"),
        (with(12, 224), "stack_bad_source"),
        (with(6, 0x20), "stack_fragment"),
        (with(7, 1), "stack_fragment"),
        (with(9, 47), "stack_protocol"),
        (ip(PEER, OWN, IpProtocol::Icmp, &[0, 0, 0xff, 0xff, 0, 0, 0, 0]), "stack_protocol"),
    ];
    for (packet, why) in table {
        let before = world.count(why);
        world.feed(&packet);
        assert_eq!(world.count(why), before + 1, "{why}: {packet:?}");
        assert_eq!((world.turn().len(), world.relays.len()), (0, 0), "{why}");
    }
}

#[test]
fn what_is_no_connection_is_answered_or_counted_over_ipv6_too() {
    let mut world = World::new(MTU);
    // From fd00::1 to fd00::2; the payload has a checksum at this place, if any.
    let packet = |next: u8, payload: &[u8], sum_at: Option<usize>| {
        let mut ip = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        for last in [1, 2] {
            ip.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        ip.extend(payload);
        if let Some(at) = sum_at {
            let word = |at: &[u8]| u32::from(at[0]) << 8 | u32::from(*at.get(1).unwrap_or(&0));
            let all: u32 = ip[8..].chunks(2).map(word).sum();
            let all = all + payload.len() as u32 + u32::from(next);
            let sum = !((all & 0xffff) + (all >> 16)) as u16;
            ip[40 + at..][..2].copy_from_slice(&sum.to_be_bytes());
        }
        ip
    };
    let echo = packet(58, &[128, 0, 0, 0, 0, 1, 0, 1, 5, 6, 7, 8], Some(2));
    world.feed(&echo);
    let answers = world.turn();
    assert_eq!((answers.len(), answers[0][40], &answers[0][44..]), (1, 129, &echo[44..]));
    world.feed(&packet(17, &[0, 1, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4], Some(6)));
    let answers = world.turn();
    assert_eq!((answers.len(), answers[0][40], answers[0][41]), (1, 1, 4), "no such port");
    assert_eq!((answers[0][23], answers[0][39]), (2, 1));
    let with = |at: usize, byte: u8| {
        let mut packet = echo.clone();
        packet[at] = byte;
        packet
    };
    for (packet, why) in [
        (with(39, 3), "stack_not_ours"),
        (with(23, 2), "stack_bad_source"),
        (with(8, 0xff), "stack_bad_source"),
        (with(42, 0xff), "stack_malformed"),
        (with(5, 99), "stack_malformed"),
        (echo[..39].to_vec(), "stack_malformed"),
        (packet(44, &[6, 0, 0, 1, 0, 0, 0, 1], None), "stack_fragment"),
        (packet(0, &[58, 0, 1, 4, 0, 0, 0, 0], None), "stack_protocol"),
        (packet(58, &[&[135][..], &[0; 23]].concat(), Some(2)), "stack_protocol"),
    ] {
        let before = world.count(why);
        world.feed(&packet);
        assert_eq!(world.count(why), before + 1, "{why}: {packet:?}");
        assert_eq!((world.turn().len(), world.relays.len()), (0, 0), "{why}");
    }
}

/// What keeps smoltcp 0.12 from panicking (see `stack`).
#[test]
fn an_acknowledgement_is_never_put_off() {
    let mut world = World::new(MTU);
    let knock =
        world.stack.arrive(world.now, &segment(50_000, 80, TcpControl::Syn, 1000, None, b""));
    let handle = world.stack.admit(world.now, knock.unwrap()).unwrap();
    assert_eq!(world.stack.socket(handle).ack_delay(), None);
    let syn_ack = world.turn().pop().unwrap();
    let ack = u32::from_be_bytes(syn_ack[24..28].try_into().unwrap()).wrapping_add(1);
    let mut send = |seq: u32, bytes: &[u8]| {
        let packet = segment(50_000, 80, TcpControl::None, seq, Some(ack), bytes);
        assert!(world.stack.arrive(world.now, &packet).is_none());
        world.turn().len()
    };
    send(1001, b"");
    assert_eq!(send(1001, &[7; 100]), 1, "at the same moment");
    assert_eq!(send(1101, &[7; 100]), 1);
}

/// Whatever comes, nothing panics, and one who behaves is served beside it.
#[test]
fn no_packet_does_more_than_it_may() {
    let seeds = std::env::var("HOP_STACK_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    for seed in 1..=seeds {
        let mut world = World::new(if seed % 2 == 0 { 576 } else { MTU });
        (0..seed).for_each(|_| _ = world.roll(2));
        let honest = connected(&mut world, 81);
        world.feed(&segment(50_000, 80, TcpControl::Syn, 1000, None, b""));
        let syn_ack = world.turn().pop().unwrap_or_default();
        let theirs = u32::from_be_bytes(syn_ack[24..28].try_into().unwrap());
        let payload = bytes(MTU as usize - 40);
        // The end of what the other side has seen of us, and of what it may send.
        let (mut ack, mut seq) = (theirs.wrapping_add(1), 1001u32);
        world.feed(&segment(50_000, 80, TcpControl::None, seq, Some(ack), b""));
        for _ in 0..400 {
            let far = |roll: u64| [0, 1, 7, 64, 1380, 65_535, 262_144, 1 << 30][roll as usize];
            let (a, b) = (far(world.roll(8)) as u32, far(world.roll(8)) as u32);
            let odd_seq =
                if world.roll(2) == 0 { seq.wrapping_add(a) } else { seq.wrapping_sub(a) };
            let odd_ack =
                if world.roll(2) == 0 { ack.wrapping_add(b) } else { ack.wrapping_sub(b) };
            let len = [0, 1, 500, payload.len()][world.roll(4) as usize].min(536);
            let control = match world.roll(40) {
                0 => TcpControl::Fin,
                1 => TcpControl::Syn,
                2 => TcpControl::Rst,
                _ => TcpControl::Psh,
            };
            let kind = world.roll(8);
            let mut packet = match kind {
                0 => segment(50_000, 80, control, odd_seq, Some(odd_ack), &payload[..len]),
                1 => segment(50_000, 80, control, odd_seq, Some(ack), &payload[..len]),
                2 => segment(50_000, 80, control, seq, Some(odd_ack), &payload[..len]),
                3 => segment(50_000, 80, TcpControl::Syn, odd_seq, None, b""),
                _ => segment(50_000, 80, TcpControl::Psh, seq, Some(ack), &payload[..len]),
            };
            if kind > 3 {
                seq = seq.wrapping_add(len as u32);
            }
            if world.roll(10) == 0 {
                let at = world.roll(packet.len() as u64) as usize;
                packet[at] = world.roll(256) as u8;
                let cut = world.roll(packet.len() as u64) as usize;
                packet.truncate(cut);
            }
            world.feed(&packet);
            if world.roll(3) == 0 {
                let word = bytes(world.roll(3000) as usize);
                world.far.iter().skip(1).for_each(|mut far| drop(far.write(&word)));
            }
            if world.roll(3) == 0 {
                let mut room = [0; 5000];
                world.far.iter().skip(1).for_each(|mut far| drop(far.read(&mut room)));
            }
            if world.roll(2) == 0 {
                let pause = world.roll(3000);
                world.now += Duration::from_millis(pause);
                for packet in world.turn() {
                    if packet.len() >= 40 && packet[9] == 6 && packet[16..20] == [10, 10, 0, 1] {
                        let to = u16::from_be_bytes([packet[22], packet[23]]);
                        if to == 50_000 {
                            let first = u32::from_be_bytes(packet[24..28].try_into().unwrap());
                            ack = first.wrapping_add(packet.len() as u32 - 40);
                        }
                    }
                }
            }
        }
        world.steps(50);
        crosses(&mut world, honest, 0, &bytes(5000));
    }
}
