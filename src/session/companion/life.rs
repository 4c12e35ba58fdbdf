//! What ties a companion to its session: what it says, and when it is to end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use crate::sys::poll::{self, Interest};
use crate::sys::{process, set_nonblocking};

/// What ties a companion to its session.
pub struct Life {
    stdin: io::Stdin,
    voice: Mutex<File>,
}

impl Life {
    /// Standard output is nobody's afterwards: what a companion starts must not keep it open.
    pub fn take() -> io::Result<Life> {
        let voice = process::take_stdout()?;
        set_nonblocking(voice.as_fd())?;
        Ok(Life { stdin: io::stdin(), voice: Mutex::new(voice.into()) })
    }

    /// A line for the session's log. A session that does not read it misses it.
    pub fn say(&self, text: &str) {
        let line = format!("{}\n", text.replace('\n', " "));
        if let Ok(mut voice) = self.voice.lock() {
            let _ = voice.write_all(line.as_bytes());
        }
    }

    /// Whether its session has ended.
    pub fn is_over(&self) -> bool {
        poll::look(self.as_fd(), Interest::READ).any()
    }
}

/// Readable when the session has ended.
impl AsFd for Life {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }
}
