//! Two ends with pipes between them, and one whose other end is nobody's.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::thread;

use super::*;
use crate::sys::poll::Wake;

struct End {
    socket: Udp,
    peer: AtomicU16,
    stop: Wake,
}

fn end(peer: &UdpSocket) -> End {
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let peer = AtomicU16::new(peer.local_addr().unwrap().port());
    End { socket: Udp::on_loopback().unwrap(), peer, stop: Wake::new().unwrap() }
}

fn run(end: &End, input: OwnedFd, output: OwnedFd) -> Ended {
    let side = Side {
        input: input.into(),
        output: output.into(),
        socket: &end.socket,
        peer: &end.peer,
        noise: 0,
        hello_within: Duration::from_secs(2),
        counts: &Counts::default(),
    };
    let mut words = Words::new(None).unwrap();
    Carrier::new(side).unwrap().run(Some(end.stop.as_fd()), &mut words, &mut || {})
}

fn on_loopback() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

#[test]
fn datagrams_come_through_in_both_directions() {
    let (near, far) = (on_loopback(), on_loopback());
    let (one, other) = (end(&near), end(&far));
    let (up, down) = (poll::pipe().unwrap(), poll::pipe().unwrap());
    thread::scope(|scope| {
        let there = scope.spawn(|| run(&other, up.0, down.1));
        let here = scope.spawn(|| run(&one, down.0, up.1));
        let to = |end: &End| (Ipv4Addr::LOCALHOST, end.socket.port());
        let mut room = [0; 2000];
        // Until both have said hello what is sent is lost.
        near.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while far.recv_from(&mut room).is_err() {
            assert!(Instant::now() < end);
            near.send_to(b"first", to(&one)).unwrap();
        }
        while far.recv_from(&mut room).is_ok() {}
        for len in (1..1500).step_by(7) {
            near.send_to(&vec![1; len], to(&one)).unwrap();
            assert_eq!(far.recv_from(&mut room).unwrap().0, len);
            far.send_to(&vec![2; len], to(&other)).unwrap();
            assert_eq!(near.recv_from(&mut room).unwrap().0, len);
        }
        one.stop.wake();
        assert!(matches!(here.join().unwrap(), Ended::Stopped));
        assert!(matches!(there.join().unwrap(), Ended::Closed));
    });
}

/// What becomes of an end to which this is said, and how often its peer heard of it.
fn said(bytes: &[u8]) -> (Ended, usize) {
    let near = on_loopback();
    let one = end(&near);
    let (up, down) = (poll::pipe().unwrap(), poll::pipe().unwrap());
    let mut to = File::from(down.1);
    assert_eq!(to.write(bytes).unwrap(), bytes.len());
    drop(to);
    let ended = run(&one, down.0, up.1);
    near.set_nonblocking(true).unwrap();
    let heard = (0..).take_while(|_| near.recv_from(&mut [0; 2000]).is_ok()).count();
    (ended, heard)
}

#[test]
fn a_stream_that_is_none_ends_it_and_what_came_before_was_carried() {
    let hello = |rest: &[u8]| [HELLO, &[0, 0, 3], b"abc", rest].concat();
    assert!(matches!(said(&hello(&[])), (Ended::Closed, 1)));
    assert!(matches!(said(&hello(&[9, 0, 0])), (Ended::Bad(Bad::Kind(9)), 1)));
    assert!(matches!(said(&hello(&[0, 0, 0])), (Ended::Bad(Bad::Length(0, 0)), 1)));
    let taken = [4, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1];
    assert!(matches!(said(&hello(&taken)), (Ended::Bad(Bad::Taken), 1)));
    assert!(matches!(said(b"HTTP/1.1 400 Bad Request\r\n"), (Ended::Bad(Bad::NoHello(0)), 0)));
    assert!(matches!(said(&hello(&[3, 0, 200])), (Ended::Closed, 1)), "half a frame");
}

#[test]
fn who_says_nothing_is_given_up() {
    let near = on_loopback();
    let one = end(&near);
    let (up, down) = (poll::pipe().unwrap(), poll::pipe().unwrap());
    assert!(matches!(run(&one, down.0, up.1), Ended::Mute));
    drop(down.1);
}
