//! Sockets on loopback: pinned sources, traffic class, errors that lose one datagram.

use super::*;
use crate::sys::poll::wait_one;
use crate::tunnel::queue::RecvBuffer;
use std::net::SocketAddr;

fn one(u: &mut Udp, which: impl Into<Which>) -> (Received, Vec<u8>) {
    let which = which.into();
    let fd = u.sockets.fd(which).expect("socket");
    assert!(
        wait_one(fd, Interest::READ, Some(Duration::from_secs(2))).expect("poll"),
        "nothing came"
    );
    let mut buffer = RecvBuffer::new();
    assert_eq!(u.receive(which, buffer.slots()).expect("receive"), 1);
    let got = u.received(0).expect("described");
    let data = buffer.slots()[..got.len].to_vec();
    (got, data)
}

/// The next `n` datagrams over IPv4, whether they come alone or in batches.
fn all(u: &mut Udp, n: usize) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut buffer = RecvBuffer::new();
    while datagrams.len() < n {
        let fd = u.sockets.fd(Family::V4).expect("socket");
        let ready = wait_one(fd, Interest::READ, Some(Duration::from_secs(2))).expect("poll");
        assert!(ready, "{} of {n} came", datagrams.len());
        for i in 0..u.receive(Family::V4, buffer.slots()).expect("receive") {
            let got = u.received(i).expect("described");
            let (_, bytes) = buffer.part(i, 0, got.len).expect("within");
            let size = if got.segment == 0 { got.len } else { got.segment };
            datagrams.extend(bytes.chunks(size.max(1)).map(<[u8]>::to_vec));
        }
    }
    datagrams
}

/// Send these datagrams together.
fn send(u: &mut Udp, list: &[(Endpoint, u8, &[u8])], lost: &mut Vec<wg::Drop>) {
    let mut queue = SendQueue::new(256 * 1024);
    for (to, tos, data) in list {
        assert!(!queue.is_full(data.len()));
        queue.slot()[..data.len()].copy_from_slice(data);
        queue.push(to, *tos, data.len(), None);
    }
    u.send(&queue, lost);
}

fn to(remote: SocketAddr, local: Option<(&str, u32)>) -> Endpoint {
    let local =
        local.map(|(ip, ifindex)| wg::Local { ip: ip.parse().expect("ip"), port: 0, ifindex });
    Endpoint { remote, local }
}

#[test]
fn both_families_share_a_port_and_the_class_arrives() {
    let mut a = Udp::bind(0, false).expect("bind");
    let mut b = Udp::bind(0, false).expect("bind");
    let mut lost = Vec::new();
    let mut remotes = vec![(Family::V4, SocketAddr::from(([127, 0, 0, 1], b.sockets.port())))];
    if b.sockets.fd(Family::V6).is_some() {
        remotes.push((
            Family::V6,
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, b.sockets.port())),
        ));
    }
    for (family, remote) in remotes {
        send(&mut a, &[(to(remote, None), 0x8b, b"hello")], &mut lost);
        let (got, data) = one(&mut b, family);
        assert_eq!((got.tos, &data[..], got.truncated), (0x8b, &b"hello"[..], false));
        assert_eq!(got.from.port(), a.sockets.port());
        assert_eq!(got.local.map(|l| l.0), Some(remote.ip()));
    }
    assert!(lost.is_empty());
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let mut a = Udp::bind(0, false).expect("bind");
    let mut b = Udp::bind(0, false).expect("bind");
    let mut lost = Vec::new();
    let b_at = SocketAddr::from(([127, 0, 0, 9], b.sockets.port()));
    send(&mut a, &[(to(b_at, None), 0, b"ask")], &mut lost);
    let (got, _) = one(&mut b, Family::V4);
    let back = to(got.from, Some(("127.0.0.9", 1)));
    send(&mut b, &[(back, 0, b"answer")], &mut lost);
    assert_eq!(one(&mut a, Family::V4).0.from, b_at);
    // After a change of the network an address must prove itself again.
    b.forget_source_addrs();
    send(&mut b, &[(back, 0, b"answer")], &mut lost);
    assert_eq!(one(&mut a, Family::V4).0.from.ip().to_string(), "127.0.0.1");
    assert!(lost.is_empty());
}

