//! Locks of a repository. One that its process has left, as a kill leaves it, stops `forget` and
//! `check` for ever, and no backup: nobody notices. Such a one is ours if its host is this one and
//! no process has its number any more, and is removed. Those of others are named.
//!
//! `restic unlock` alone would take the locks of other hosts as well that are 30 minutes old by
//! this host's clock, which may be an hour off.

use std::ffi::OsStr;
use std::fs;

use serde_json::Value;

use super::{For, Restic, Trouble};
use crate::sys::{bounded, process};

/// More are not looked at.
const LOCKS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub id: String,
    pub host: String,
    pub pid: u32,
    pub user: String,
    /// In restic's words.
    pub since: String,
}

impl Lock {
    fn of(id: &str, json: &Value) -> Option<Lock> {
        let text = |key: &str| json.get(key)?.as_str().map(|text| text.chars().take(64).collect());
        Some(Lock {
            id: id.to_owned(),
            host: text("hostname")?,
            pid: u32::try_from(json.get("pid")?.as_u64()?).ok()?,
            user: text("username")?,
            since: text("time")?,
        })
    }

    /// Its process was on this host, and is no more.
    pub fn is_left(&self, host: &str) -> bool {
        self.host == host && !is_restic(self.pid)
    }

    pub fn shown(&self) -> String {
        let Lock { host, pid, user, since, .. } = self;
        format!("process {pid} of {user} on {host} has it locked since {since}")
    }
}

/// A number is given out again: another program is not who locked it.
fn is_restic(pid: u32) -> bool {
    let name = bounded::read(format!("/proc/{pid}/comm"), 64);
    process::is_alive(pid) && !name.is_ok_and(|name| name != b"restic\n")
}

pub fn host() -> String {
    bounded::text("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

impl Restic {
    pub fn locks(&self, is_wanted: &dyn Fn() -> bool) -> Result<Vec<Lock>, Trouble> {
        let ask = |words: &[&str]| {
            let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
            let whom = For { hear: &mut |_| {}, is_wanted };
            self.run_plain(&words, whom)
        };
        let told = ask(&["list", "locks", "--no-lock", "-q"])?;
        let ids = String::from_utf8_lossy(&told).into_owned();
        let is_id = |id: &&str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut locks = Vec::new();
        for id in ids.lines().filter(is_id).take(LOCKS) {
            // One that was let go since is none.
            let Ok(told) = ask(&["cat", "lock", id, "--no-lock", "-q"]) else { continue };
            let json = serde_json::from_slice(&told).unwrap_or_default();
            locks.extend(Lock::of(id, &json));
        }
        Ok(locks)
    }

    /// Without a look why it failed, which would come here again.
    fn run_plain(&self, words: &[&OsStr], mut whom: For<'_>) -> Result<Vec<u8>, Trouble> {
        match self.talk(words, &mut whom, &mut |_| {})? {
            (0, told) => Ok(told.answer),
            (_, told) => Err(Trouble::Failed(told.errors.last().cloned().unwrap_or_default())),
        }
    }

    /// Removes those that were left by processes of this host; the others, and how many it removed.
    pub fn clear_left(&self, is_wanted: &dyn Fn() -> bool) -> Result<(Vec<Lock>, usize), Trouble> {
        let host = host();
        let (left, others): (Vec<Lock>, Vec<Lock>) =
            self.locks(is_wanted)?.into_iter().partition(|lock| lock.is_left(&host));
        if left.is_empty() {
            return Ok((others, 0));
        }
        let files: Option<Vec<_>> =
            left.iter().map(|lock| self.repository.lock_file(&lock.id)).collect();
        match files {
            Some(files) => {
                for file in files {
                    fs::remove_file(&file).map_err(|error| {
                        Trouble::Failed(format!("{} cannot be removed: {error}", file.display()))
                    })?;
                }
            }
            // Only with no others there, which it would judge by this host's clock.
            None if others.is_empty() => {
                let whom = For { hear: &mut |_| {}, is_wanted };
                self.run_plain(&["unlock", "-q"].map(OsStr::new), whom)?;
            }
            None => return Ok((others, 0)),
        }
        Ok((others, left.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lock_is_ours_by_its_host_and_a_process_that_is_gone() {
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let lock = |host: &str, pid: u32| {
            let json = json!({"hostname": host, "pid": pid, "username": "u", "time": "t"});
            Lock::of("7", &json).unwrap()
        };
        assert!(lock("here", gone.id()).is_left("here"));
        assert!(!lock("there", gone.id()).is_left("here"));
        // Its number is another program's now: this one's.
        assert!(lock("here", std::process::id()).is_left("here"));
        assert_eq!(Lock::of("7", &json!({"hostname": "x", "pid": -1})), None);
    }
}
