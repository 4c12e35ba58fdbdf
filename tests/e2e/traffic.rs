//! Bulk data between two hosts, by plain sockets of this process that live in their namespaces.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::netns::Host;

/// How long a transfer may stand still.
const PATIENCE: Duration = Duration::from_secs(10);

/// A byte stream in which every byte tells its place.
fn byte_at(place: u64) -> u8 {
    (place ^ place >> 8 ^ place >> 16 ^ place >> 24) as u8
}

fn pattern(from: u64, out: &mut [u8]) {
    for (place, b) in (from..).zip(out) {
        *b = byte_at(place);
    }
}

/// A TCP connection: the end at `from`, the end at `to`.
pub fn connect(from: &Host, to: &Host, address: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = to.run(move || TcpListener::bind((address.ip(), 0))).expect("bind");
    let port = listener.local_addr().unwrap().port();
    let target = SocketAddr::new(address.ip(), port);
    let near = from.run(move || TcpStream::connect_timeout(&target, PATIENCE)).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (near, far)
}

/// Sends `bytes` by TCP and checks each of them at the other end; how long it took.
pub fn tcp(from: &Host, to: &Host, address: &str, bytes: u64) -> Duration {
    let (near, far) = connect(from, to, format!("{address}:0").parse().expect("an address"));
    exchange(near, far, bytes)
}

/// Several [`tcp`] at once.
pub fn tcp_parallel(from: &Host, to: &Host, address: &str, flows: usize, bytes: u64) {
    let at = format!("{address}:0").parse().expect("an address");
    let ends: Vec<_> = (0..flows).map(|_| connect(from, to, at)).collect();
    std::thread::scope(|s| {
        for (near, far) in ends {
            s.spawn(move || exchange(near, far, bytes));
        }
    });
}

fn exchange(mut near: TcpStream, mut far: TcpStream, bytes: u64) -> Duration {
    let start = Instant::now();
    let writer = std::thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        let mut place = 0;
        while place < bytes {
            let n = chunk.len().min((bytes - place) as usize);
            pattern(place, &mut chunk[..n]);
            near.write_all(&chunk[..n]).expect("TCP goes on");
            place += n as u64;
        }
    });
    let mut chunk = vec![0; 64 * 1024];
    let mut place = 0;
    loop {
        let n = match far.read(&mut chunk) {
            // A socket with a time limit says so when its process was stopped and goes on.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            n => n.expect("TCP goes on"),
        };
        if n == 0 {
            break;
        }
        for (at, b) in (place..).zip(&chunk[..n]) {
            assert_eq!(*b, byte_at(at), "byte {at} of {bytes}");
        }
        place += n as u64;
    }
    writer.join().expect("the writer wrote all");
    assert_eq!(place, bytes);
    start.elapsed()
}

/// What became of the numbered datagrams of [`udp`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub sent: u64,
    pub received: u64,
    /// Came after one with a higher number, or twice.
    pub out_of_order: u64,
    /// Contents that were not sent.
    pub wrong: u64,
}

/// Sends numbered datagrams of `len` bytes at `per_second` for `time`.
pub fn udp(
    from: &Host,
    to: &Host,
    address: &str,
    len: usize,
    per_second: u64,
    time: Duration,
) -> Flow {
    let at: SocketAddr = format!("{address}:0").parse().expect("an address");
    let far = to.run(move || UdpSocket::bind((at.ip(), 0))).expect("bind");
    let target = SocketAddr::new(at.ip(), far.local_addr().unwrap().port());
    let near = from.run(move || {
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any).and_then(|s| s.connect(target).map(|()| s))
    });
    let near = near.expect("a socket");
    far.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let sender = std::thread::spawn(move || {
        let (start, mut n) = (Instant::now(), 0u64);
        let mut datagram = vec![0; len];
        while start.elapsed() < time {
            let due = (start.elapsed().as_micros() as u64) * per_second / 1_000_000;
            while n < due {
                n += 1;
                datagram[..8].copy_from_slice(&n.to_be_bytes());
                pattern(n, &mut datagram[8..]);
                near.send(&datagram).expect("UDP takes it");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        n
    });
    let mut flow = Flow::default();
    let (mut buf, mut highest) = (vec![0; 65_536], 0);
    let mut expected = vec![0; len - 8];
    loop {
        let n = match far.recv(&mut buf) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        flow.received += 1;
        let number = u64::from_be_bytes(buf[..8].try_into().unwrap());
        pattern(number, &mut expected);
        flow.wrong += u64::from(buf[8..n] != expected);
        flow.out_of_order += u64::from(number <= highest);
        highest = highest.max(number);
    }
    flow.sent = sender.join().expect("the sender");
    flow
}
