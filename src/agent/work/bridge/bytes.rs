//! Bytes over a stream socket, all of them within a time.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::sys::poll::{self, Interest};

const PIECE: usize = 64 * 1024;

/// What there is until the other side says that no more will come: at most `most` bytes, else an
/// error of the kind `FileTooLarge`.
pub fn to_end(
    stream: &UnixStream,
    first: Vec<u8>,
    most: usize,
    limit: Duration,
) -> io::Result<Vec<u8>> {
    stream.set_nonblocking(true)?;
    let (mut bytes, end) = (first, Instant::now() + limit);
    while bytes.len() <= most {
        if !more(stream, &mut bytes, PIECE, end)? {
            return Ok(bytes);
        }
    }
    Err(ErrorKind::FileTooLarge.into())
}

/// So many bytes, and none beyond them.
pub fn exactly(
    stream: &UnixStream,
    first: Vec<u8>,
    count: usize,
    limit: Duration,
) -> io::Result<Vec<u8>> {
    stream.set_nonblocking(true)?;
    let (mut bytes, end) = (first, Instant::now() + limit);
    while bytes.len() < count {
        let left = count - bytes.len();
        if !more(stream, &mut bytes, left.min(PIECE), end)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    if bytes.len() == count { Ok(bytes) } else { Err(ErrorKind::InvalidData.into()) }
}

/// False at the end.
fn more(
    mut stream: &UnixStream,
    bytes: &mut Vec<u8>,
    most: usize,
    end: Instant,
) -> io::Result<bool> {
    wait(stream, Interest::READ, end)?;
    let had = bytes.len();
    bytes.resize(had + most, 0);
    let read = stream.read(bytes.get_mut(had..).unwrap_or_default());
    bytes.truncate(had + read.as_ref().map_or(0, |count| *count));
    match read {
        Ok(count) => Ok(count > 0),
        Err(error) if later(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

pub fn put(mut stream: &UnixStream, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let end = Instant::now() + limit;
    while !bytes.is_empty() {
        wait(stream, Interest::WRITE, end)?;
        match stream.write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if later(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn wait(stream: &UnixStream, what: Interest, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() || !poll::wait_one(stream.as_fd(), what, Some(left))? {
        // A signal ends a wait early.
        let is_over = Instant::now() >= end;
        return if is_over { Err(ErrorKind::TimedOut.into()) } else { Ok(()) };
    }
    Ok(())
}
