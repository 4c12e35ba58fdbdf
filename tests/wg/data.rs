//! Packets through a session: what is sealed, what is opened, what is counted, in which order.

use hopbox::wg::{Drop, Inbound, Outbound};

use super::sim::*;
use super::stranger::{self, ADDRESS, joined, letter};

fn datagrams(s: &Sim, dev: Dev) -> Vec<Wire> {
    s.wire.iter().filter(|w| w.from == dev).cloned().collect()
}

// R04 R54
#[test]
fn counters_start_at_zero_and_rise_by_one() {
    let (mut s, _, keys) = joined();
    for i in 0..200u32 {
        s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, &i.to_le_bytes()));
    }
    let sent = datagrams(&s, B);
    for (i, w) in sent.iter().enumerate() {
        assert_eq!((w.word(4), w.counter()), (keys.local, i as u64));
        assert_eq!(payload(&keys.open(&w.bytes).unwrap())[..4], (i as u32).to_le_bytes());
    }
    assert_eq!(sent.len(), 200);
}

// R54 R84: ENOBUFS, EPERM and the like lose one packet, never a counter and never the tunnel.
#[test]
fn a_counter_is_spent_even_if_the_socket_refuses_the_datagram() {
    let mut s = Sim::connected();
    s.nodes[A].socket_fails = true;
    s.send(A, B, b"lost");
    s.nodes[A].socket_fails = false;
    s.send(A, B, b"kept");
    s.run(SEC);
    assert_eq!(s.last(A, Kind::Data).counter(), 2, "0 was the first packet, 1 was refused");
    assert_eq!(s.delivered(B), [b"kept".to_vec()]);
    assert_eq!(s.drops(A, Drop::SendFailed), 1);
}

// R06
#[test]
fn data_of_any_length_is_taken_padded_or_not() {
    let (mut s, _, keys) = joined();
    for n in 0..70u64 {
        let text = letter(B, &vec![7; n as usize]);
        let got = s.inject(B, v4(ADDRESS), &keys.data(1 + n, &text));
        assert_eq!(got, Inbound::Packet { start: 16, len: text.len() }, "{n} bytes");
    }
}

// R78
#[test]
fn padding_of_any_length_and_content_is_trimmed_to_the_inner_length() {
    let (mut s, _, keys) = joined();
    for (n, pad) in [0, 1, 15, 16, 17, 999].into_iter().enumerate() {
        for (m, mut text) in
            [letter(B, b"v4"), packet(inner6(stranger::INNER), inner6(B), 0, b"v6")]
                .into_iter()
                .enumerate()
        {
            let len = text.len();
            text.extend(vec![0xff; pad]);
            let d = keys.data(1 + 2 * n as u64 + m as u64, &text);
            assert_eq!(s.inject(B, v4(ADDRESS), &d), Inbound::Packet { start: 16, len });
        }
    }
}

// R78; wireguard-go wraps at 16 bits here.
#[test]
fn an_inner_packet_that_lies_about_its_length_or_version_is_dropped() {
    let (mut s, _, keys) = joined();
    let good4 = letter(B, b"0123456789");
    let good6 = packet(inner6(stranger::INNER), inner6(B), 0, b"0123456789");
    let mut bad = Vec::new();
    for len in [0u16, 1, 19, 31, 1500, 65535] {
        let mut p = good4.clone();
        p[2..4].copy_from_slice(&len.to_be_bytes());
        bad.push(p);
    }
    for len in [11u16, 1500, 65495, 65496, 65535] {
        let mut p = good6.clone();
        p[4..6].copy_from_slice(&len.to_be_bytes());
        bad.push(p);
    }
    for version in [0u8, 1, 5, 7, 15] {
        let mut p = good4.clone();
        p[0] = version << 4 | 5;
        bad.push(p);
    }
    bad.extend([vec![0x45], good4[..19].to_vec(), good6[..39].to_vec()]);
    for (n, p) in bad.iter().enumerate() {
        let got = s.inject(B, v4(ADDRESS), &keys.data(1 + n as u64, p));
        assert_eq!(got, Inbound::Dropped(Drop::InnerMalformed), "packet {n}");
    }
    assert_eq!(s.drops(B, Drop::InnerMalformed), bad.len() as u64);
    assert!(s.delivered(B).is_empty());
}

