//! Programs that run as long as they like, for somebody who attends to them: a command with its
//! pipes or its terminal, in a process group of its own, and the process that attends to one. Ends
//! of ours never wait.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::fd::set_nonblocking;
use super::{open_files, process, pty};

/// A command that runs. Whoever has it waits for children (`descendants::reap`).
pub struct Started {
    /// Of it, and of its process group.
    pub pid: u32,
    pub input: Option<File>,
    /// With a terminal there is one output.
    pub outputs: [Option<File>; 2],
}

fn ours(end: Option<impl Into<OwnedFd>>) -> io::Result<Option<File>> {
    let end: Option<OwnedFd> = end.map(Into::into);
    end.as_ref().map_or(Ok(()), |end| set_nonblocking(end.as_fd()))?;
    Ok(end.map(File::from))
}

/// With three pipes; without `input` it reads nothing.
pub fn start(command: &mut Command, input: bool) -> io::Result<Started> {
    command.stdin(if input { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = open_files::as_given(command).spawn()?;
    let outputs = [ours(child.stdout.take())?, ours(child.stderr.take())?];
    Ok(Started { pid: child.id(), input: ours(child.stdin.take())?, outputs })
}

/// With a terminal of this size.
pub fn start_at_terminal(command: &mut Command, size: (u16, u16)) -> io::Result<Started> {
    let (master, slave) = pty::open(size)?;
    let child = open_files::as_given(pty::attach(command, &slave)?).spawn()?;
    // The command held copies of the other end, by which its own would never be the last.
    *command = Command::new("");
    let input = ours(Some(master.try_clone()?))?;
    Ok(Started { pid: child.id(), input, outputs: [ours(Some(master))?, None] })
}

/// With the outputs and the group that this process has, and asked to end when it ends: its number.
pub fn start_in_place(command: &mut Command) -> io::Result<u32> {
    Ok(open_files::as_given(process::dying_with_parent(command)).spawn()?.id())
}

/// A process of ours that is told what to do on its standard input and has `stream` as its standard
/// output; apart, so that no signal for us is for it.
pub fn attendant(command: &mut Command, stream: OwnedFd, told: &str) -> io::Result<Child> {
    command.stdin(Stdio::piped()).stdout(stream).process_group(0);
    let mut child = open_files::as_given(command).spawn()?;
    // Only it holds the stream from now on.
    *command = Command::new("");
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(told.as_bytes())?;
    }
    Ok(child)
}
