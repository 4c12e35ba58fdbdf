//! One line from a local socket, within a time and a size: whoever sends it byte by byte gets no
//! more time than others. And one line off what was read of any stream.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The line with its end. What comes after it in the same moment is dropped.
pub fn read(mut stream: &UnixStream, most: usize, limit: Duration) -> io::Result<String> {
    let end = Instant::now() + limit;
    let (mut line, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = match stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            other => other?,
        };
        let new = piece.get(..read).unwrap_or_default();
        let ends = new.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(new.get(..ends.map_or(read, |at| at + 1)).unwrap_or_default());
        if line.len() > most {
            return Err(ErrorKind::InvalidData.into());
        }
        if ends.is_some() {
            return String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into());
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
        one.write_all(b"all\nmore").unwrap();
        assert_eq!(read(&other, 100, soon).unwrap(), "all\n");
        one.write_all(&[b'x'; 200]).unwrap();
        assert_eq!(read(&other, 100, soon).unwrap_err().kind(), ErrorKind::InvalidData);
        let (mut one, other) = UnixStream::pair().unwrap();
        let drip = thread::spawn(move || {
            while one.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let began = Instant::now();
        let kind = read(&other, 4096, soon).unwrap_err().kind();
        assert!([ErrorKind::TimedOut, ErrorKind::WouldBlock].contains(&kind), "{kind}");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        drop(other);
        drip.join().unwrap();
    }
}