// R79
#[test]
fn a_keepalive_never_reaches_the_tun() {
    let (mut s, _, keys) = joined();
    assert_eq!(s.inject(B, v4(ADDRESS), &keys.data(1, &[])), Inbound::Consumed);
    assert!(s.delivered(B).is_empty());
    assert!(s.log.iter().all(|e| !matches!(e.fact, Fact::Icmp(_))));
}

// R08
#[test]
fn a_data_message_with_any_byte_changed_is_refused_and_the_true_one_still_taken() {
    let (mut s, _, keys) = joined();
    let good = keys.data(1, &letter(B, b"x"));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        let got = s.inject(B, v4(66), &bad);
        let want = match at {
            0..4 => Drop::Malformed,
            4..8 => Drop::UnknownIndex,
            15 => Drop::Forged,
            _ => Drop::Forged,
        };
        assert_eq!(got, Inbound::Dropped(want), "byte {at}");
    }
    assert!(s.wire.is_empty());
    assert!(matches!(s.inject(B, v4(ADDRESS), &good), Inbound::Packet { .. }));
}

// R08: a bare tag, or what is too short for one.
#[test]
fn truncated_data_is_refused_at_every_length() {
    let (mut s, _, keys) = joined();
    let good = keys.data(1, &letter(B, b"x"));
    for len in 0..good.len() {
        assert!(matches!(s.inject(B, v4(ADDRESS), &good[..len]), Inbound::Dropped(_)), "{len}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(s.inject(B, v4(ADDRESS), &longer), Inbound::Dropped(Drop::Forged));
}

// R52 R86
#[test]
fn packets_that_waited_for_a_session_leave_in_their_order() {
    let mut s = Sim::pair();
    let all: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i; 1 + usize::from(i) * 3]).collect();
    for p in &all {
        assert_eq!(s.send(A, B, p), Outbound::Staged);
    }
    s.run(SEC);
    assert_eq!(s.delivered(B), all);
    assert_eq!(s.count(A, Kind::Initiation), 1);
}

// R42 R52
#[test]
fn at_most_128_packets_wait_and_the_oldest_go_first() {
    let mut s = Sim::pair();
    for i in 0..200u8 {
        s.send(A, B, &[i]);
    }
    s.run(SEC);
    let want: Vec<Vec<u8>> = (72..200u8).map(|i| vec![i]).collect();
    assert_eq!(s.delivered(B), want);
    assert_eq!(s.drops(A, Drop::StagedOverflow), 72);
}

// R49 R86
#[test]
fn a_responders_waiting_packets_leave_in_their_order_when_the_session_is_confirmed() {
    let (mut s, mut who, _) = joined();
    s.run(REJECT_AFTER);
    let keys = stranger::join(&mut s, B, &mut who, 5);
    for i in 0..10u8 {
        let out = s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, &[i]));
        assert_eq!(out, Outbound::Staged);
    }
    s.inject(B, v4(ADDRESS), &keys.data(0, &[]));
    let got: Vec<u8> =
        s.sent(B, Kind::Data).iter().map(|w| payload(&keys.open(&w.bytes).unwrap())[0]).collect();
    assert_eq!(got, (0..10).collect::<Vec<u8>>());
}

// R23 R49 R86: a session that may not send must not disturb the order of what waits.
#[test]
fn a_confirmed_session_that_may_not_send_keeps_the_order_of_waiting_packets() {
    let (mut s, mut who, _) = joined();
    s.run(REJECT_AFTER);
    let keys = stranger::join(&mut s, B, &mut who, 5);
    for i in 0..5u8 {
        s.send_packet(B, &packet(inner(B), inner(stranger::INNER), 0, &[i]));
    }
    let private = s.rng.bytes();
    s.set_key(B, private);
    s.inject(B, v4(ADDRESS), &keys.data(0, &[]));
    assert_eq!(s.count(B, Kind::Data), 0);
    who.device = s.nodes[B].public;
    s.run(SEC);
    let keys = stranger::join(&mut s, B, &mut who, 6);
    s.inject(B, v4(ADDRESS), &keys.data(0, &[]));
    let sent = s.sent(B, Kind::Data);
    let got: Vec<u8> = sent.iter().map(|w| payload(&keys.open(&w.bytes).unwrap())[0]).collect();
    assert_eq!(got, (0..5).collect::<Vec<u8>>());
}

