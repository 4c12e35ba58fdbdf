//! Who keeps connections open and says little or nothing, from one address or many, keeps nobody
//! else out: a laptop's requests are answered, all of them and soon.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::{Served, with_token};

/// Where the agent is; who asks it from nowhere in particular is 127.0.0.1, the laptop.
const AGENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const ASKED: usize = 40;
/// On a machine that has other things to do, with many more threads here than it has processors:
/// who is closed for somebody else is so at once. The median is told, too.
const SOON: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Silent,
    SlowHead,
    SlowBody,
    ReadsNothing,
    StaysAfterTheAnswer,
    /// Closed and opened again as fast as it goes.
    ComesAndGoes,
}

#[derive(Clone, Copy, Debug)]
enum From {
    /// The laptop's own: another user there.
    Laptop,
    Here,
    Everywhere,
}

fn open(from: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    let SocketAddr::V4(to) = to else { return None };
    let stream = SockType::Stream;
    let fd = socket(AddressFamily::Inet, stream, SockFlag::SOCK_CLOEXEC, None).ok()?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(from, 0))).ok()?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(to)).ok()?;
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

fn first_words(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Silent | Kind::ComesAndGoes => b"",
        Kind::SlowHead => b"GET /health HTTP/1.1\r\nHost: ",
        Kind::SlowBody => {
            b"POST /rpc HTTP/1.1\r\nHost: 127.0.0.2\r\nContent-Length: 1000000\r\n\r\n{"
        }
        Kind::ReadsNothing | Kind::StaysAfterTheAnswer => {
            b"GET /health HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n"
        }
    }
}

/// Keeps `many` connections, until it is told to end.
fn attack(kind: Kind, from: From, many: usize, to: SocketAddr, end: &AtomicBool, seed: usize) {
    let mut held: Vec<(TcpStream, Instant)> = Vec::new();
    let mut turn = seed;
    while !end.load(Ordering::Relaxed) {
        while held.len() < many && !end.load(Ordering::Relaxed) {
            turn += 1;
            let from = match from {
                From::Laptop => Ipv4Addr::LOCALHOST,
                From::Here => AGENT,
                From::Everywhere => Ipv4Addr::new(127, 1, (turn / 250) as u8, (turn % 250) as u8),
            };
            let Some(mut stream) = open(from, to) else { break };
            let _ = stream.write_all(first_words(kind));
            held.push((stream, Instant::now()));
        }
        if kind == Kind::ComesAndGoes {
            held.clear();
        }
        held.retain_mut(|(stream, spoke)| {
            if spoke.elapsed() > Duration::from_millis(300) {
                *spoke = Instant::now();
                let more = matches!(kind, Kind::SlowHead | Kind::SlowBody);
                if more && stream.write(b"x").is_err() {
                    return false;
                }
            }
            let mut seen = [0; 512];
            match kind {
                // Its end is not read, either, until it writes.
                Kind::ReadsNothing => spoke.elapsed() < Duration::from_millis(250),
                _ => match stream.read(&mut seen) {
                    Ok(0) => false,
                    Ok(_) => true,
                    Err(error) => error.kind() == ErrorKind::WouldBlock,
                },
            }
        });
        thread::sleep(Duration::from_millis(1));
    }
}

/// What a laptop's request was answered with, and when.
fn honest(served: &Served, request: &str) -> (String, Duration) {
    let began = Instant::now();
    let mut answer = String::new();
    let mut stream = TcpStream::connect(served.at).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    (answer, began.elapsed())
}

#[test]
fn forty_of_forty_requests_of_a_laptop_are_answered_whoever_else_is_there() {
    let served = Served::at(AGENT);
    let health = "GET /health HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n".to_owned();
    let call = with_token(r#"{"method":"agent.version"}"#);
    let kinds = [
        Kind::Silent,
        Kind::SlowHead,
        Kind::SlowBody,
        Kind::ReadsNothing,
        Kind::StaysAfterTheAnswer,
        Kind::ComesAndGoes,
    ];
    for kind in kinds {
        for from in [From::Laptop, From::Here, From::Everywhere] {
            for threads in [1, 2, 64] {
                let many = if threads == 64 { 4 } else { 40 };
                let end = Arc::new(AtomicBool::new(false));
                let there: Vec<_> = (0..threads)
                    .map(|n| {
                        let (end, to) = (end.clone(), served.at);
                        thread::spawn(move || attack(kind, from, many, to, &end, n * 997))
                    })
                    .collect();
                thread::sleep(Duration::from_millis(100));
                let mut took = Vec::new();
                for n in 0..ASKED {
                    let request = if n % 2 == 0 { &health } else { &call };
                    let (answer, after) = honest(&served, request);
                    let at = format!("{kind:?} {from:?} {threads} threads, {n}, {after:?}");
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{at}: {answer:?}");
                    assert!(after < SOON, "{at}");
                    took.push(after);
                }
                end.store(true, Ordering::Relaxed);
                there.into_iter().for_each(|one| one.join().unwrap());
                took.sort();
                let (median, last) = (took[ASKED / 2], took[ASKED - 1]);
                println!("{kind:?} {from:?} {threads}: median {median:?}, slowest {last:?}");
            }
        }
    }
}

/// A connection that has no place of its own gets no byte.
#[test]
fn an_address_that_is_neither_a_laptops_nor_this_machines_gets_nothing() {
    let served = Served::at(Ipv4Addr::UNSPECIFIED);
    let Some(other) = an_address_of_this_machine() else {
        return println!("SKIP an_address_that_is_neither: there is only loopback");
    };
    let to = SocketAddr::from((other, served.at.port()));
    let mut stream = TcpStream::connect(to).unwrap();
    assert_eq!(stream.local_addr().unwrap().ip(), other);
    let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: 0.0.0.0\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
}

fn an_address_of_this_machine() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    }
}

#[test]
fn a_head_has_a_second_and_the_rest_is_bounded_too() {
    let served = Served::start();
    let bytes = AtomicUsize::new(0);
    let began = Instant::now();
    let mut slow = served.connect();
    while slow.write_all(b"G").is_ok() && began.elapsed() < Duration::from_secs(5) {
        bytes.fetch_add(1, Ordering::Relaxed);
        slow.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut answer = [0; 64];
        if let Ok(read) = slow.read(&mut answer) {
            assert!(answer[..read].starts_with(b"HTTP/1.1 408 "), "{read}");
            break;
        }
    }
    let after = began.elapsed();
    assert!((900..3000).contains(&after.as_millis()), "{after:?}");
    assert!(bytes.into_inner() > 2);
    // One that says nothing gets nothing.
    let mut silent = served.connect();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
}

#[test]
fn calls_that_take_long_keep_nobody_from_health() {
    let served = Served::start();
    let call = with_token(r#"{"method":"agent.status"}"#);
    let many: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(call.as_bytes()).unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    let health = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert_eq!(served.ask(health).0, 200);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    let mut told = [0, 0];
    for mut stream in many {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        told[usize::from(answer.starts_with("HTTP/1.1 503 "))] += 1;
    }
    assert_eq!(told, [4, 36], "four at a time, and the others are told");
}
