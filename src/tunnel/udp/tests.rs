//! Sockets on loopback: pinned sources, traffic class, errors that lose one datagram.

use super::*;
use crate::sys::poll::wait_one;
use crate::tunnel::burst::Burst;
use std::net::SocketAddr;

fn one(u: &mut Udp, family: Family) -> (Received, Vec<u8>) {
    let fd = u.fd(family).expect("socket");
    assert!(
        wait_one(fd, Interest::READ, Some(Duration::from_secs(2))).expect("poll"),
        "nothing came"
    );
    let mut burst = Burst::new();
    assert_eq!(u.receive(family, burst.space()).expect("receive"), 1);
    let got = u.received(0).expect("described");
    let data = burst.slot(0)[..got.len].to_vec();
    (got, data)
}

fn to(remote: SocketAddr, local: Option<(&str, u32)>) -> Endpoint {
    let local = local.map(|(ip, ifindex)| wg::Local { ip: ip.parse().expect("ip"), ifindex });
    Endpoint { remote, local }
}

#[test]
fn both_families_share_a_port_and_the_class_arrives() {
    let mut a = Udp::bind(0).expect("bind");
    let mut b = Udp::bind(0).expect("bind");
    let mut lost = Vec::new();
    let mut remotes = vec![(Family::V4, SocketAddr::from(([127, 0, 0, 1], b.port())))];
    if b.fd(Family::V6).is_some() {
        remotes.push((Family::V6, SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, b.port()))));
    }
    for (family, remote) in remotes {
        a.send(1, |_| (to(remote, None), 0x8b, b"hello"), &mut lost);
        let (got, data) = one(&mut b, family);
        assert_eq!((got.tos, &data[..], got.truncated), (0x8b, &b"hello"[..], false));
        assert_eq!(got.from.port(), a.port());
        assert_eq!(got.local.map(|l| l.0), Some(remote.ip()));
    }
    assert!(lost.is_empty());
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let mut a = Udp::bind(0).expect("bind");
    let mut b = Udp::bind(0).expect("bind");
    let mut lost = Vec::new();
    let b_at = SocketAddr::from(([127, 0, 0, 9], b.port()));
    a.send(1, |_| (to(b_at, None), 0, b"ask"), &mut lost);
    let (got, _) = one(&mut b, Family::V4);
    let back = to(got.from, Some(("127.0.0.9", 1)));
    b.send(1, |_| (back, 0, b"answer"), &mut lost);
    assert_eq!(one(&mut a, Family::V4).0.from, b_at);
    // After a change of the network an address must prove itself again.
    b.forget_pins();
    b.send(1, |_| (back, 0, b"answer"), &mut lost);
    assert_eq!(one(&mut a, Family::V4).0.from.ip().to_string(), "127.0.0.1");
    assert!(lost.is_empty());
}

#[test]
fn a_dead_pinned_address_is_given_up_and_the_datagram_still_goes() {
    let mut a = Udp::bind(0).expect("bind");
    let mut b = Udp::bind(0).expect("bind");
    let mut lost = Vec::new();
    // An address that this machine never has, noted as if something had come to it.
    a.pins.note([192, 0, 2, 77].into());
    let remote = SocketAddr::from(([127, 0, 0, 1], b.port()));
    a.send(3, |_| (to(remote, Some(("192.0.2.77", 0))), 0, b"x"), &mut lost);
    for _ in 0..1 {
        let mut burst = Burst::new();
        assert!(
            wait_one(b.fd(Family::V4).expect("v4"), Interest::READ, Some(Duration::from_secs(2)))
                .expect("poll")
        );
        assert_eq!(b.receive(Family::V4, burst.space()).expect("receive"), 3);
    }
    assert!(lost.is_empty() && a.pins.good.is_empty());
}

#[test]
fn a_refused_datagram_takes_no_other_with_it() {
    let mut a = Udp::bind(0).expect("bind");
    let mut b = Udp::bind(0).expect("bind");
    let mut lost = Vec::new();
    let good = SocketAddr::from(([127, 0, 0, 1], b.port()));
    // Broadcast is refused to this socket; 65,508 bytes do not fit into IPv4.
    let bad = SocketAddr::from(([255, 255, 255, 255], 9));
    let big = vec![7u8; 65_508];
    let list = [(good, &b"1"[..]), (bad, b"2"), (good, b"3"), (good, &big), (good, b"5")];
    a.send(list.len(), |i| (to(list[i].0, None), 0, list[i].1), &mut lost);
    let mut burst = Burst::new();
    assert_eq!(b.receive(Family::V4, burst.space()).expect("receive"), 3);
    assert_eq!(lost, [wg::Drop::SendFailed, wg::Drop::SendTooBig]);
}

#[test]
fn the_largest_datagram_arrives_whole() {
    let mut a = Udp::bind(0).expect("bind");
    let mut b = Udp::bind(0).expect("bind");
    let big: Vec<u8> = (0..65_507u32).map(|i| i as u8).collect();
    let remote = SocketAddr::from(([127, 0, 0, 1], b.port()));
    a.send(1, |_| (to(remote, None), 0, &big), &mut Vec::new());
    let (got, data) = one(&mut b, Family::V4);
    assert!(!got.truncated && data == big);
}

#[test]
fn a_taken_port_is_refused_and_rebinding_keeps_what_works() {
    let mut a = Udp::bind(0).expect("bind");
    let b = Udp::bind(0).expect("bind");
    let before = a.port();
    assert_eq!(a.rebind(b.port()).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    assert_eq!(a.port(), before);
    a.renew().expect("renew");
    assert_eq!(a.port(), before);
}

#[test]
fn pins_are_bounded() {
    let mut pins = Pins::default();
    for i in 0..1000u32 {
        pins.note(std::net::Ipv4Addr::from(i).into());
    }
    assert_eq!(pins.good.len(), PINS);
}
