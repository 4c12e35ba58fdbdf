//! What another program says to a person at our terminal, passed on as it comes: a question of
//! sudo's on a server, ssh's "touch your key". Each line is marked as somebody else's.

use std::io::{self, Write};

use super::{LINE_CHARS, ascii, push};

/// Begins a line of somebody else's.
const MARK: &str = "| ";
/// Most that is passed on in all, in bytes; the rest is dropped.
const ASIDE_BYTES: usize = 64 * 1024;

/// Writes to `W` what can be seen of it, line by line.
pub struct Aside<W> {
    to: W,
    /// Bytes of a character that has not come whole yet; 3 at most.
    part: Vec<u8>,
    /// Characters of the line under way.
    length: usize,
    /// The last one was a carriage return.
    returned: bool,
    left: usize,
    /// The terminal knows more than ASCII.
    utf8: bool,
}

impl<W: Write> Aside<W> {
    pub fn new(to: W, utf8: bool) -> Aside<W> {
        Aside { to, part: Vec::new(), length: 0, returned: false, left: ASIDE_BYTES, utf8 }
    }

    fn hear(&mut self, c: char, line: &mut String) {
        // It would let the line be written over. Before a newline it means nothing.
        if std::mem::replace(&mut self.returned, c == '\r') || c == '\n' {
            self.length = 0;
            line.push('\n');
        }
        if matches!(c, '\r' | '\n') {
            return;
        }
        if self.length == 0 {
            line.push_str(MARK);
        }
        self.length += 1;
        match self.length {
            ..=LINE_CHARS => push(line, c),
            length if length == LINE_CHARS + 1 => line.push('…'),
            _ => {}
        }
    }
}

impl<W: Write> Write for Aside<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut line = String::new();
        for byte in bytes.iter().take(self.left) {
            self.part.push(*byte);
            while !self.part.is_empty() {
                let (c, length) = match std::str::from_utf8(&self.part) {
                    Ok(text) => (text.chars().next(), self.part.len()),
                    Err(error) => match error.error_len() {
                        None => break,
                        Some(length) => (None, length),
                    },
                };
                self.part.drain(..length.min(self.part.len()));
                self.hear(c.unwrap_or(char::REPLACEMENT_CHARACTER), &mut line);
            }
        }
        self.left = self.left.saturating_sub(bytes.len());
        let line = if self.utf8 { line.into() } else { ascii::text(&line) };
        self.to.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_lines_are_marked_and_stay_where_they_are() {
        let said = "[sudo] password for pat: \r\nfix: x\x1b[2J\rover\u{9b}\n\nü\u{202e}".as_bytes();
        let said = [said, b"\x9b\xffa\xc3\n\xc3("].concat();
        for size in [1, 2, 3, 1000] {
            let mut seen = Vec::new();
            let mut aside = Aside::new(&mut seen, true);
            said.chunks(size).for_each(|piece| aside.write_all(piece).unwrap());
            assert_eq!(
                String::from_utf8(seen).unwrap(),
                "| [sudo] password for pat: \n| fix: x\\u{1b}[2J\n| over\\u{9b}\n\n\
                 | ü\\u{202e}\u{fffd}\u{fffd}a\u{fffd}\n| \u{fffd}("
            );
        }
    }

    #[test]
    fn where_ascii_is_all_there_is_nothing_else_is_said() {
        let mut seen = Vec::new();
        Aside::new(&mut seen, false).write_all("Passwort für müller…\n".as_bytes()).unwrap();
        let said = String::from_utf8(seen).unwrap();
        assert_eq!(said, "| Passwort f\\u{fc}r m\\u{fc}ller...\n");
    }

    #[test]
    fn it_ends_somewhere() {
        let mut seen = Vec::new();
        let mut aside = Aside::new(&mut seen, true);
        (0..100).for_each(|_| aside.write_all(&[b'x'; 64 * 1024]).unwrap());
        assert!(seen.len() < LINE_CHARS + 10);
        let mut seen = Vec::new();
        let mut aside = Aside::new(&mut seen, true);
        (0..100).for_each(|_| aside.write_all(&[b'\n'; 64 * 1024]).unwrap());
        assert_eq!(seen.len(), ASIDE_BYTES);
    }
}
