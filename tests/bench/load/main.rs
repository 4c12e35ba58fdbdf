//! Traffic for `make bench`, and its count. One line of JSON on standard output each.
//!
//! ```text
//! load tcp-serve ADDRESS:PORT                     until killed
//! load tcp ADDRESS:PORT SECONDS STREAMS up|down   {"bytes":…,"seconds":…}
//! load udp-count PORT SECONDS                     {"packets":…,"bytes":…}
//! load udp ADDRESS:PORT RATE BYTES SECONDS        {"packets":…}; RATE 0 is as fast as it goes
//! ```
//! A transfer counts what arrived, and from its second half second on, when windows have opened.

mod udp;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Bytes of one read or write.
const CHUNK: usize = 128 << 10;
/// Time for windows to open, before which nothing is counted.
const WARM_UP: Duration = Duration::from_millis(500);
/// No transfer is longer, whatever was asked.
const LONGEST: Duration = Duration::from_secs(600);
const MOST_STREAMS: usize = 64;

/// What the client wants of the server, as the first byte of a connection.
const UP: u8 = b'u';
const DOWN: u8 = b'd';

/// Reads and forgets; answers with the number of bytes, when the client has no more.
fn take(mut stream: TcpStream, counted: &AtomicU64) -> std::io::Result<()> {
    let mut room = vec![0; CHUNK];
    loop {
        match stream.read(&mut room)? {
            0 => return Ok(()),
            n => counted.fetch_add(n as u64, Ordering::Relaxed),
        };
    }
}

/// Writes until the other side has had enough.
fn give(mut stream: TcpStream, end: Instant) {
    let chunk = vec![0x5a; CHUNK];
    while Instant::now() < end && stream.write_all(&chunk).is_ok() {}
    let _ = stream.shutdown(Shutdown::Both);
}

/// Counts what arrives of uploads itself and tells it on a connection of its own.
fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let counted = Arc::new(AtomicU64::new(0));
    for stream in listener.incoming() {
        let mut stream = stream?;
        let counted = counted.clone();
        std::thread::spawn(move || {
            let mut want = [0];
            if stream.read_exact(&mut want).is_err() {
                return;
            }
            match want[0] {
                UP => drop(take(stream, &counted)),
                DOWN => give(stream, Instant::now() + LONGEST),
                _ => {
                    let _ = stream.write_all(&counted.load(Ordering::Relaxed).to_be_bytes());
                }
            }
        });
    }
    Ok(())
}

/// Connects; the server may still be starting.
fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let patience = Duration::from_secs(5);
    let end = Instant::now() + patience;
    loop {
        match TcpStream::connect_timeout(&address, patience) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// Bytes that the server has received so far.
fn ask(address: SocketAddr) -> std::io::Result<u64> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"?")?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(u64::from_be_bytes(answer))
}

fn transfer(address: SocketAddr, time: Duration, streams: usize, up: bool) -> std::io::Result<()> {
    let counted = Arc::new(AtomicU64::new(0));
    let begin = Arc::new(Barrier::new(streams + 1));
    let end = Instant::now() + time + WARM_UP;
    for _ in 0..streams {
        let mut stream = connect(address)?;
        stream.write_all(&[if up { UP } else { DOWN }])?;
        let (counted, begin) = (counted.clone(), begin.clone());
        std::thread::spawn(move || {
            begin.wait();
            if up { give(stream, end) } else { drop(take(stream, &counted)) }
        });
    }
    begin.wait();
    let count = || if up { ask(address) } else { Ok(counted.load(Ordering::Relaxed)) };
    std::thread::sleep(WARM_UP);
    let (from, began) = (count()?, Instant::now());
    // What uploads have got is asked for beside them, so a little before they end.
    std::thread::sleep(end.saturating_duration_since(began + Duration::from_millis(50)));
    let (to, seconds) = (count()?, began.elapsed().as_secs_f64());
    println!("{{\"bytes\":{},\"seconds\":{seconds:.4}}}", to - from);
    Ok(())
}

fn run(args: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let seconds = |s: &str| s.parse().map(|s: f64| Duration::from_secs_f64(s).min(LONGEST));
    match args {
        ["tcp-serve", at] => serve(at.parse()?)?,
        ["tcp", at, time, streams, way @ ("up" | "down")] => {
            let streams = streams.parse::<usize>()?.clamp(1, MOST_STREAMS);
            transfer(at.parse()?, seconds(time)?, streams, *way == "up")?;
        }
        ["udp-count", port, time] => udp::count(port.parse()?, seconds(time)?)?,
        ["udp", at, rate, bytes, time] => {
            udp::send(at.parse()?, rate.parse()?, bytes.parse()?, seconds(time)?)?;
        }
        _ => return Err("the head of tests/bench/load/main.rs tells how to call it".into()),
    }
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Err(why) = run(&args) {
        eprintln!("load {}: {why}", args.join(" "));
        std::process::exit(1);
    }
}