/// Who comes to the second port hears from it, through renewals, too; and it is no other's.
#[test]
fn an_answer_comes_from_the_port_that_was_asked() {
    let (mut a, mut b) = (Udp::bind(0, false).expect("bind"), Udp::bind(0, false).expect("bind"));
    let free = Udp::bind(0, false).expect("bind").sockets.port();
    b.sockets.listen_also(free).expect("a free port");
    assert_eq!(b.sockets.second_port(), Some(free));
    let mut lost = Vec::new();
    for (port, is_second) in [(free, true), (b.sockets.port(), false), (free, true)] {
        let b_at = SocketAddr::from(([127, 0, 0, 1], port));
        send(&mut a, &[(to(b_at, None), 0, b"ask")], &mut lost);
        let (got, _) = one(&mut b, Which { family: Family::V4, is_second });
        let local = got.local.map(|(ip, ifindex)| wg::Local { ip, port, ifindex });
        // Two peers at once, at either port.
        let other = to(got.from, None);
        let first = b.sockets.port();
        let back = Endpoint { remote: got.from, local };
        send(&mut b, &[(back, 0, b"answer"), (other, 0, b"beside")], &mut lost);
        let (mut from, mut buffer) = (Vec::new(), RecvBuffer::new());
        while from.len() < 2 {
            let fd = a.sockets.fd(Family::V4).expect("socket");
            assert!(wait_one(fd, Interest::READ, Some(Duration::from_secs(2))).expect("poll"));
            let count = a.receive(Family::V4, buffer.slots()).expect("receive");
            from.extend((0..count).map(|i| a.received(i).expect("described").from.port()));
        }
        assert_eq!(from, [port, first]);
        b.renew().expect("renewed");
        assert_eq!((b.sockets.port(), b.sockets.second_port()), (first, Some(free)));
    }
    assert!(lost.is_empty() && a.sockets.listen_also(free).is_err());
    assert_eq!(a.sockets.second_port(), None);
}

#[test]
fn a_dead_pinned_address_is_given_up_and_the_datagram_still_goes() {
    let mut a = Udp::bind(0, false).expect("bind");
    let mut b = Udp::bind(0, false).expect("bind");
    let mut lost = Vec::new();
    // An address that this machine never has, noted as if something had come to it.
    a.source_addrs.note([192, 0, 2, 77].into());
    let remote = SocketAddr::from(([127, 0, 0, 1], b.sockets.port()));
    send(&mut a, &[(to(remote, Some(("192.0.2.77", 0))), 0, &b"x"[..]); 3], &mut lost);
    assert_eq!(all(&mut b, 3), vec![b"x".to_vec(); 3]);
    assert!(lost.is_empty());
    assert_eq!(a.source_addrs.of(&to(remote, Some(("192.0.2.77", 0)))), None);
}

#[test]
fn a_refused_datagram_takes_no_other_with_it() {
    let mut a = Udp::bind(0, false).expect("bind");
    let mut b = Udp::bind(0, false).expect("bind");
    let mut lost = Vec::new();
    let good = SocketAddr::from(([127, 0, 0, 1], b.sockets.port()));
    // Broadcast is refused to this socket; 65,508 bytes do not fit into IPv4.
    let bad = SocketAddr::from(([255, 255, 255, 255], 9));
    let big = vec![7u8; 65_508];
    let list = [(good, &b"1"[..]), (bad, b"2"), (good, b"3"), (good, &big), (good, b"5")];
    send(&mut a, &list.map(|(remote, data)| (to(remote, None), 0, data)), &mut lost);
    assert_eq!(all(&mut b, 3), [b"1", b"3", b"5"]);
    assert_eq!(lost, [wg::Drop::SendFailed, wg::Drop::SendTooBig]);
}

#[test]
fn the_largest_datagram_arrives_whole() {
    let mut a = Udp::bind(0, false).expect("bind");
    let mut b = Udp::bind(0, false).expect("bind");
    let big: Vec<u8> = (0..65_507u32).map(|i| i as u8).collect();
    let remote = SocketAddr::from(([127, 0, 0, 1], b.sockets.port()));
    send(&mut a, &[(to(remote, None), 0, &big)], &mut Vec::new());
    let (got, data) = one(&mut b, Family::V4);
    assert!(!got.truncated && data == big);
}

