//! The digest of a program, as b2sum(1) prints it: BLAKE2b with 64 bytes, in hexadecimal. Knows no
//! program.

use std::io::{self, ErrorKind, Read};

use blake2::{Blake2b512, Digest};

use super::hex;

/// More than any of our programs has, with its symbols.
pub const PROGRAM_BYTES: u64 = 256 * 1024 * 1024;
/// Of a digest.
const DIGITS: usize = 128;
const PIECE_BYTES: usize = 256 * 1024;

/// Of all that is read, from where it is on. `FileTooLarge` when that is more than `most` bytes.
pub fn of(mut source: impl Read, most: u64) -> io::Result<String> {
    let (mut hash, mut left) = (Blake2b512::new(), most);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = match source.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            count => count?,
        };
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { break };
        let too_long = || {
            let why = format!("it is longer than {most} bytes");
            io::Error::new(ErrorKind::FileTooLarge, why)
        };
        left = left.checked_sub(count as u64).ok_or_else(too_long)?;
        hash.update(read);
    }
    Ok(hex::encode(&hash.finalize()))
}

/// What a digest of others has to be.
pub fn read(text: &str) -> Result<String, String> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match text.len() == DIGITS && text.bytes().all(is_digit) {
        true => Ok(text.to_owned()),
        false => Err("must be a digest as b2sum(1) prints it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_b2sums() {
        // RFC 7693, appendix A.
        let digest = of(&b"abc"[..], 3).unwrap();
        assert!(digest.starts_with("ba80a53f981c4d0d6a2797b69f12f6e9"), "{digest}");
        assert_eq!(read(&digest), Ok(digest.clone()));
        for bad in ["", "abc", &digest[1..], &digest.to_uppercase(), &digest.replace('0', "g")] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let long = vec![7; PIECE_BYTES + 1];
        assert!(of(&*long, long.len() as u64).is_ok());
        let refused = of(&*long, long.len() as u64 - 1);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::FileTooLarge));
    }
}
