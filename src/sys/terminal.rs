//! What a terminal says of itself, and its raw mode.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Its columns now; `None` where it is no terminal, or its size was never set.
pub fn columns(fd: BorrowedFd<'_>) -> Option<u16> {
    size(fd).map(|(columns, _)| columns)
}

/// The same with its rows.
pub fn size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open as long as it is borrowed, and the call writes one `winsize`.
    let asked = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (asked == 0 && size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

/// Every byte as it is typed, none of them with a meaning here. As it was before when dropped.
pub struct Raw {
    terminal: OwnedFd,
    before: libc::termios,
}

impl Raw {
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<Raw> {
        // SAFETY: a record of plain numbers, for which all zeros are valid.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open while it is borrowed; the call writes one `termios`.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut before) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let raw = Raw { terminal: terminal.try_clone_to_owned()?, before };
        raw.again()?;
        Ok(raw)
    }

    /// Once more, after somebody else had the terminal.
    pub fn again(&self) -> io::Result<()> {
        let mut modes = self.before;
        // SAFETY: the record is ours and writable.
        unsafe { libc::cfmakeraw(&raw mut modes) };
        self.set(&modes)
    }

    pub fn restore(&self) {
        // One that is gone needs no mode.
        let _ = self.set(&self.before);
    }

    fn set(&self, modes: &libc::termios) -> io::Result<()> {
        let fd = self.terminal.as_fd().as_raw_fd();
        // SAFETY: the descriptor is ours; the record is readable for the call.
        let set = unsafe { libc::tcsetattr(fd, libc::TCSADRAIN, modes) };
        if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Whether it is a terminal on which a newline leads down and no more to the line's start. A
/// program that works at one of another machine, such as `ssh -t`, makes this one so.
pub fn is_raw(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: a record of plain numbers, for which all zeros are valid.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open as long as it is borrowed, and the call writes one `termios`.
    let asked = unsafe { libc::tcgetattr(fd.as_raw_fd(), &raw mut modes) };
    let returns = libc::OPOST | libc::ONLCR;
    asked == 0 && modes.c_oflag & returns != returns
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{Winsize, openpty};
    use std::os::fd::AsFd;

    #[test]
    fn a_terminal_says_its_columns_and_nothing_else_does() {
        let size = Winsize { ws_row: 24, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        assert_eq!(columns(pty.slave.as_fd()), Some(97));
        assert_eq!(columns(openpty(None, None).unwrap().slave.as_fd()), None);
        assert_eq!(columns(std::fs::File::open("/dev/null").unwrap().as_fd()), None);
    }

    #[test]
    fn a_terminal_is_afterwards_as_it_was() {
        let pty = openpty(None, None).unwrap();
        let terminal = pty.slave.as_fd();
        assert!(!is_raw(terminal));
        let raw = Raw::enter(terminal).unwrap();
        assert!(is_raw(terminal));
        raw.restore();
        assert!(!is_raw(terminal));
        raw.again().unwrap();
        drop(raw);
        assert!(!is_raw(terminal));
        assert!(Raw::enter(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }

    #[test]
    fn a_raw_terminal_is_known() {
        let pty = openpty(None, None).unwrap();
        let nothing = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_raw(pty.slave.as_fd()) && !is_raw(nothing.as_fd()));
        let mut stty = std::process::Command::new("stty");
        stty.arg("raw").stdin(pty.slave.try_clone().unwrap());
        assert!(stty.status().unwrap().success());
        assert!(is_raw(pty.slave.as_fd()));
    }
}
