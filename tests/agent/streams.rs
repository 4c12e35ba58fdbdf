//! Streams of lines: as fast as they are read, ended from either side, and in nobody's way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::http::client::{Failed, Lines, Request, ask};
use hopbox::http::request::{Head, Refusal};
use hopbox::http::server::Server;
use hopbox::http::service::{Next, Reply, Service};
use hopbox::http::slots::Source;
use hopbox::sys::poll::{Interest, wait_one};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

/// Makes what a request's body names: `flood` (lines without end), `three`, `wait` (nothing).
#[derive(Default)]
struct Maker {
    lines: AtomicUsize,
    /// Streams that are being made.
    alive: AtomicUsize,
}

impl Service for Maker {
    type Call = ();

    fn source(&self, from: Ipv4Addr) -> Option<Source> {
        Some(Source::Peer(from))
    }

    fn begin(&self, head: &Head, _: Ipv4Addr) -> Result<Next<()>, Refusal> {
        match head.path.as_str() {
            "/health" => Ok(Next::Answer(json!({}))),
            _ => Ok(Next::Call((), head.body()?)),
        }
    }

    fn call(&self, (): (), body: &str, reply: Reply) {
        if body == "nothing" {
            return drop(reply);
        }
        let Some(lines) = reply.stream() else { return };
        self.alive.fetch_add(1, Ordering::SeqCst);
        match body {
            "flood" => {
                let line = "x".repeat(1000);
                while lines.send(&line).is_ok() {
                    self.lines.fetch_add(1, Ordering::SeqCst);
                }
            }
            "three" => (1..=3).for_each(|n| lines.send(&n.to_string()).unwrap()),
            _ => drop(wait_one(lines.as_fd(), Interest::READ, Some(SOON * 6))),
        }
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Made {
    at: SocketAddr,
    maker: Arc<Maker>,
    server: Option<Server>,
}

impl Made {
    fn start() -> Made {
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (at, maker) = (listener.local_addr().unwrap(), Arc::new(Maker::default()));
        let server = Some(Server::start(listener, maker.clone()).unwrap());
        Made { at, maker, server }
    }

    fn open(&self, what: &str) -> Result<(u16, Lines), Failed> {
        let request = Request {
            method: "POST",
            path: "/x",
            host: "x",
            bearer: None,
            upgrade: None,
            body: Some(what),
        };
        let stream = TcpStream::connect(self.at).unwrap();
        let answer = ask(stream, &request, Instant::now() + SOON)?;
        let status = answer.status;
        assert_eq!(answer.is_stream(), status == 200);
        Ok((status, answer.lines()))
    }

    fn lines(&self, what: &str) -> Lines {
        let (status, lines) = self.open(what).unwrap();
        assert_eq!(status, 200);
        lines
    }

    /// Waits until so many streams are being made.
    fn until(&self, alive: usize) {
        let end = Instant::now() + SOON;
        while self.maker.alive.load(Ordering::SeqCst) != alive {
            assert!(Instant::now() < end, "{}", self.maker.alive.load(Ordering::SeqCst));
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn health(&self) -> Duration {
        let began = Instant::now();
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        began.elapsed()
    }
}

#[test]
fn lines_come_as_they_are_made_and_end() {
    let made = Made::start();
    let mut lines = made.lines("three");
    for n in ["1", "2", "3"] {
        assert_eq!(lines.next_line().unwrap().as_deref(), Some(n));
    }
    assert_eq!(lines.next_line().unwrap(), None);
    assert!(matches!(made.open("nothing"), Err(Failed::Lost(_))), "closed without a word");
}

#[test]
fn who_reads_slowly_holds_back_who_makes_and_nobody_else() {
    let made = Made::start();
    let mut lines = made.lines("flood");
    // Until the sockets between are full, and what may wait waits.
    let mut before = usize::MAX;
    let end = Instant::now() + SOON;
    while before != made.maker.lines.load(Ordering::SeqCst) {
        before = made.maker.lines.load(Ordering::SeqCst);
        assert!(Instant::now() < end, "it makes lines without end: {before}");
        thread::sleep(Duration::from_millis(300));
    }
    assert!(made.health() < Duration::from_secs(2));
    for _ in 0..before {
        assert_eq!(lines.next_line().unwrap().map(|line| line.len()), Some(1000));
    }
    assert!(made.maker.lines.load(Ordering::SeqCst) > before, "it goes on");
    drop(lines);
    made.until(0);
}

#[test]
fn a_stream_ends_with_either_side() {
    let made = Made::start();
    for what in ["flood", "wait"] {
        let lines = made.lines(what);
        made.until(1);
        drop(lines);
        made.until(0);
        let mut lines = made.lines(what);
        let canceller = lines.canceller().unwrap();
        let reads = thread::spawn(move || while let Ok(Some(_)) = lines.next_line() {});
        made.until(1);
        canceller.cancel();
        reads.join().unwrap();
        made.until(0);
    }
    let mut made = made;
    let mut lines = made.lines("wait");
    made.until(1);
    drop(made.server.take());
    assert!(matches!(lines.next_line(), Ok(None) | Err(Failed::Lost(_))));
    made.until(0);
}

#[test]
fn streams_have_a_bound_and_leave_room_for_health() {
    let made = Made::start();
    let kept: Vec<_> = (0..32).map(|_| made.lines("wait")).collect();
    made.until(32);
    assert_eq!(made.open("wait").unwrap().0, 503);
    assert_eq!(made.maker.alive.load(Ordering::SeqCst), 32, "the one more was never made");
    assert!(made.health() < Duration::from_secs(2));
    drop(kept);
    made.until(0);
    assert_eq!(made.lines("three").next_line().unwrap().as_deref(), Some("1"));
}

#[test]
fn one_that_says_nothing_is_heard_to_live() {
    let made = Made::start();
    let mut stream = TcpStream::connect(made.at).unwrap();
    let head = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nwait";
    stream.write_all(head).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n\n") {
        let mut piece = [0; 512];
        let read = stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "{:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..read]);
    }
}
