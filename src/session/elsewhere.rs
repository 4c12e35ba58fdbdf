//! A session of this user that cannot be asked from here: its socket is not where this context
//! looks (another XDG_STATE_HOME), or is gone. That nobody answers does not mean that a host is
//! down: the lock of its key and the helper, who knows whose devices are there, are asked, too.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::daemon::command_line::is_session_of;
use super::{in_use, limits};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::helper::{Device, Helper, socket_path};
use crate::host::paths::Paths;
use crate::sys::signal::{self, Kind as Signal};
use crate::sys::{bounded, process};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Until the helper has removed what a session that has just ended had, in a machine that is busy.
const REMOVED_WITHIN: Duration = Duration::from_secs(1);
/// Most processes that are looked at, and most of a command line.
const PROCESSES: usize = 100_000;
const WORDS_BYTES: u64 = 64 * 1024;

/// What shows that a host is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    pub pid: Option<u32>,
    pub interface: Option<String>,
}

/// Devices that the helper made for this user: one question to it; none where it does not answer.
pub fn devices() -> Vec<Device> {
    // Root is told of everybody's.
    if process::is_root() {
        return Vec::new();
    }
    Helper::connect(&socket_path()).and_then(|mut it| it.tunnels()).unwrap_or_default()
}

/// Asked where no session answers at its socket. `None`: the host is down. A lock that another
/// command of ours has for a moment, such as a diagnosis, is no session's.
pub fn look(paths: &Paths, host: &str, devices: &[Device]) -> Option<Elsewhere> {
    let device = devices.iter().find(|one| one.label == host).map(|one| one.name.clone());
    let holder = in_use::holder_of(paths, host);
    let pid = holder.and_then(|holder| holder.pid);
    let command = pid.and_then(words);
    let is_session = command.as_ref().is_some_and(|words| is_any_session(paths, host, words));
    let shows_one = holder.is_some() && (is_session || command.is_none());
    if device.is_none() && !shows_one {
        return None;
    }
    let pid = pid.filter(|_| is_session).or_else(|| session_of(paths, host));
    Some(Elsewhere { pid, interface: device })
}

/// As [`look`]; what a session that has just ended still has, the lock of a process that is no
/// more or a device that the helper is about to remove, shows nothing.
pub fn look_twice(paths: &Paths, host: &str, known: &[Device]) -> Option<Elsewhere> {
    let mut found = look(paths, host, known)?;
    let end = Instant::now() + REMOVED_WITHIN;
    while found.pid.is_none() && Instant::now() < end {
        thread::sleep(LOOK_EVERY);
        found = look(paths, host, &devices())?;
    }
    Some(found)
}

impl Elsewhere {
    /// In words, without a capital.
    pub fn told(&self, host: &str) -> String {
        let at = self.interface.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
        let by = self.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        format!("{host} is up{at}, and its session{by} cannot be asked from here")
    }

    /// Ends the session, which undoes everything, and waits until it has. One that does not is
    /// killed, and the helper undoes it.
    pub fn end(&self, paths: &Paths, host: &str) -> io::Result<()> {
        let pid = self.pid.ok_or_else(|| io::Error::other(self.told(host)))?;
        signal::send(pid, Signal::Terminate)?;
        // Which one that was stopped, by a Ctrl-Z, hears then.
        let _ = signal::send(pid, Signal::Continue);
        let late = Instant::now() + limits::DOWN;
        while is_hop(pid) && Instant::now() < late {
            thread::sleep(LOOK_EVERY);
        }
        if is_hop(pid) {
            signal::send(pid, Signal::Kill)?;
        }
        // Its device goes with it.
        let end = Instant::now() + limits::STOP;
        let is_left = || look(paths, host, &devices()).is_some_and(|one| one.interface.is_some());
        while is_hop(pid) || is_left() {
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, self.told(host)));
            }
            thread::sleep(LOOK_EVERY * 4);
        }
        Ok(())
    }
}

/// The trouble of who would start a second one.
pub fn explain(paths: &Paths, host: &str, trouble: Failure) -> Failure {
    if !matches!(trouble.fault, Fault::Busy | Fault::Held) {
        return trouble;
    }
    let Some(found) = look(paths, host, &devices()) else { return trouble };
    let what = format!("{host} is up already, elsewhere");
    Failure::new(Fault::Busy, what, found.told(host), fix!("hop down {}", host))
}

/// In the background, or at a terminal.
fn is_any_session(paths: &Paths, host: &str, words: &[String]) -> bool {
    is_session_of(paths, host, words) || words.iter().skip(1).any(|word| word == "up")
}

/// The background session of a host, by its command line.
fn session_of(paths: &Paths, host: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").ok()?.take(PROCESSES).flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| words(*pid).is_some_and(|words| is_session_of(paths, host, &words)))
}

/// Whether this process is a hop of this user's.
fn is_hop(pid: u32) -> bool {
    words(pid).is_some()
}

/// The command line of a hop of this user's.
fn words(pid: u32) -> Option<Vec<String>> {
    let file = format!("/proc/{pid}/cmdline");
    let status = bounded::text(format!("/proc/{pid}/status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let own = uids.split_whitespace().next()?.parse() == Ok(process::uid());
    let line = bounded::read(file, WORDS_BYTES).ok().filter(|_| own)?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let words: Vec<String> = line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
    let program = words.first()?.rsplit('/').next()?;
    (program == "hop").then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_or_a_lock_shows_a_session_and_nothing_else_does() {
        let root = std::env::temp_dir().join(format!("hopbox-elsewhere-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let paths = Paths::below(&root);
        let (name, label) = ("hopbox7".to_owned(), "other".to_owned());
        let devices = [Device { name, label, peer: None }];
        assert_eq!(look(&paths, "mybox", &devices), None);
        let found = look(&paths, "other", &devices).unwrap();
        assert_eq!((found.pid, found.interface.as_deref()), (None, Some("hopbox7")));
        assert!(found.end(&paths, "other").is_err(), "nobody to be asked");
        let held = in_use::take(&paths, "mybox").unwrap();
        // This process has it, and is no hop: it is not ended for that.
        let found = look(&paths, "mybox", &devices).unwrap();
        assert_eq!(found, Elsewhere::default());
        drop(held);
        assert_eq!(look(&paths, "mybox", &devices), None);
        assert!(!is_hop(std::process::id()) && !is_hop(1));
        fs::remove_dir_all(root).unwrap();
    }
}
