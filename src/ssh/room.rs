//! Where a connection keeps its files on the other side: a directory of its own, below one that
//! only the login can enter. Two laptops that use one login do not meet there. A command over
//! there holds it and removes it when the connection ends, however it ends.
//!
//! Programs that arrived also stay in the directory above it under their hash, so that a setup
//! that was interrupted does not send them again.

use std::io;
use std::time::Duration;

use super::fail;
use super::own::Own;
use super::run::{Connection, Done, STRAY_BYTES};
use crate::base::failure::Failure;
use crate::sys::child::{Limits, Stream, Talk};

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

/// The other side could not do it, or was not asked.
pub type Refused = Result<Done, Failure>;

/// The directory as seen from the login's home, and who holds it.
pub struct Room {
    path: String,
    holder: Talk,
}

impl Connection {
    /// The directory, made when it is first asked for.
    pub fn room(&self) -> Result<&str, Refused> {
        if let Some(room) = self.room.get() {
            return Ok(&room.path);
        }
        let broken = |broken| Err(fail::broken(&self.target, &broken));
        let limits = Limits { time: LIMIT, bytes: STRAY_BYTES };
        let started = Talk::start(&mut self.command(HOLD, false), false, limits);
        let mut holder = started.map_err(broken)?;
        let (mut own, mut said) = (Own::new(&self.nonce), Vec::new());
        loop {
            let mut hear = |stream, piece: &[u8]| {
                if stream == Stream::Out {
                    said.extend_from_slice(own.hear(piece));
                }
            };
            let ended = holder.step(None, &mut hear).map_err(broken)?;
            if let Some(path) = named(&said) {
                return Ok(&self.room.get_or_init(|| Room { path, holder }).path);
            }
            if let Some(status) = ended {
                let (stdout, stderr) = (holder.said().to_vec(), holder.complained().to_vec());
                let begun = own.begun();
                return Err(self.judge(own.words_of(Done { status, stdout, stderr }), begun));
            }
        }
    }

    /// Has the directory removed; the one above it, too, if nothing else is in it.
    pub(super) fn leave_room(&mut self) {
        if let Some(mut room) = self.room.take() {
            room.holder.allow(LEAVE_LIMIT);
            let _ = room.holder.finish(&mut io::empty(), &mut |_, _| {});
        }
    }
}

/// The directory, which the first line names.
fn named(said: &[u8]) -> Option<String> {
    let (line, _) = std::str::from_utf8(said).ok()?.split_once('\n')?;
    let own = line.strip_prefix("run.")?;
    let fits = own.len() == 6 && own.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| format!("{STORE}/run.{own}"))
}
