//! What ssh(1) says while it connects, and who hears it: a server's greeting, "touch your key". Its
//! last words are not passed on: the failure that they are the reason of tells them.

use std::io::Write;
use std::time::{Duration, Instant};

use super::error;
use crate::text::aside::Aside;

/// One that has said something and has not ended since waits for somebody.
const WAITS: Duration = Duration::from_millis(500);

/// Whether and how ssh may turn to somebody.
pub enum Asking<'a> {
    /// Nobody is there.
    Never,
    /// Nor is the server waited for: it is asked on the side.
    Briefly,
    /// It is tried without; what it says is heard line by line if it has to wait for something.
    NotYet(&'a mut dyn FnMut(&str)),
    /// At the terminal: passphrase, host key, password.
    AtTerminal,
}

/// Hears an ssh that connects.
pub struct Words<'a, W: Write> {
    asking: Asking<'a>,
    terminal: Aside<W>,
    /// Not passed on yet, and since when there is some.
    held: Vec<u8>,
    since: Instant,
}

impl<'a, W: Write> Words<'a, W> {
    pub fn new(asking: Asking<'a>, terminal: Aside<W>) -> Words<'a, W> {
        Words { asking, terminal, held: Vec::new(), since: Instant::now() }
    }

    pub fn hear(&mut self, said: &[u8]) {
        if self.held.is_empty() {
            self.since = Instant::now();
        }
        match &self.asking {
            Asking::Never | Asking::Briefly => {}
            Asking::NotYet(_) => self.held.extend_from_slice(said),
            Asking::AtTerminal => {
                self.held.extend_from_slice(said);
                while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.held.drain(..=end).collect();
                    if !error::is_last(&String::from_utf8_lossy(&line)) {
                        let _ = self.terminal.write_all(&line);
                    }
                }
            }
        }
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        let Asking::NotYet(told) = &mut self.asking else { return };
        if !self.held.is_empty() && self.since.elapsed() > WAITS {
            let said = std::mem::take(&mut self.held);
            String::from_utf8_lossy(&said).lines().for_each(|line| told(line.trim_end()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_terminal(said: &[u8], size: usize) -> String {
        let mut shown = Vec::new();
        let mut words = Words::new(Asking::AtTerminal, Aside::new(&mut shown, true));
        said.chunks(size).for_each(|piece| words.hear(piece));
        drop(words);
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn the_reason_of_a_failure_is_not_said_before_it() {
        let said = b"Welcome\r\nPermission denied, please try again.\r\n\
                     pat@vps: Permission denied (publickey,password).\r\n";
        for size in [1, 7, 1000] {
            let expected = "| Welcome\n| Permission denied, please try again.\n";
            assert_eq!(at_terminal(said, size), expected);
        }
        for last in [
            "ssh: connect to host 203.0.113.7 port 22: Connection timed out\r\n",
            "Host key verification failed.\r\n",
            "Connection closed by 203.0.113.7 port 22\r\n",
        ] {
            assert_eq!(at_terminal(last.as_bytes(), 100), "", "{last}");
        }
    }

    #[test]
    fn who_waits_is_heard_and_who_ends_is_not() {
        let mut heard = Vec::new();
        let mut hear = |line: &str| heard.push(line.to_owned());
        let mut words = Words::new(Asking::NotYet(&mut hear), Aside::new(std::io::sink(), true));
        words.hear(b"# visit: https://");
        words.tick();
        words.hear(b"login.example\r\n");
        words.since -= WAITS * 2;
        words.tick();
        words.hear(b"ssh: gone\n");
        words.tick();
        drop(words);
        assert_eq!(heard, ["# visit: https://login.example"]);
    }
}