#[test]
fn a_taken_port_is_refused_and_rebinding_keeps_what_works() {
    let mut a = Udp::bind(0, false).expect("bind");
    let b = Udp::bind(0, false).expect("bind");
    let before = a.sockets.port();
    assert_eq!(a.rebind(b.sockets.port()).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    assert_eq!(a.sockets.port(), before);
    a.renew().expect("renew");
    assert_eq!(a.sockets.port(), before);
}

/// Datagrams of these lengths, each with its number.
fn numbered(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().enumerate().map(|(i, len)| vec![i as u8; *len]).collect()
}

#[test]
fn batches_arrive_as_the_datagrams_they_are_made_of() {
    let mut lengths = vec![1452; 50];
    lengths.extend([700, 700, 700, 32]);
    lengths.extend(vec![112; 70]);
    let datagrams = numbered(&lengths);
    for (send_plain, receive_plain) in [(false, false), (false, true), (true, false), (true, true)]
    {
        let mut a = Udp::bind(0, send_plain).expect("bind");
        let mut b = Udp::bind(0, receive_plain).expect("bind");
        let remote = to(SocketAddr::from(([127, 0, 0, 1], b.sockets.port())), None);
        let mut lost = Vec::new();
        let list: Vec<_> = datagrams.iter().map(|d| (remote, 0u8, &d[..])).collect();
        send(&mut a, &list, &mut lost);
        assert!(all(&mut b, datagrams.len()) == datagrams, "{send_plain} {receive_plain}");
        assert!(lost.is_empty() && a.refused_batches() == 0);
    }
}

#[test]
fn a_batch_that_is_refused_goes_one_by_one() {
    let mut a = Udp::bind(0, false).expect("bind");
    let mut b = Udp::bind(0, false).expect("bind");
    let remote = to(SocketAddr::from(([127, 0, 0, 1], b.sockets.port())), None);
    let mut lost = Vec::new();
    // Without checksums the kernel cuts nothing up: a refusal like that of too small a path.
    a.sockets.get(Family::V4).expect("v4").socket.without_checksums().expect("SO_NO_CHECK");
    let datagrams = numbered(&[600, 600, 600, 200, 1000, 1000, 9]);
    let list: Vec<_> = datagrams.iter().map(|d| (remote, 0u8, &d[..])).collect();
    send(&mut a, &list, &mut lost);
    assert!(all(&mut b, datagrams.len()) == datagrams);
    assert_eq!(a.refused_batches(), 1);
    assert_eq!(a.sockets.get(Family::V4).map(|s| s.refused), Some(600));
    // Now it is known.
    send(&mut a, &list, &mut lost);
    assert!(all(&mut b, datagrams.len()) == datagrams);
    assert_eq!(a.refused_batches(), 1);
    // Shorter ones are tried again, and so are all when the network changed.
    let short = numbered(&[300, 300]);
    let list: Vec<_> = short.iter().map(|d| (remote, 0u8, &d[..])).collect();
    send(&mut a, &list, &mut lost);
    assert!(all(&mut b, 2) == short);
    assert_eq!(a.refused_batches(), 2);
    a.forget_source_addrs();
    assert_eq!(a.sockets.get(Family::V4).map(|s| s.refused), Some(usize::MAX));
    assert!(lost.is_empty());
}

#[test]
fn a_lost_batch_is_counted_by_datagrams() {
    let mut a = Udp::bind(0, false).expect("bind");
    let mut b = Udp::bind(0, false).expect("bind");
    let good = to(SocketAddr::from(([127, 0, 0, 1], b.sockets.port())), None);
    // Broadcast is refused to this socket, to batches as to single datagrams.
    let bad = to(SocketAddr::from(([255, 255, 255, 255], 9)), None);
    let datagrams = numbered(&[100, 100, 50, 100, 100, 100, 40, 100, 100]);
    let to = |i: usize| if (3..7).contains(&i) { bad } else { good };
    let list: Vec<_> = datagrams.iter().enumerate().map(|(i, d)| (to(i), 0u8, &d[..])).collect();
    let mut lost = Vec::new();
    send(&mut a, &list, &mut lost);
    let rest: Vec<_> = [0, 1, 2, 7, 8].iter().map(|i| datagrams[*i].clone()).collect();
    assert!(all(&mut b, rest.len()) == rest);
    assert_eq!(lost, [wg::Drop::SendFailed; 4]);
}

#[test]
fn what_a_socket_has_no_room_for_is_counted_once() {
    let mut u = Udp::bind(0, false).expect("bind");
    assert_eq!(u.sockets.overflows(), 0);
    let from = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    from.connect(("127.0.0.1", u.sockets.port())).expect("connect");
    // More than the buffer takes: it is asked for, doubled by the kernel, and nobody reads.
    for _ in 0..2 * crate::sys::sock::BUFFER_BYTES / 60_000 + 100 {
        from.send(&[0; 60_000]).expect("loopback takes it");
    }
    let lost = u.sockets.overflows();
    assert_eq!(lost > 0, cfg!(target_os = "linux"));
    // Also when the sockets are others.
    u.renew().expect("renew");
    assert_eq!(u.sockets.overflows(), lost);
    u.rebind(0).expect("rebind");
    assert_eq!(u.sockets.overflows(), lost);
}

/// We send 64 at most, but a neighbour may send what its kernel takes since Linux 6.9.
#[test]
fn a_neighbours_128_come_in_one_message() {
    let (mut a, mut b) = (Udp::bind(0, false).expect("bind"), Udp::bind(0, false).expect("bind"));
    let to = SocketAddr::from(([127, 0, 0, 1], b.sockets.port()));
    let data: Vec<u8> = (0..128).flat_map(|n| [n; 64]).collect();
    let socket = &a.sockets.get(Family::V4).expect("socket").socket;
    let all = |_| Outgoing { to, from: None, tos: 0, segment: 64, data: &data };
    if let Err(why) = a.outgoing.send(socket, 1, all) {
        assert_eq!(why.raw_os_error(), Some(code::EINVAL), "{why}");
        println!("SKIP: this kernel takes no 128 datagrams at once");
        return;
    }
    let (got, came) = one(&mut b, Family::V4);
    assert_eq!((got.len, got.segment, got.truncated), (data.len(), 64, false));
    assert_eq!(came, data);
}
