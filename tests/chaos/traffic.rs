//! Traffic whose every byte is checked: streams of numbered datagrams, and bulk over TCP.
//!
//! Runs on threads inside the hosts' namespaces. Knows nothing of WireGuard or of faults.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::netns::Host;
use crate::rng::Rng;

/// Sequence numbers that are remembered; a stream must end before.
const NUMBERS: u64 = 1 << 24;
/// Latencies that are remembered between two looks at them.
const LATENCIES: usize = 1 << 16;
/// Number, time of sending, checksum.
const HEAD: usize = 24;

/// Microseconds since this process looked at the clock first; the same on all hosts.
pub fn now_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// How a stream sends.
#[derive(Clone, Copy)]
pub struct Pace {
    pub every: Duration,
    /// Datagrams each time.
    pub burst: u32,
    /// Longest payload in bytes.
    pub size: u64,
}

/// What arrived, or should not have.
#[derive(Default)]
struct Seen {
    /// A bit per number.
    bits: Vec<u64>,
    delivered: u64,
    highest: u64,
    duplicates: u64,
    corrupted: u64,
    /// When the newest delivered datagram was sent.
    newest_sent_us: u64,
    last_us: u64,
    silence_us: u64,
    latency_us: Vec<u32>,
}

#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    paused: AtomicBool,
    /// 1: the sender ends; 2: the receiver too.
    ending: AtomicU64,
    seen: Mutex<Seen>,
}

/// Numbered datagrams from one host to another until it is finished or dropped.
pub struct Stream {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The outcome of a stream that kept its promises.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    pub sent: u64,
    pub delivered: u64,
}

impl Tally {
    pub fn share(&self) -> f64 {
        self.delivered as f64 / self.sent.max(1) as f64
    }
}

impl Stream {
    pub fn start(from: &Host, to: &Host, dest: SocketAddrV4, pace: Pace, seed: u64) -> Stream {
        let shared = Arc::new(Shared::default());
        let (s, r) = (shared.clone(), shared.clone());
        now_us();
        let receiver = to.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, dest.port())).unwrap();
            setsockopt(&socket, RcvBufForce, &(4 << 20)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            std::thread::spawn(move || receive(&socket, &r, seed))
        });
        let sender = from.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            std::thread::spawn(move || send(&socket, dest, &s, pace, seed))
        });
        Stream { shared, threads: vec![sender, receiver] }
    }

    /// Waits for a datagram that was sent at or after `since_us`; its arrival in µs after that.
    pub fn next_after(&self, since_us: u64, limit: Duration) -> Option<Duration> {
        let end = Instant::now() + limit;
        loop {
            if self.shared.seen.lock().unwrap().newest_sent_us >= since_us {
                return Some(Duration::from_micros(now_us() - since_us));
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Longest time without an arrival since this was asked last, up to now.
    pub fn take_silence(&self) -> Duration {
        let mut seen = self.shared.seen.lock().unwrap();
        let now = now_us();
        let open = now.saturating_sub(seen.last_us);
        seen.last_us = now;
        Duration::from_micros(std::mem::take(&mut seen.silence_us).max(open))
    }

    #[allow(dead_code)] // for those who measure
    pub fn take_latencies_us(&self) -> Vec<u32> {
        std::mem::take(&mut self.shared.seen.lock().unwrap().latency_us)
    }

    pub fn pause(&self, yes: bool) {
        self.shared.paused.store(yes, Ordering::Relaxed);
    }

    pub fn tally(&self) -> Tally {
        let delivered = self.shared.seen.lock().unwrap().delivered;
        Tally { sent: self.shared.sent.load(Ordering::SeqCst), delivered }
    }

    /// Stops sending, waits `rest` for what is under way, and checks: everything that arrived had
    /// been sent, came once, and is what was sent.
    pub fn finish(mut self, rest: Duration) -> Result<Tally, String> {
        self.shared.ending.store(1, Ordering::Relaxed);
        std::thread::sleep(rest);
        self.end();
        let seen = self.shared.seen.lock().unwrap();
        let sent = self.shared.sent.load(Ordering::SeqCst);
        let foreign = seen.delivered > 0 && seen.highest >= sent;
        match seen.duplicates + seen.corrupted {
            0 if !foreign => Ok(Tally { sent, delivered: seen.delivered }),
            _ => Err(format!(
                "{} twice, {} damaged, highest number {} of {sent} sent",
                seen.duplicates, seen.corrupted, seen.highest
            )),
        }
    }

    fn end(&mut self) {
        self.shared.ending.store(2, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
    }
}

fn send(socket: &UdpSocket, dest: SocketAddrV4, shared: &Shared, pace: Pace, seed: u64) {
    let mut rng = Rng::new(seed ^ 1);
    let mut space = vec![0u8; HEAD + pace.size as usize + 8];
    let mut number = 0u64;
    let mut due = Instant::now();
    while shared.ending.load(Ordering::Relaxed) == 0 && number < NUMBERS {
        if !shared.paused.load(Ordering::Relaxed) {
            for _ in 0..pace.burst {
                let len = HEAD + rng.below(pace.size + 1) as usize;
                rng.fill(&mut space[HEAD..len]);
                space[..8].copy_from_slice(&number.to_le_bytes());
                space[8..16].copy_from_slice(&now_us().to_le_bytes());
                let sum = checksum(seed, &space[..len]);
                space[16..24].copy_from_slice(&sum.to_le_bytes());
                // Counted before: it may arrive before send_to returns. Without a route there is
                // nothing to send with, and the number is used again.
                shared.sent.store(number + 1, Ordering::SeqCst);
                number += u64::from(socket.send_to(&space[..len], dest).is_ok());
            }
        }
        due += pace.every;
        match due.checked_duration_since(Instant::now()) {
            Some(left) => std::thread::sleep(left),
            // Late: no hurry to catch up.
            None => due = Instant::now(),
        }
    }
    shared.sent.store(number, Ordering::SeqCst);
}

fn receive(socket: &UdpSocket, shared: &Shared, seed: u64) {
    let mut space = [0u8; 4096];
    shared.seen.lock().unwrap().last_us = now_us();
    while shared.ending.load(Ordering::Relaxed) < 2 {
        let Ok(n) = socket.recv(&mut space) else { continue };
        take(&mut shared.seen.lock().unwrap(), seed, &space[..n]);
    }
}

fn take(seen: &mut Seen, seed: u64, bytes: &[u8]) {
    let field =
        |at: usize| bytes.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().unwrap()));
    let (Some(number), Some(sent_us), Some(sum)) = (field(0), field(8), field(16)) else {
        seen.corrupted += 1;
        return;
    };
    if sum != checksum(seed, bytes) || number >= NUMBERS {
        seen.corrupted += 1;
        return;
    }
    let (word, bit) = ((number / 64) as usize, 1u64 << (number % 64));
    if seen.bits.len() <= word {
        seen.bits.resize(word + 1, 0);
    }
    if seen.bits[word] & bit != 0 {
        seen.duplicates += 1;
        return;
    }
    seen.bits[word] |= bit;
    let now = now_us();
    seen.delivered += 1;
    seen.highest = seen.highest.max(number);
    seen.newest_sent_us = seen.newest_sent_us.max(sent_us);
    seen.silence_us = seen.silence_us.max(now.saturating_sub(seen.last_us));
    seen.last_us = now;
    if seen.latency_us.len() < LATENCIES {
        seen.latency_us.push(now.saturating_sub(sent_us).min(u64::from(u32::MAX)) as u32);
    }
}

/// FNV-1a over all but the checksum itself.
fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let all = bytes[..16].iter().chain(&bytes[HEAD..]);
    all.fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// Bulk data under way.
pub struct Bulk(JoinHandle<Result<(), String>>, JoinHandle<Result<(), String>>);

impl Bulk {
    /// Sends `bytes` from one host to the other over TCP; every byte is compared.
    pub fn start(
        from: &Host,
        to: &Host,
        dest: SocketAddrV4,
        bytes: u64,
        seed: u64,
        limit: Duration,
    ) -> Bulk {
        let end = Instant::now() + limit;
        let receiver = to.run(move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, dest.port())).unwrap();
            listener.set_nonblocking(true).unwrap();
            std::thread::spawn(move || accept(&listener, bytes, seed, end))
        });
        let sender = from.run(move || std::thread::spawn(move || upload(dest, bytes, seed, end)));
        Bulk(sender, receiver)
    }

    pub fn join(self) -> Result<(), String> {
        let sent = self.0.join().expect("no panic").map_err(|e| format!("sender: {e}"));
        let received = self.1.join().expect("no panic").map_err(|e| format!("receiver: {e}"));
        received.and(sent)
    }
}

