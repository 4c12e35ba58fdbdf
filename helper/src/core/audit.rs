//! The audit log: who asked for which change, and what became of it. One JSON object per line,
//! ASCII only, keys always in the same order.
//!
//! A change is announced ("begin") before it is made: where that line cannot be written, nothing
//! new is made. Of a user who is not admitted ten refusals are told, and then ten per minute; of
//! all of them together a hundred, since one may have many numbers. No secret passes through the
//! helper, so none can get in here. Under systemd the journal gets a copy of every line, as long
//! as it takes it at once. Must not know: how changes are made.

use crate::core::files;
use crate::core::limit::Rates;
use crate::core::peer_cred::Caller;
use crate::core::say::{plain, tell};
use crate::sys;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the file is cut off if nobody rotates it: it becomes `.old`, and that one is lost.
const SIZE_MAX: u64 = 64 << 20;
/// Longest line in bytes. Whatever is longer loses its arguments and changes.
const LINE_MAX: usize = 4096;
/// Refused connections of a user that are told: so many at once, and one per interval in the long
/// run.
const DENIED_AT_ONCE: u32 = 10;
const DENIED_EVERY: Duration = Duration::from_secs(6);
/// The same of all users together: with a user namespace one of them is 65,536.
const ALL_DENIED_AT_ONCE: u32 = 100;
const ALL_DENIED_EVERY: Duration = Duration::from_millis(600);
/// Under which they are counted together: no user's number.
const ALL: u32 = u32::MAX;

/// What systemd sets where standard error is the journal.
const JOURNAL: &str = "JOURNAL_STREAM";

pub struct Audit {
    pub path: PathBuf,
    file: Option<File>,
    size: u64,
    /// Counts the lines of this run, from 1.
    seq: u64,
    denied: Rates,
    all_denied: Rates,
    journal: bool,
    /// Why the last line could not be written.
    pub trouble: Option<String>,
    /// How many were not written.
    pub lost: u64,
}

impl Audit {
    pub fn open(path: &Path) -> Audit {
        let path = path.to_owned();
        let mut audit = Audit {
            path,
            file: None,
            size: 0,
            seq: 0,
            denied: Rates::new(DENIED_AT_ONCE, DENIED_EVERY),
            all_denied: Rates::new(ALL_DENIED_AT_ONCE, ALL_DENIED_EVERY),
            journal: std::env::var_os(JOURNAL).is_some(),
            trouble: None,
            lost: 0,
        };
        audit.reopen();
        audit
    }

    /// Opens the file again, after somebody has moved it away.
    pub fn reopen(&mut self) {
        self.file = None;
        match open(&self.path) {
            Ok((file, size)) => {
                (self.file, self.size, self.trouble) = (Some(file), size, None);
            }
            Err(e) => self.fail(&e),
        }
    }

    /// Writes one line; true when it is in the file. `rest` holds the keys behind `op`, `sync`
    /// waits for the disk.
    pub fn line(
        &mut self,
        phase: &str,
        who: Caller,
        op: &'static str,
        rest: &[(&str, Value)],
        sync: bool,
    ) -> bool {
        self.seq += 1;
        let seq = self.seq;
        let Caller { conn, uid, gid, pid } = who;
        let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut text = format!(
            "{{\"ts\":{ts:.3},\"seq\":{seq},\"phase\":\"{phase}\",\"conn\":{conn},\"uid\":{uid},\
             \"gid\":{gid},\"pid\":{pid},\"op\":\"{op}\""
        );
        let room = LINE_MAX.saturating_sub(text.len());
        let part = |(key, value): &(&str, Value)| plain(&format!(",\"{key}\":{value}"));
        let rest: Vec<String> = rest.iter().map(part).collect();
        let whole = rest.iter().map(String::len).sum::<usize>() + 2 <= room;
        text.extend(rest.into_iter().filter(|part| whole || part.len() < 64));
        text.push_str("}\n");
        if self.journal {
            // Levels of syslog: notice and info.
            let level = if phase == "deny" { "<5>" } else { "<6>" };
            sys::say_at_once(format!("{level}{text}").as_bytes());
        }
        match self.write(text.as_bytes(), sync) {
            Ok(()) => {
                self.trouble = None;
                true
            }
            Err(e) => {
                self.fail(&e);
                false
            }
        }
    }

    /// A connection was closed without a byte.
    pub fn denied(&mut self, who: Caller, now: Instant) {
        if self.denied.take(who.uid, now) && self.all_denied.take(ALL, now) {
            self.line("deny", who, "(connect)", &[], false);
        }
    }

    fn write(&mut self, line: &[u8], sync: bool) -> io::Result<()> {
        if self.file.is_none() || self.size > SIZE_MAX {
            if self.size > SIZE_MAX {
                fs::rename(&self.path, self.path.with_extension("log.old"))?;
            }
            self.reopen();
        }
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("cannot be opened"))?;
        // In one call and at the end: a line is there or is not.
        let written = file.write(line)?;
        if written != line.len() {
            // Room for the half of a line only. It must not become the start of the next one.
            let _ = file.set_len(self.size);
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.size += written as u64;
        if sync { file.sync_data() } else { Ok(()) }
    }

    fn fail(&mut self, e: &io::Error) {
        self.lost += 1;
        let trouble = format!("{}: {e}", self.path.display());
        if self.trouble.as_ref() != Some(&trouble) {
            tell(&format!("audit log {trouble}"));
        }
        self.trouble = Some(trouble);
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let mask = sys::umask(0o027);
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file =
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path);
    sys::umask(mask);
    let file = file?;
    let size = files::check(&file)?.len();
    Ok((file, size))
}

/// FNV-1a of 64 bits: tells one undecodable line from another without keeping it. It proves
/// nothing, so that a hash against forgers would be code for nothing.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_it_is_called() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    /// Whoever has many numbers cannot wash out what is written, of themselves or of others.
    #[test]
    fn strangers_are_told_of_within_bounds_however_many_they_are() {
        // There is no such directory: the lines are counted all the same.
        let (mut audit, start) = (Audit::open(Path::new("/nonexistent/audit.log")), Instant::now());
        let mut told = |uids: std::ops::Range<u32>, after_s| {
            let (before, now) = (audit.seq, start + Duration::from_secs(after_s));
            for uid in uids.flat_map(|uid| [uid; 15]) {
                audit.denied(Caller { uid, ..Caller::default() }, now);
            }
            audit.seq - before
        };
        assert_eq!(told(1000..1001, 0), 10, "one cannot use up the others' share");
        assert_eq!(told(100_000..100_500, 0), 90);
        assert_eq!(told(100_500..100_501, 0), 0);
        assert_eq!(told(200_000..200_500, 6), 10);
        assert_eq!(told(100_000..100_500, 3600), 100);
        assert_eq!(told(1000..1001, 3606), 10);
    }
}
