//! Programs of the desktop here, found in PATH and given words, never a shell's line. One that was
//! given what it reads may stay, as those do that keep a clipboard; it is left alone.
//!
//! Bounds: 64 that stay; a time for what each is given, and for its end where that is waited for.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::child;
use crate::sys::poll::{self, Interest};
use crate::sys::set_nonblocking;

const STAYING: usize = 64;

/// Where they are, and those that were started and have not ended.
#[derive(Default)]
pub struct Programs {
    staying: Mutex<Vec<Child>>,
    /// Variables in place of this process's own.
    given: BTreeMap<&'static str, OsString>,
}

impl Programs {
    pub fn with(given: &[(&'static str, OsString)]) -> Programs {
        Programs { given: given.iter().cloned().collect(), ..Programs::default() }
    }

    pub fn variable(&self, name: &str) -> Option<OsString> {
        self.given.get(name).cloned().or_else(|| env::var_os(name))
    }

    pub fn find(&self, name: &str) -> Option<Command> {
        let dirs = self.variable("PATH").unwrap_or_default();
        let runs = |path: &PathBuf| {
            let found = path.metadata();
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let dirs = env::split_paths(&dirs).filter(|dir| dir.is_absolute());
        let mut command = Command::new(dirs.map(|dir| dir.join(name)).find(runs)?);
        for (name, value) in &self.given {
            match value.is_empty() {
                true => command.env_remove(name),
                false => command.env(name, value),
            };
        }
        Some(command)
    }

    /// Starts one, gives it `input`, and waits for its end. `None`: it stays.
    pub fn run(
        &self,
        command: &mut Command,
        input: &[u8],
        time: Duration,
    ) -> io::Result<Option<ExitStatus>> {
        let mut staying = self.staying.lock().unwrap_or_else(PoisonError::into_inner);
        staying.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if staying.len() >= STAYING {
            return Err(io::Error::other(format!("{STAYING} programs have not ended yet")));
        }
        drop(staying);
        let end = Instant::now() + time;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.process_group(0).spawn()?;
        let given = child.stdin.take().map_or(Ok(()), |stdin| give(stdin, input, end));
        if let Err(error) = given {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        let status = child::wait_for(&mut child, end.saturating_duration_since(Instant::now()))?;
        if status.is_none() {
            self.staying.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        }
        Ok(status)
    }
}

/// All of it. One that reads no more is judged by its status.
fn give(mut stdin: ChildStdin, mut input: &[u8], end: Instant) -> io::Result<()> {
    set_nonblocking(stdin.as_fd())?;
    while !input.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match stdin.write(input) {
            Ok(count) => input = input.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll::wait_one(stdin.as_fd(), Interest::WRITE, Some(left))?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_reads_all_of_it_and_one_that_does_not_is_no_trap() {
        let programs = Programs::default();
        let much = vec![b'x'; 1024 * 1024];
        let counts = "test $(wc -c) -eq 1048576";
        let status = programs.run(&mut shell(counts), &much, SOON).unwrap().unwrap();
        assert!(status.success());
        let status = programs.run(&mut shell("exit 3"), &much, SOON).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
        let brief = Duration::from_millis(300);
        let stuck = programs.run(&mut shell("exec sleep 60"), &much, brief).unwrap_err();
        assert_eq!(stuck.kind(), ErrorKind::TimedOut);
        assert!(programs.run(&mut Command::new("/nowhere"), b"", SOON).is_err());
        let stays = "cat > /dev/null; exec sleep 2";
        assert_eq!(programs.run(&mut shell(stays), &much, Duration::from_secs(1)).unwrap(), None);
        assert!(programs.find("sh").is_some() && programs.find("no-such-program").is_none());
    }
}
