//! Locks of a repository that a server has left whose clock was an hour off, either way: ours go,
//! whatever time they say, and those of others stay, also where restic takes them for old.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hopbox::rpc::code::Code;

use super::snap_desk::{Desk, every};
use super::work::code;

const HOUR_S: i64 = 3600;

/// As any host leaves them.
pub struct Locks<'a> {
    desk: &'a Desk,
    keys: String,
}

impl Locks<'_> {
    pub fn of(desk: &Desk) -> Locks<'_> {
        let keys =
            desk.restic(&["cat", "masterkey", "-q", "--no-lock"]).stdout(Stdio::piped()).output();
        Locks { desk, keys: String::from_utf8(keys.unwrap().stdout).unwrap() }
    }

    pub fn leave(&self, host: &str, pid: u32, off_s: i64, is_exclusive: bool) -> PathBuf {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent/lock.py");
        let mut python = Command::new("python3");
        python.arg(script).arg(&self.desk.repository).args([&self.keys, host]);
        python.args([pid.to_string(), off_s.to_string(), is_exclusive.to_string()]);
        let out = python.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        PathBuf::from(String::from_utf8(out.stdout).unwrap().trim())
    }
}

#[test]
fn a_lock_of_a_clock_that_was_wrong_is_known_by_its_host_and_process() {
    every("skewed", |desk| {
        fs::write(desk.data.join("one"), "one").unwrap();
        desk.create().unwrap();
        let locks = Locks::of(&desk);
        let here = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        // Ours, of before the clock was set right.
        let leave =
            |host: &str, off_s, is_exclusive| locks.leave(host, gone.id(), off_s, is_exclusive);
        let ours = [-HOUR_S, HOUR_S].map(|off_s| leave(here.trim(), off_s, true));
        desk.create().unwrap();
        assert!(ours.iter().all(|lock| !lock.exists()));

        // Others', who may be at it: a restic of ours would take the first for a left one.
        let theirs = [-HOUR_S, HOUR_S].map(|off_s| leave("there", off_s, false));
        let ours = leave(here.trim(), HOUR_S, false);
        let (refused, why) = code(desk.forget());
        assert_eq!(refused, Code::Conflict, "{why}");
        let who = format!("process {} of dev on there", gone.id());
        assert!(why.matches(&who).count() == 2, "{why}");
        assert!(why.contains("restic unlock --remove-all") && !ours.exists(), "{why}");
        for lock in theirs {
            assert!(lock.exists());
            fs::remove_file(lock).unwrap();
        }
        let forgotten = desk.forget().unwrap();
        assert_eq!((forgotten.removed.len(), forgotten.kept), (1, 1));
    });
}
