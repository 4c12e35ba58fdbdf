//! Pseudo terminals: a pair of ends, their size, and a command that has one as its own terminal.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};

use super::fd::close_on_exec;

fn winsize((columns, rows): (u16, u16)) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Our end and the command's. Neither is inherited by other commands.
pub fn open(size: (u16, u16)) -> io::Result<(OwnedFd, OwnedFd)> {
    let pty = openpty(&winsize(size), None)?;
    for end in [&pty.master, &pty.slave] {
        close_on_exec(end.as_fd())?;
    }
    Ok((pty.master, pty.slave))
}

/// Whoever works at it is told by SIGWINCH.
pub fn resize(master: BorrowedFd<'_>, size: (u16, u16)) -> io::Result<()> {
    let size = winsize(size);
    // SAFETY: the descriptor is open while it is borrowed; the call reads one `winsize`.
    let set = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The command leads a session of its own, with this terminal.
pub fn attach<'a>(command: &'a mut Command, slave: &OwnedFd) -> io::Result<&'a mut Command> {
    let end = || slave.as_fd().try_clone_to_owned().map(Stdio::from);
    command.stdin(end()?).stdout(end()?).stderr(end()?);
    // SAFETY: setsid(2) and ioctl(2) are async-signal-safe and the closure allocates nothing.
    Ok(unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            match libc::ioctl(0, libc::TIOCSCTTY as _, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })
    })
}
