//! What a command on the other side says, told from what the login's shell says before it comes to
//! the command: a greeting, a stray `echo` of its start-up files, a megabyte of either, also one
//! that looks like an answer of ours.
//!
//! The command's own words begin after a sentinel: a line with a word that was made for this
//! connection alone.

use super::error;
use crate::base::failure::Failure;
use crate::sys::child::Done;
use crate::sys::random;

/// How much is kept of what came before, where the mark may have begun.
const TAIL_BYTES: usize = 4096;

/// A word that nobody else says: no start-up file can know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    pub fn new() -> Result<Nonce, Failure> {
        let mut bytes = [0; 16];
        random::fill(&mut bytes).map_err(|error| error::program(&error))?;
        Ok(Nonce(format!("{:032x}", u128::from_ne_bytes(bytes))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `script`, which begins with a program, as the login's shell is to run it: sh, csh or fish.
    /// That shell has no words after it either, because it is no more.
    pub(super) fn before(&self, script: &str) -> String {
        let bare = || script.split('\'').step_by(2);
        debug_assert!(bare().all(|text| !text.contains([';', '|', '&'])), "not one: {script}");
        format!("echo hopbox-{}; exec {script}", self.0)
    }
}

/// Waits for a command's sentinel, and hears what comes after it.
pub struct Sentinel {
    mark: Vec<u8>,
    /// The end of what came before the mark.
    stray: Vec<u8>,
    begun: bool,
    /// Bytes that are not the command's.
    before: usize,
}

impl Sentinel {
    pub fn new(nonce: &Nonce) -> Sentinel {
        Sentinel {
            mark: format!("hopbox-{}", nonce.0).into(),
            stray: Vec::new(),
            begun: false,
            before: 0,
        }
    }

    /// Whether the command came to its first word.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// The command's own part of what came. It may be secret: it is not copied.
    pub fn hear<'a>(&'a mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.begun {
            return bytes;
        }
        // It may have begun in what came before.
        let from = self.stray.len().saturating_sub(self.mark.len() + 2);
        self.stray.extend_from_slice(bytes);
        self.before += bytes.len();
        if let Some(at) = self.end_of_mark(from) {
            self.begun = true;
            let own = self.stray.get(at..).unwrap_or_default();
            self.before -= own.len();
            return own;
        }
        if self.stray.len() > 2 * TAIL_BYTES {
            self.stray.drain(..self.stray.len() - TAIL_BYTES);
        }
        &[]
    }

    /// Behind its newline; a terminal makes two characters of that.
    fn end_of_mark(&self, from: usize) -> Option<usize> {
        let mut places = self.stray.get(from..)?.windows(self.mark.len());
        let after = from + places.position(|bytes| bytes == self.mark)? + self.mark.len();
        match self.stray.get(after..)? {
            [b'\n', ..] => Some(after + 1),
            [b'\r', b'\n', ..] => Some(after + 2),
            _ => None,
        }
    }

    /// What a command did, when all of it was heard. One that never began has given no answer: a
    /// login that may run nothing says so on its standard output.
    pub fn words_of(&self, done: Done) -> Done {
        let Done { status, mut stdout, stderr } = done;
        if self.begun {
            stdout.drain(..self.before.min(stdout.len()));
            return Done { status, stdout, stderr };
        }
        let stderr = if stderr.trim_ascii().is_empty() { stdout } else { stderr };
        Done { status, stdout: Vec::new(), stderr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
        let mut sentinel = Sentinel::new(&Nonce("abc".to_owned()));
        let mut kept = Vec::new();
        said.chunks(size).for_each(|piece| kept.extend_from_slice(sentinel.hear(piece)));
        let (status, stderr) = (std::process::ExitStatus::default(), Vec::new());
        let done = sentinel.words_of(Done { status, stdout: said.to_vec(), stderr });
        assert_eq!(done.stdout, kept);
        (kept, done.stderr)
    }

    #[test]
    fn a_shells_own_words_are_no_answer() {
        let noise = [
            &b"hopbox-begins\nhopbox-survey=1\nsudo=root\nend=yes\nhopbox-\n"[..],
            &[b'x'; 1 << 20],
            b"\n\xff\x1b[mhopbox-ab\n{\"error\":{}}\n",
        ]
        .concat();
        for size in [1, 5, 4096, 1 << 21] {
            for end in ["\n", "\r\n"] {
                let said = [&noise, b"hopbox-abc".as_slice(), end.as_bytes(), b"{}\nhopbox-abc\n"];
                assert_eq!(heard(&said.concat(), size), (b"{}\nhopbox-abc\n".to_vec(), Vec::new()));
            }
        }
        assert_eq!(heard(b"no login\n", 3), (Vec::new(), b"no login\n".to_vec()));
        assert_eq!(heard(&noise, 900), (Vec::new(), noise));
    }

    #[test]
    fn no_two_connections_have_one_word() {
        let (one, other) = (Nonce::new().unwrap(), Nonce::new().unwrap());
        assert!(one != other && one.as_str().len() == 32);
        assert!(one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
