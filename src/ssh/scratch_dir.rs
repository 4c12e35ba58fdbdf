//! Where a connection's files are on the other side: a directory of its own, below one that
//! only the login can enter. Two laptops that use one login do not meet there. A command over
//! there holds it and removes it when the connection ends, however it ends.
//!
//! Programs that arrived also stay in the directory above it under their hash, so that a setup
//! that was interrupted does not send them again.

use std::io;
use std::time::Duration;

use super::connection::{Connection, STRAY_BYTES};
use super::error;
use super::sentinel::Sentinel;
use crate::base::failure::Failure;
use crate::sys::child::{Done, Limits, Stream, Talk};
use crate::sys::interrupt::Shield;

/// Below the login's home directory.
pub const STORE: &str = ".hopbox-setup";
const LIMIT: Duration = Duration::from_secs(30);
/// How long the other side may take to remove it.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// What a server left that went down meanwhile is removed by those after it when it is a day old.
const HOLD: &str = "sh -c 'umask 077; mkdir -p .hopbox-setup && cd .hopbox-setup && \
                    find . ! -name . -prune -mmin +1440 -exec rm -rf {} + </dev/null && \
                    d=$(mktemp -d run.XXXXXX) && echo $d && cat >/dev/null; \
                    cd; rm -rf .hopbox-setup/$d; rmdir .hopbox-setup 2>/dev/null'";

/// Why something was not done on the other side.
pub enum NotDone {
    /// It could not be: what was said there.
    There(Done),
    /// It was not asked, or did not answer.
    Here(Failure),
}

impl From<Failure> for NotDone {
    fn from(failure: Failure) -> NotDone {
        NotDone::Here(failure)
    }
}

/// The directory, and who holds it. Ends before its connection does.
pub struct ScratchDir {
    path: String,
    holder: Talk,
}

impl ScratchDir {
    pub fn make(connection: &Connection) -> Result<ScratchDir, NotDone> {
        let broken = |broken| error::broken(&connection.target, &broken);
        let limits = Limits { time: LIMIT, bytes: STRAY_BYTES };
        let started = Talk::start(&mut connection.command(HOLD, false), false, limits);
        let mut holder = started.map_err(broken)?;
        let (mut sentinel, mut said) = (Sentinel::new(&connection.nonce), Vec::new());
        loop {
            let mut hear = |stream, piece: &[u8]| {
                if stream == Stream::Out {
                    said.extend_from_slice(sentinel.hear(piece));
                }
            };
            let ended = holder.step(None, &mut hear).map_err(broken)?;
            if let Some(path) = named(&said) {
                return Ok(ScratchDir { path, holder });
            }
            if let Some(status) = ended {
                let (stdout, stderr) = (holder.said().to_vec(), holder.complained().to_vec());
                let begun = sentinel.begun();
                let done = sentinel.words_of(Done { status, stdout, stderr });
                return Err(NotDone::There(connection.judge(done, begun)?));
            }
        }
    }

    /// As seen from the login's home.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Has the directory removed; the one above it, too, if nothing else is in it.
impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _shield = Shield::raise();
        self.holder.allow(LEAVE_LIMIT);
        while let Ok(None) = self.holder.step(Some(&mut io::empty()), &mut |_, _| {}) {}
    }
}

/// The directory, which the first line names.
fn named(said: &[u8]) -> Option<String> {
    let (line, _) = std::str::from_utf8(said).ok()?.split_once('\n')?;
    let own = line.strip_prefix("run.")?;
    let fits = own.len() == 6 && own.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| format!("{STORE}/run.{own}"))
}
