//! Lines from a local stream, each within a time and a size: whoever sends one byte by byte gets no
//! more time than others. And one line off what was read of any stream.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::poll::{self, Interest};

const PIECE: usize = 16 * 1024;

/// Lines from one end.
pub struct Lines<S> {
    stream: S,
    bytes: Vec<u8>,
    most: usize,
}

impl<S: Read + AsFd> Lines<S> {
    /// None is longer than `most` bytes.
    pub fn new(stream: S, most: usize) -> Lines<S> {
        Lines { stream, bytes: Vec::new(), most }
    }

    /// Of a stream of which this was read already.
    pub fn after(bytes: Vec<u8>, stream: S, most: usize) -> Lines<S> {
        Lines { stream, bytes, most }
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, and what was read of it that is no line yet.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.bytes)
    }

    /// The next line, without its end. An error of the kind `Interrupted` says that `enough` has
    /// come about, or its other end has gone: nobody wants the line any more.
    pub fn next(
        &mut self,
        limit: Duration,
        enough: Option<(BorrowedFd<'_>, Interest)>,
    ) -> io::Result<String> {
        let (end, mut seen) = (Instant::now() + limit, 0);
        loop {
            let line = take(&mut self.bytes, seen);
            seen = self.bytes.len();
            if line.as_ref().map_or(seen, Vec::len) > self.most {
                return Err(ErrorKind::InvalidData.into());
            }
            if let Some(line) = line {
                return String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            let fd = self.stream.as_fd();
            let other = enough.unwrap_or((fd, Interest::NONE));
            let [ready, gone] = poll::wait_each([(fd, Interest::READ), other], Some(left))?;
            if enough.is_some() && gone.any() {
                return Err(ErrorKind::Interrupted.into());
            }
            if ready.any() {
                self.more()?;
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Takes the first line off `bytes`, without its end. None if there is none yet; the first `seen`
/// bytes are known to hold no end of a line, and are not looked through again.
pub fn take(bytes: &mut Vec<u8>, seen: usize) -> Option<Vec<u8>> {
    let new = bytes.get(seen..).unwrap_or_default();
    let at = new.iter().position(|byte| *byte == b'\n')?;
    let rest = bytes.split_off(seen + at + 1);
    let mut line = std::mem::replace(bytes, rest);
    line.pop();
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::thread;

    #[test]
    fn lines_are_taken_one_by_one_and_the_rest_stays() {
        let mut bytes = b"one\n\ntw".to_vec();
        assert_eq!(take(&mut bytes, 0), Some(b"one".to_vec()));
        assert_eq!(take(&mut bytes, 0), Some(Vec::new()));
        assert_eq!((take(&mut bytes, 0), &bytes[..]), (None, &b"tw"[..]));
        bytes.extend(b"o\n");
        assert_eq!((take(&mut bytes, 2), bytes.len()), (Some(b"two".to_vec()), 0));
        assert_eq!(take(&mut bytes, 9), None, "more than there is was seen");
    }

    #[test]
    fn a_line_that_drips_has_the_same_time_as_any_other() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let soon = Duration::from_millis(300);
        let mut lines = Lines::new(&other, 100);
        one.write_all(b"all\nmore\n").unwrap();
        assert_eq!(lines.next(soon, None).unwrap(), "all");
        assert_eq!(lines.next(soon, None).unwrap(), "more");
        for long in [&[b'x'; 101][..], b"\n"] {
            one.write_all(long).unwrap();
            assert_eq!(lines.next(soon, None).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        let (mut one, other) = UnixStream::pair().unwrap();
        let drip = thread::spawn(move || {
            while one.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let began = Instant::now();
        let kind = Lines::new(&other, 4096).next(soon, None).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let (done, enough) = UnixStream::pair().unwrap();
        drop(done);
        let enough = Some((enough.as_fd(), Interest::READ));
        let wait = Lines::new(&other, 4096).next(Duration::from_secs(60), enough);
        assert_eq!(wait.unwrap_err().kind(), ErrorKind::Interrupted);
        // Whoever reads our output says nothing, and goes.
        let (reader, output) = poll::pipe().unwrap();
        drop(reader);
        let enough = Some((output.as_fd(), Interest::NONE));
        let wait = Lines::new(&other, 4096).next(Duration::from_secs(60), enough);
        assert_eq!(wait.unwrap_err().kind(), ErrorKind::Interrupted);
        drop(other);
        drip.join().unwrap();
    }
}
