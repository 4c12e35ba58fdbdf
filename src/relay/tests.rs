//! A relay between sockets of this process.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::*;
use crate::sys::loopback;

const LIMIT: Duration = Duration::from_secs(60);

/// Two ends of a TCP connection.
fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    for end in [&one, &other] {
        end.set_read_timeout(Some(LIMIT)).unwrap();
        end.set_write_timeout(Some(LIMIT)).unwrap();
    }
    (one, other)
}

fn told() -> (Done, mpsc::Receiver<Carried>) {
    let (send, receive) = mpsc::channel();
    (
        Box::new(move |carried| {
            let _ = send.send(carried);
        }),
        receive,
    )
}

/// The ends of the near and of the far side, and what becomes of it.
fn carried(relay: &Relay) -> (TcpStream, TcpStream, mpsc::Receiver<Carried>) {
    let ((client, near), (far, server)) = (tcp(), tcp());
    let (done, ended) = told();
    relay.carry(near.into(), far.into(), Vec::new(), done);
    (client, server, ended)
}

fn all(mut from: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn each_way_ends_on_its_own() {
    let relay = Relay::start("relay").unwrap();
    for turned in [false, true] {
        let (client, server, ended) = carried(&relay);
        let (first, second) = if turned { (server, client) } else { (client, server) };
        (&first).write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all(&second), b"question");
        // Long after the other way's end.
        thread::sleep(Duration::from_millis(20));
        assert!(ended.try_recv().is_err());
        (&second).write_all(b"the answer").unwrap();
        drop(second);
        assert_eq!(all(&first), b"the answer");
        let (up, down) = if turned { (10, 8) } else { (8, 10) };
        let carried = Carried { up, down, ended: Ended::Closed };
        assert_eq!(ended.recv_timeout(LIMIT).unwrap(), carried);
    }
}

#[test]
fn a_reset_is_passed_on_at_once_each_way() {
    let relay = Relay::start("relay").unwrap();
    for turned in [false, true] {
        let (client, server, ended) = carried(&relay);
        let (one, other) = if turned { (server, client) } else { (client, server) };
        (&one).write_all(b"x").unwrap();
        (&other).read_exact(&mut [0]).unwrap();
        loopback::reset(one);
        let heard = (&other).read(&mut [0]).unwrap_err();
        assert_eq!(heard.kind(), ErrorKind::ConnectionReset);
        assert_eq!(ended.recv_timeout(LIMIT).unwrap().ended, Ended::Reset);
    }
}

/// One side takes nothing and has said its last; the other is reset: that is heard all the same.
#[test]
fn a_reset_is_heard_by_who_is_not_read_from() {
    let relay = Relay::start("relay").unwrap();
    let (client, server, ended) = carried(&relay);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&client), b"");
    client.set_nonblocking(true).unwrap();
    let full = fill(&client);
    assert!(full > 0);
    loopback::reset(client);
    assert_eq!(ended.recv_timeout(LIMIT).unwrap().ended, Ended::Reset);
}

