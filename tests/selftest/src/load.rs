//! A bulk TCP transfer between two machines of the self test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::machine::Machine;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const STALL_LIMIT: Duration = Duration::from_secs(3);
const PIECE: usize = 128 * 1024;

/// Sends from one machine to an address of the other for `time`.
/// Returns the bytes that arrived per second, as the receiver counted them.
pub fn rate(
    from: &Machine,
    to: &Machine,
    address: Ipv4Addr,
    time: Duration,
) -> Result<u64, String> {
    let listener = to.run(CONNECT_LIMIT, move || {
        TcpListener::bind((address, 0)).map_err(|error| format!("cannot listen: {error}"))
    })?;
    let at = listener.local_addr().map_err(|error| error.to_string())?;
    let received = to.start_work(move || receive(&listener).map_err(|error| error.to_string()));
    let sent = from.start_work(move || send(at, time).map_err(|error| error.to_string()));
    let limit = CONNECT_LIMIT + STALL_LIMIT + time;
    let sent = sent.wait(limit)?;
    let (bytes, took) = received.wait(limit)?;
    if bytes != sent {
        return Err(format!("{sent} bytes were sent and {bytes} arrived"));
    }
    Ok((bytes as f64 / took.as_secs_f64().max(0.001)) as u64)
}

fn send(to: SocketAddr, time: Duration) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT_LIMIT)?;
    stream.set_write_timeout(Some(STALL_LIMIT))?;
    let piece = vec![0x5a; PIECE];
    let end = Instant::now() + time;
    let mut bytes = 0;
    while Instant::now() < end {
        bytes += stream.write(&piece)? as u64;
    }
    Ok(bytes)
}

fn receive(listener: &TcpListener) -> std::io::Result<(u64, Duration)> {
    use hopbox::sys::poll::{Interest, wait_one};
    use std::os::fd::AsFd;
    if !wait_one(listener.as_fd(), Interest::READ, Some(CONNECT_LIMIT))? {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(STALL_LIMIT))?;
    let mut piece = vec![0; PIECE];
    let began = Instant::now();
    let mut bytes = 0;
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok((bytes, began.elapsed())),
            read => bytes += read as u64,
        }
    }
}
