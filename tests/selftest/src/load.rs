//! A bulk TCP transfer between two machines of the self test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::machine::Machine;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const STALL_LIMIT: Duration = Duration::from_secs(3);
const PIECE: usize = 128 * 1024;

/// Who sends. It is always the client that connects: a laptop is out of its servers' reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

/// Sends between a client and an address of a server's for `time`.
/// Returns the bytes that arrived per second, as the receiver counted them.
pub fn rate(
    client: &Machine,
    (server, address): (&Machine, Ipv4Addr),
    sender: Sender,
    time: Duration,
) -> Result<u64, String> {
    let listener = server.run(CONNECT_LIMIT, move || {
        TcpListener::bind((address, 0)).map_err(|error| format!("cannot listen: {error}"))
    })?;
    let at = listener.local_addr().map_err(|error| error.to_string())?;
    let serves = server.start_work(move || {
        let stream = accept(&listener).map_err(|error| error.to_string())?;
        play(stream, sender == Sender::Server, time).map_err(|error| error.to_string())
    });
    let asks = client.start_work(move || {
        let stream = TcpStream::connect_timeout(&at, CONNECT_LIMIT);
        let stream = stream.map_err(|error| error.to_string())?;
        play(stream, sender == Sender::Client, time).map_err(|error| error.to_string())
    });
    let limit = CONNECT_LIMIT + STALL_LIMIT + time;
    let (asked, served) = (asks.wait(limit)?, serves.wait(limit)?);
    let ((sent, _), (bytes, took)) = match sender {
        Sender::Client => (asked, served),
        Sender::Server => (served, asked),
    };
    if bytes != sent {
        return Err(format!("{sent} bytes were sent and {bytes} arrived"));
    }
    Ok((bytes as f64 / took.as_secs_f64().max(0.001)) as u64)
}

fn accept(listener: &TcpListener) -> std::io::Result<TcpStream> {
    use hopbox::sys::poll::{Interest, wait_one};
    use std::os::fd::AsFd;
    if !wait_one(listener.as_fd(), Interest::READ, Some(CONNECT_LIMIT))? {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    listener.accept().map(|(stream, _)| stream)
}

/// One end of it: bytes, and how long they took.
fn play(stream: TcpStream, sends: bool, time: Duration) -> std::io::Result<(u64, Duration)> {
    let began = Instant::now();
    let bytes = if sends { send(stream, time) } else { receive(stream) };
    bytes.map(|bytes| (bytes, began.elapsed()))
}

fn send(mut stream: TcpStream, time: Duration) -> std::io::Result<u64> {
    stream.set_write_timeout(Some(STALL_LIMIT))?;
    let piece = vec![0x5a; PIECE];
    let end = Instant::now() + time;
    let mut bytes = 0;
    while Instant::now() < end {
        bytes += stream.write(&piece)? as u64;
    }
    Ok(bytes)
}

fn receive(mut stream: TcpStream) -> std::io::Result<u64> {
    stream.set_read_timeout(Some(STALL_LIMIT))?;
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}