fn left(end: Instant) -> Result<Duration, String> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err("out of time".into()) } else { Ok(left) }
}

fn upload(dest: SocketAddrV4, bytes: u64, seed: u64, end: Instant) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect_timeout(&dest.into(), left(end)?).map_err(text)?;
    let mut rng = Rng::new(seed);
    let mut chunk = [0u8; 8192];
    let mut to_go = bytes;
    while to_go > 0 {
        rng.fill(&mut chunk);
        let n = to_go.min(chunk.len() as u64);
        stream.set_write_timeout(Some(left(end)?)).map_err(text)?;
        stream.write_all(&chunk[..n as usize]).map_err(text)?;
        to_go -= n;
    }
    // The other side says when it has checked everything.
    let mut answer = [0u8; 1];
    stream.set_read_timeout(Some(left(end)?)).map_err(text)?;
    stream.read_exact(&mut answer).map_err(text)?;
    (answer == *b"k").then_some(()).ok_or_else(|| "a wrong answer".into())
}

fn accept(listener: &TcpListener, bytes: u64, seed: u64, end: Instant) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                left(end)?;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(text(e)),
        }
    };
    stream.set_nonblocking(false).map_err(text)?;
    let mut rng = Rng::new(seed);
    let (mut chunk, mut expected) = ([0u8; 8192], [0u8; 8192]);
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(chunk.len() as u64) as usize;
        stream.set_read_timeout(Some(left(end)?)).map_err(text)?;
        stream.read_exact(&mut chunk[..n]).map_err(|e| format!("after {at} bytes: {e}"))?;
        rng.fill(&mut expected);
        if chunk[..n] != expected[..n] {
            return Err(format!("damaged between byte {at} and {}", at + n as u64));
        }
        at += n as u64;
    }
    stream.write_all(b"k").map_err(text)
}
