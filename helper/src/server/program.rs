//! Another program, run by the worker: by its own path, with an empty environment, its script on
//! standard input, within a time limit, and little of what it says. Must not know: which programs
//! there are, what they are for.

use crate::core::files;
use crate::core::say::plain;
use crate::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Most that is kept of what it writes, and of what it complains of, in bytes; and of that in an
/// error, in characters.
pub const OUTPUT_MAX: u64 = 2 << 20;
const COMPLAINT_MAX: usize = 4096;
const WORDS_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);
const SOON: Duration = Duration::from_secs(2);

/// Why it came to nothing.
#[derive(Debug)]
pub enum Failed {
    /// It said no, with its reason.
    Said(String),
    /// It wrote more than is kept.
    TooLong,
}

/// A program, where distributions put it, and how Debian calls its package.
pub struct Program {
    pub name: &'static str,
    pub paths: &'static [&'static str],
    pub package: &'static str,
}

/// One question's turn: all that is run for it ends by then, or when nobody waits any more at the
/// other end of `asker`.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    pub deadline: Instant,
    pub asker: BorrowedFd<'a>,
}

impl Turn<'_> {
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// For what takes a moment, or comes to nothing: time is left to say so.
    pub fn soon(self) -> Self {
        Turn { deadline: self.deadline.min(Instant::now() + SOON), ..self }
    }
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub well: bool,
    pub output: Vec<u8>,
    pub complaint: Vec<u8>,
}

impl Ended {
    /// What it wrote, if it ended well.
    pub fn good(self) -> Result<Vec<u8>, Failed> {
        if self.well { Ok(self.output) } else { Err(Failed::Said(self.words())) }
    }

    /// What it complains of, in a line.
    pub fn words(&self) -> String {
        first_words(&self.complaint)
    }
}

impl Program {
    /// Where it is, if none but root can put another in its place.
    pub fn path(&self) -> Result<&'static Path, String> {
        let found = self.paths.iter().map(Path::new).find(|path| path.exists());
        let missing =
            || format!("{} is not installed; Debian: sudo apt install {}", self.name, self.package);
        let found = found.ok_or_else(missing)?;
        files::check_parents(found)?;
        let file = File::open(found).and_then(|file| files::check(&file));
        file.map_err(|e| format!("{}: {e}", found.display()))?;
        Ok(found)
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str], script: &str, turn: Turn) -> Result<Ended, Failed> {
        let mut command = Command::new(self.path().map_err(Failed::Said)?);
        command.args(words).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| self.said(&e))?;
        let outcome = self.converse(&mut child, script, turn);
        if outcome.is_err() || turn.is_over() {
            let _ = child.kill();
        }
        let well = ended(&mut child, turn.deadline).map_err(|e| self.said(&e))?;
        let (output, complaint) = outcome?;
        Ok(Ended { well, output, complaint })
    }

    fn said(&self, e: &io::Error) -> Failed {
        Failed::Said(format!("{}: {e}", self.name))
    }

    /// What it writes, and what it complains of, up to the end of both.
    fn converse(
        &self,
        child: &mut Child,
        script: &str,
        turn: Turn,
    ) -> Result<(Vec<u8>, Vec<u8>), Failed> {
        let (said, name) = (|e: io::Error| self.said(&e), self.name);
        // At most what a pipe takes at once: it need not read for us to go on.
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
        let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failed::Said(format!("{name}: no pipe")));
        };
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let (mut out_ends, mut err_ends) = (false, false);
        while !out_ends || !err_ends {
            let left = turn.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failed::Said(format!("{name} does not end, and was stopped")));
            }
            let of = |ends: bool| if ends { 0 } else { libc::POLLIN };
            let fds = [(out.as_fd(), of(out_ends)), (err.as_fd(), of(err_ends)), (turn.asker, 0)];
            let ready = sys::poll(&fds, Some(left)).map_err(said)?;
            if ready.get(2) == Some(&true) {
                return Err(Failed::Said(format!("nobody waits for {name} any more")));
            }
            if !out_ends && ready.first() == Some(&true) {
                out_ends = !more(&mut out, &mut output).map_err(said)?;
            }
            if !err_ends && ready.get(1) == Some(&true) {
                err_ends = !more(&mut err, &mut complaint).map_err(said)?;
                complaint.truncate(COMPLAINT_MAX);
            }
            if output.len() as u64 > OUTPUT_MAX {
                return Err(Failed::TooLong);
            }
        }
        written.transpose().map_err(said)?;
        Ok((output, complaint))
    }
}

/// Whether there may be more.
fn more(from: &mut impl Read, to: &mut Vec<u8>) -> io::Result<bool> {
    let mut buf = [0; 16_384];
    let count = from.read(&mut buf)?;
    to.extend(buf.iter().take(count));
    Ok(count > 0)
}

/// Whether it ended well; it is waited for, whatever it does.
fn ended(child: &mut Child, deadline: Instant) -> io::Result<bool> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() >= deadline {
            child.kill()?;
            return child.wait().map(|_| false);
        }
        std::thread::sleep(PAUSE);
    }
}

fn first_words(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says no more");
    plain(line).chars().take(WORDS_MAX).collect()
}