/// Writes until nothing has been taken for a while. How much was.
fn fill(mut to: &TcpStream) -> u64 {
    let (mut taken, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_millis(300) {
        match to.write(&[b'x'; 16 * 1024]) {
            Ok(written) => (taken, last) = (taken + written as u64, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

#[test]
fn what_is_not_taken_is_not_read_and_nothing_of_it_is_lost() {
    let relay = Relay::start("relay").unwrap();
    let (client, server, ended) = carried(&relay);
    client.set_nonblocking(true).unwrap();
    let taken = fill(&client);
    // Whatever two pairs of sockets hold, and one piece.
    assert!(taken < 64 << 20, "{taken} bytes went somewhere");
    let (client2, server2, ended2) = carried(&relay);
    (&client2).write_all(b"beside").unwrap();
    drop(client2);
    assert_eq!(all(&server2), b"beside", "others go on");
    drop(server2);
    assert_eq!(ended2.recv_timeout(LIMIT).unwrap().ended, Ended::Closed);
    drop(client);
    assert_eq!(all(&server).len() as u64, taken);
    drop(server);
    let carried = Carried { up: taken, down: 0, ended: Ended::Closed };
    assert_eq!(ended.recv_timeout(LIMIT).unwrap(), carried);
}

/// A server that answers and closes before it has read all: its answer arrives.
#[test]
fn last_words_arrive() {
    let relay = Relay::start("relay").unwrap();
    for _ in 0..50 {
        let (client, server, ended) = carried(&relay);
        (&client).write_all(&[b'q'; 100_000]).unwrap();
        (&server).read_exact(&mut [0; 10]).unwrap();
        (&server).write_all(b"too large").unwrap();
        drop(server);
        let mut answer = [0; 9];
        (&client).read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"too large");
        assert_eq!(ended.recv_timeout(LIMIT).unwrap().ended, Ended::Reset);
    }
}

#[test]
fn a_gibibyte_each_way_at_once_is_the_same_at_its_end() {
    const BLOCK: usize = 1_000_003;
    const BYTES: usize = 1 << 30;
    let block: Vec<u8> =
        (0..BLOCK as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 29) as u8).collect();
    let relay = Relay::start("relay").unwrap();
    let (client, server, ended) = carried(&relay);
    let send = |mut to: &TcpStream| {
        let mut left = BYTES;
        while left > 0 {
            let bytes = &block[..left.min(BLOCK)];
            to.write_all(bytes).unwrap();
            left -= bytes.len();
        }
        to.shutdown(Shutdown::Write).unwrap();
    };
    let check = |mut from: &TcpStream| {
        let (mut bytes, mut at) = (vec![0; 256 * 1024], 0);
        loop {
            let read = from.read(&mut bytes).unwrap();
            if read == 0 {
                return assert_eq!(at, BYTES);
            }
            let mut new = &bytes[..read];
            while !new.is_empty() {
                let meant = &block[at % BLOCK..];
                let same = new.len().min(meant.len());
                assert!(new[..same] == meant[..same], "after {at} bytes");
                (new, at) = (&new[same..], at + same);
            }
        }
    };
    thread::scope(|scope| {
        for end in [&client, &server] {
            scope.spawn(move || send(end));
            scope.spawn(move || check(end));
        }
    });
    let bytes = BYTES as u64;
    let carried = Carried { up: bytes, down: bytes, ended: Ended::Closed };
    assert_eq!(ended.recv_timeout(LIMIT).unwrap(), carried);
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    let relay = Relay::start("relay").unwrap();
    let tally = Arc::new(Tally::default());
    let (send, ended) = mpsc::channel();
    for round in 0..200 {
        let pairs: Vec<_> = (0..50).map(|_| (UnixStream::pair(), UnixStream::pair())).collect();
        let mut ends = Vec::new();
        for (near, far) in pairs {
            let ((client, near), (far, server)) = (near.unwrap(), far.unwrap());
            let send = send.clone();
            let done: Done = Box::new(move |carried| {
                let _ = send.send(carried);
            });
            let (near, far): (OwnedFd, OwnedFd) = (near.into(), far.into());
            let (tally, first) = (tally.clone(), b"first".to_vec());
            relay.carry_as(Order { near, far, first, opening: None, tally, done });
            ends.push((client, server));
        }
        for (at, (mut client, mut server)) in ends.into_iter().enumerate() {
            client.write_all(b" then").unwrap();
            let mut heard = [0; 10];
            server.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"first then");
            // Each way of going.
            let (mut left, gone) = if at % 2 == 0 { (client, server) } else { (server, client) };
            if round % 2 == 0 {
                gone.shutdown(Shutdown::Write).unwrap();
            }
            drop(gone);
            left.set_read_timeout(Some(LIMIT)).unwrap();
            // A unix socket that closes with something unread resets, as TCP does.
            let _ = left.read(&mut [0]);
        }
        for _ in 0..50 {
            ended.recv_timeout(LIMIT).unwrap();
        }
        assert_eq!(tally.open.load(Ordering::Relaxed), 0);
    }
    let carried = [&tally.up, &tally.down].map(|way| way.load(Ordering::Relaxed));
    assert_eq!(carried, [50_000, 0]);
    assert!(relay.lanes.lock().unwrap().iter().all(|lane| lane.count() == 0));
}

#[test]
fn one_that_is_idle_costs_little_and_wakes_nobody() {
    assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
    let relay = Relay::start("relay").unwrap();
    let (client, server, _ended) = carried(&relay);
    let mut bytes = vec![b'x'; 1 << 20];
    thread::scope(|scope| {
        scope.spawn(|| (&client).write_all(&[b'x'; 1 << 20]).unwrap());
        (&server).read_exact(&mut bytes).unwrap();
    });
    // Half closed on a unix socket it hangs up for ever; that wakes nobody either.
    let ((gone, near), (far, stays)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let (done, ended) = told();
    relay.carry(near.into(), far.into(), Vec::new(), done);
    drop(gone);
    stays.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!((&stays).read(&mut [0]).unwrap(), 0);
    thread::sleep(Duration::from_millis(50));
    let wakes = |relay: &Relay| -> u64 {
        relay.lanes.lock().unwrap().iter().map(|lane| lane.wakes()).sum()
    };
    let before = wakes(&relay);
    thread::sleep(Duration::from_millis(300));
    assert!(wakes(&relay) <= before + 2, "{} after {before}", wakes(&relay));
    assert!(ended.try_recv().is_err(), "the other way has not ended");
}

struct Asks(&'static [u8]);

impl Opening for Asks {
    fn says(&self) -> &[u8] {
        self.0
    }

    fn hears(&mut self, bytes: &[u8]) -> Heard {
        match bytes.iter().position(|byte| *byte == b'\n') {
            None => Heard::More,
            Some(_) if bytes.starts_with(b"no") => Heard::Refused,
            Some(end) => Heard::Open(end + 1),
        }
    }
}

#[test]
fn what_is_said_before_is_not_carried() {
    let relay = Relay::start("relay").unwrap();
    let limit = Duration::from_millis(500);
    for (answer, ended) in [
        (&b"yes\nhello"[..], Ended::Closed),
        (b"no\n", Ended::Refused),
        (b"", Ended::Refused),
        (b"ye", Ended::Late),
    ] {
        let ((client, near), (far, server)) = (tcp(), tcp());
        let (done, told) = told();
        let opening: Option<(Box<dyn Opening>, _)> = Some((Box::new(Asks(b"open?\n")), limit));
        let (first, tally) = (b"first ".to_vec(), Arc::default());
        relay.carry_as(Order { near: near.into(), far: far.into(), first, opening, tally, done });
        (&client).write_all(b"from the client").unwrap();
        let mut asked = [0; 6];
        (&server).read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"open?\n");
        (&server).write_all(answer).unwrap();
        if ended == Ended::Closed {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(all(&server), b"first from the client");
            drop(server);
            assert_eq!(all(&client), b"hello");
        } else if answer.is_empty() {
            drop(server);
            assert!((&client).read(&mut [0]).is_err());
        } else {
            assert!((&client).read(&mut [0]).is_err(), "it is reset");
        }
        assert_eq!(told.recv_timeout(LIMIT).unwrap().ended, ended);
    }
}

#[test]
fn there_are_as_many_threads_as_it_takes_and_all_end_with_it() {
    let relay = Relay::start("relay").unwrap();
    let (first, second) = (carried(&relay), carried(&relay));
    assert_eq!(relay.lanes.lock().unwrap().len(), 2);
    drop(relay);
    for (client, _, ended) in [first, second] {
        assert_eq!(ended.recv_timeout(LIMIT).unwrap().ended, Ended::Stopped);
        assert!((&client).read(&mut [0]).is_err());
    }
}
