//! Where a connection keeps its files on the other side: a directory of its own, below one that
//! only the login can enter. Two laptops that use one login do not meet there. A command over
//! there holds it and removes it when the connection ends, however it ends.
//!
//! Programs that arrived also stay in the directory above it under their hash, so that a setup
//! that was interrupted does not send them again.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use super::fail::SshError;
use super::run::{Connection, Done, watch};
use crate::sys::poll::{self, Interest};
use crate::sys::proc;

/// Below the login's home directory.
pub const STORE: &str = ".hopbox-setup";
const LIMIT: Duration = Duration::from_secs(30);
/// How long the other side may take to remove it.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// What a server left that went down meanwhile is removed by those after it when it is a day old.
const HOLD: &str = "sh -c 'umask 077; mkdir -p .hopbox-setup && cd .hopbox-setup && \
                    find . ! -name . -prune -mmin +1440 -exec rm -rf {} + && \
                    d=$(mktemp -d run.XXXXXX) && echo $d && cat >/dev/null; \
                    cd; rm -rf .hopbox-setup/$d; rmdir .hopbox-setup 2>/dev/null'";

/// The other side could not do it, or was not asked.
pub type Refused = Result<Done, SshError>;

/// The directory as seen from the login's home, and who holds it.
pub struct Room {
    path: String,
    holder: Child,
}

impl Connection {
    /// The directory, made when it is first asked for.
    pub fn room(&self) -> Result<&str, Refused> {
        if let Some(room) = self.room.get() {
            return Ok(&room.path);
        }
        let broken = |error: io::Error| Err(SshError::program(&error));
        let mut holder =
            proc::dying_with_parent(&mut self.command(HOLD, false)).spawn().map_err(broken)?;
        let said = holder.stdout.take().map_or(Ok(String::new()), first_line).map_err(broken)?;
        let own = said.trim().strip_prefix("run.").unwrap_or_default();
        if own.len() == 6 && own.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let path = format!("{STORE}/run.{own}");
            return Ok(&self.room.get_or_init(|| Room { path, holder }).path);
        }
        drop(holder.stdin.take());
        let mut stderr = Vec::new();
        let status = watch(&mut holder, Instant::now() + LIMIT).map_err(broken)?;
        let _ = holder.stderr.take().map(|mut words| words.read_to_end(&mut stderr));
        Err(self.judge(Done { status, stdout: said.into_bytes(), stderr }))
    }

    /// Has the directory removed; the one above it, too, if nothing else is in it.
    pub(super) fn leave_room(&mut self) {
        if let Some(mut room) = self.room.take() {
            drop(room.holder.stdin.take());
            let _ = watch(&mut room.holder, Instant::now() + LEAVE_LIMIT);
        }
    }
}

/// The first line that tells of a directory; what a login's shell says by itself comes before.
fn first_line(mut from: ChildStdout) -> io::Result<String> {
    let end = Instant::now() + LIMIT;
    let (mut text, mut piece) = (String::new(), [0; 256]);
    while text.len() < 64 * 1024 {
        if !poll::wait_one(
            from.as_fd(),
            Interest::READ,
            Some(end.saturating_duration_since(Instant::now())),
        )? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let count = from.read(&mut piece)?;
        text += &String::from_utf8_lossy(piece.get(..count).unwrap_or_default());
        let line = text.lines().rfind(|line| line.starts_with("run."));
        match line.filter(|_| text.ends_with('\n')) {
            Some(line) => return Ok(line.to_owned()),
            None if count == 0 => return Ok(String::new()),
            None => {}
        }
    }
    Ok(String::new())
}