// R100: 148 + 92 + 32 + what is carried, on both sides.
#[test]
fn byte_counters_are_exact_and_count_authenticated_datagrams_only() {
    let mut s = Sim::pair();
    s.send(A, B, &[1; 100]);
    s.run(SEC);
    s.send(B, A, &[2; 1000]);
    s.run(SEC);
    s.send_packet(B, &packet(inner6(B), inner6(A), 0, &[3; 8]));
    s.run(SEC);
    let (a, b) = (s.status(A, B), s.status(B, A));
    let first = 16 + 128 + 16;
    let second = 16 + 1024 + 16;
    let third = 16 + 48 + 16;
    assert_eq!((a.tx_bytes, b.rx_bytes), (148 + first, 148 + first));
    assert_eq!((b.tx_bytes, a.rx_bytes), (92 + second + third, 92 + second + third));
    for w in s.wire.clone() {
        let other = 1 - w.from;
        s.inject(other, v4(66), &w.bytes);
    }
    s.inject(A, v4(66), &[4; 77]);
    assert_eq!(s.status(A, B).rx_bytes, a.rx_bytes);
    assert_eq!(s.status(B, A).rx_bytes, b.rx_bytes);
}

// R100: keepalives are 32 bytes.
#[test]
fn keepalives_count_32_bytes_on_both_sides() {
    let mut s = Sim::pair();
    s.set_keepalive(A, B, 10);
    s.run(35 * SEC);
    let n = s.count(A, Kind::Keepalive) as u64;
    assert_eq!(n, 4);
    assert_eq!(s.status(A, B).tx_bytes, 148 + 32 * n);
    assert_eq!(s.status(B, A).rx_bytes, 148 + 32 * n);
}

// R52: a packet is neither lost nor sent in the clear when its session expires.
#[test]
fn a_packet_for_an_expired_session_waits_for_the_next_one() {
    let mut s = Sim::connected();
    s.run(REJECT_AFTER);
    assert_eq!(s.send(A, B, b"later"), Outbound::Staged);
    s.run(SEC);
    assert_eq!(s.delivered(B), [b"later".to_vec()]);
}

// R84: a buffer without the room that was asked for is our own mistake, not a panic.
#[test]
fn packets_that_are_no_ip_or_do_not_fit_their_buffer_are_dropped() {
    let mut s = Sim::connected();
    for p in [&[][..], &[0; 20], &[0x45; 10], &[0x60; 39], &[0xff; 100]] {
        assert_eq!(s.send_packet(A, p), Outbound::Dropped(Drop::TunMalformed));
    }
    let mut p = packet(inner(A), inner(B), 0, b"abc");
    p[3] += 1;
    assert_eq!(s.send_packet(A, &p), Outbound::Dropped(Drop::TunMalformed));
    p[3] -= 1;
    let mut tight = vec![0; 16 + p.len() + 31];
    tight[16..16 + p.len()].copy_from_slice(&p);
    let len = p.len();
    let out = s.act(A, |d, now, sink| d.from_tun(now, &mut tight, len, sink));
    assert_eq!(out, Outbound::Dropped(Drop::TunMalformed));
    assert!(s.wire.is_empty());
}

// R82 R86: the largest packets there can be.
#[test]
fn a_packet_of_65535_bytes_passes() {
    let mut s = Sim::connected();
    s.send(A, B, &vec![9; 65535 - 20]);
    s.run(SEC);
    assert_eq!(s.delivered(B)[0].len(), 65535 - 20);
}
