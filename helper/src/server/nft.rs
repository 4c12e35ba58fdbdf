//! nft(8), the one program of the firewall: by its own path, with an empty environment, its script
//! on standard input, within a time limit, and little of what it says. Must not know: rules.

use crate::core::files;
use crate::core::say::plain;
use crate::server::paths::NFT;
use crate::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Most that is kept of what it writes, in bytes, and of what it complains of, in characters.
pub const OUTPUT_MAX: u64 = 2 << 20;
const COMPLAINT_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

/// Why it came to nothing.
#[derive(Debug)]
pub enum Failed {
    /// It said no, with its reason.
    Said(String),
    /// It wrote more than is kept.
    TooLong,
}

/// Where it is, if none but root can put another in its place.
pub fn path() -> Result<&'static Path, String> {
    let found = NFT.map(Path::new).into_iter().find(|path| path.exists());
    let found = found.ok_or("nft is not installed; Debian: sudo apt install nftables")?;
    files::check_parents(found)?;
    let file = File::open(found).and_then(|file| files::check(&file));
    file.map_err(|e| format!("{}: {e}", found.display()))?;
    Ok(found)
}

/// Runs it to its end, or until `deadline`, or until nobody is at the other end of `asker`.
pub fn run(
    words: &[&str],
    script: &str,
    deadline: Instant,
    asker: BorrowedFd,
) -> Result<Vec<u8>, Failed> {
    let said = |e: io::Error| Failed::Said(format!("nft: {e}"));
    let mut command = Command::new(path().map_err(Failed::Said)?);
    command.args(words).env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(said)?;
    let outcome = converse(&mut child, script, deadline, asker);
    if !matches!(outcome, Ok(_) | Err(Failed::Said(_))) || Instant::now() >= deadline {
        let _ = child.kill();
    }
    let ended = ended(&mut child, deadline).map_err(said)?;
    match outcome? {
        (output, _) if ended => Ok(output),
        (_, complaint) => Err(Failed::Said(first_words(&complaint))),
    }
}

/// What it writes, and what it complains of, up to the end of both.
fn converse(
    child: &mut Child,
    script: &str,
    deadline: Instant,
    asker: BorrowedFd,
) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let said = |e: io::Error| Failed::Said(format!("nft: {e}"));
    // At most what a pipe takes at once: it need not read for us to go on.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failed::Said("nft: no pipe".to_owned()));
    };
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    let (mut out_ends, mut err_ends) = (false, false);
    while !out_ends || !err_ends {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = child.kill();
            return Err(Failed::Said("nft does not end, and was stopped".to_owned()));
        }
        let of = |ends: bool| if ends { 0 } else { libc::POLLIN };
        let fds = [(out.as_fd(), of(out_ends)), (err.as_fd(), of(err_ends)), (asker, 0)];
        let ready = sys::poll(&fds, Some(left)).map_err(said)?;
        if ready.get(2) == Some(&true) {
            let _ = child.kill();
            return Err(Failed::Said("nobody waits for nft any more".to_owned()));
        }
        if !out_ends && ready.first() == Some(&true) {
            out_ends = !more(&mut out, &mut output).map_err(said)?;
        }
        if !err_ends && ready.get(1) == Some(&true) {
            err_ends = !more(&mut err, &mut complaint).map_err(said)?;
            complaint.truncate(COMPLAINT_MAX * 4);
        }
        if output.len() as u64 > OUTPUT_MAX {
            return Err(Failed::TooLong);
        }
    }
    written.transpose().map_err(said)?;
    Ok((output, complaint))
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
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nft says no more");
    plain(line).chars().take(COMPLAINT_MAX).collect()
}
