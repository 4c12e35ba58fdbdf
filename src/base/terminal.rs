//! How wide the terminal is that our words go to.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::terminal;

/// Columns of standard output; `None` where it is no terminal, or one that does not say.
pub fn of_stdout() -> Option<usize> {
    of(io::stdout().as_fd())
}

/// The same of standard error.
pub fn of_stderr() -> Option<usize> {
    of(io::stderr().as_fd())
}

fn of(fd: BorrowedFd<'_>) -> Option<usize> {
    fd.is_terminal().then(|| terminal::columns(fd)).flatten().map(usize::from)
}
