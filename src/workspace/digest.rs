//! A text is known again by its digest: BLAKE2s of a word that says what it is of, and of the text.

use std::fmt;
use std::str::FromStr;

use blake2::Blake2s256;
use blake2::digest::Digest as _;

const BYTES: usize = 32;

/// In hexadecimal, 64 digits, where people and JSON see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; BYTES]);

impl Digest {
    /// Of `text` as a `what`: equal texts of two kinds have two digests.
    pub fn of(what: &'static str, text: &str) -> Digest {
        let mut digesting = Digesting::of(what);
        digesting.add(text.as_bytes());
        digesting.done()
    }

    pub fn bytes(self) -> [u8; BYTES] {
        self.0
    }
}

/// The digest of what comes in pieces.
pub struct Digesting(Blake2s256);

impl Digesting {
    pub fn of(what: &'static str) -> Digesting {
        let mut hash = Blake2s256::new();
        hash.update(what.as_bytes());
        hash.update([0]);
        Digesting(hash)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn done(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Digest, String> {
        let wrong = || format!("must be {} hexadecimal digits in lower case", 2 * BYTES);
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong()),
        };
        let digits = text.as_bytes().iter().map(digit).collect::<Result<Vec<u8>, _>>()?;
        let pairs = digits.chunks_exact(2).map(|pair| match pair {
            [high, low] => high << 4 | low,
            _ => 0,
        });
        let bytes: Vec<u8> = pairs.collect();
        match (<[u8; BYTES]>::try_from(bytes), digits.len() % 2) {
            (Ok(bytes), 0) => Ok(Digest(bytes)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_known_again_and_of_one_kind() {
        let digest = Digest::of("a", "b");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        // Python: hashlib.blake2s(b"a\0b").hexdigest()
        assert_eq!(
            digest.to_string(),
            "f3e12c25611e6f1ee6bd153d04bed2d276e1e83b95c66ebfc034c0fbb04247c7"
        );
        assert_ne!(digest, Digest::of("ab", ""));
        for bad in ["", "0", "g", &"0".repeat(63), &"0".repeat(66), &"F".repeat(64)] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
