//! The terminal that our words go to: how wide it is, and whose it is for the moment.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::locale;
use crate::sys::terminal;
use crate::text::aside::Aside;

/// Columns of standard output; `None` where it is no terminal, or one that does not say.
pub fn of_stdout() -> Option<usize> {
    of(io::stdout().as_fd())
}

/// Whether standard output is one at all.
pub fn is_stdout() -> bool {
    io::stdout().is_terminal()
}

/// The same of standard error.
pub fn of_stderr() -> Option<usize> {
    of(io::stderr().as_fd())
}

fn of(fd: BorrowedFd<'_>) -> Option<usize> {
    fd.is_terminal().then(|| terminal::columns(fd)).flatten().map(usize::from)
}

/// Where another program's words are shown while it is talked to.
pub fn aside() -> Aside<impl Write> {
    Aside::new(Stderr, locale::is_utf8())
}

/// Standard error, whoever uses the terminal meanwhile: each line begins at the left.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        match terminal::is_raw(stderr.as_fd()) {
            true => stderr.write_all(&returning(bytes))?,
            false => stderr.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn returning(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        if *byte == b'\n' && all.last() != Some(&b'\r') {
            all.push(b'\r');
        }
        all.push(*byte);
    }
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_begins_at_the_left_once() {
        assert_eq!(super::returning(b"a\nb\r\n\n"), b"a\r\nb\r\n\r\n");
    }
}
