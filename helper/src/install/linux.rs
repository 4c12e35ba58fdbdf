//! The helper as a service of this machine, and gone again.
//!
//! Tells every file it touches; `--dry-run` tells and touches nothing. Writes only to where nobody
//! but root can replace it. Runs no program. Must not know: requests, the sandbox.

use super::files::{Installer, Outcome, say};
use super::sibling::INSTALLER;
use super::{invite, systemd};
use crate::core::files::{self, check_parents};
use crate::core::lockdown;
use crate::core::paths::{AUDIT_DIR, CONFIG, PROGRAM, RUN_DIR, SOCKET, STATE_DIR};
use crate::net::link::IPV6_SETTINGS;
use crate::net::{config, invited};
use crate::{proto, sys};
use serde_json::{Value, json};
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const CONFIG_DIR: &str = "/etc/hopbox";
/// Our line in a table of groups, up to its second field.
const GROUP: &str = "hopbox:";
const TABLES: [&str; 2] = ["/etc/group", "/etc/gshadow"];
/// Numbers for groups of the system, the highest free one first.
const GROUPS: std::ops::RangeInclusive<u32> = 100..=999;
const SOCKET_UNIT: &str = "hop-helper.socket";
const SERVICE_UNIT: &str = "hop-helper.service";
/// Where packages of the distribution put units, never `--install`.
const PACKAGED: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
const WANTED: &str = "/etc/systemd/system/sockets.target.wants/hop-helper.socket";
/// How long a helper that was told to start may take, and how often to look.
pub(super) const WITHIN: Duration = Duration::from_secs(10);
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// What to write besides the program: path, mode, text.
const SYSTEMD_FILES: [(&str, u32, &str); 3] = [
    ("/etc/systemd/system/hop-helper.socket", 0o644, include_str!("../../unit/hop-helper.socket")),
    (
        "/etc/systemd/system/hop-helper.service",
        0o644,
        include_str!("../../unit/hop-helper.service"),
    ),
    ("/etc/modules-load.d/hopbox.conf", 0o644, include_str!("../../unit/modules-load.conf")),
];
const LOGROTATE: (&str, u32, &str) =
    ("/etc/logrotate.d/hopbox", 0o644, include_str!("../../unit/logrotate.conf"));
const OPENRC: (&str, u32, &str) =
    ("/etc/init.d/hop-helper", 0o755, include_str!("../../unit/openrc"));

pub fn install(dry: bool, helper: File) -> Outcome<()> {
    let own = File::open("/proc/self/exe").map_err(|e| format!("/proc/self/exe: {e}"))?;
    let installer = Installer { dry };
    let systemd = Path::new("/run/systemd/system").is_dir();
    let openrc = Path::new("/run/openrc").is_dir();
    let groups = fs::read("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
    let packaged = packaged();
    let mut files: Vec<(&str, u32, &str)> = Vec::new();
    if systemd && packaged.is_none() {
        files.extend(SYSTEMD_FILES);
    } else if openrc {
        files.push(OPENRC);
    }
    if Path::new("/etc/logrotate.d").is_dir() && packaged.is_none() {
        files.push(LOGROTATE);
    }
    // All of it is checked before any of it is written.
    let paths = files.iter().map(|file| file.0).chain([PROGRAM, CONFIG_DIR, WANTED]);
    let refused = |why| format!("{why}; nothing was installed");
    paths.map(Path::new).try_for_each(check_parents).map_err(refused)?;
    config::check(Path::new(CONFIG)).map_err(refused)?;
    TABLES.map(Path::new).into_iter().try_for_each(table_is_roots).map_err(refused)?;
    let beside = Path::new(PROGRAM).with_file_name(INSTALLER);
    installer.program(own, &beside, packaged.is_some())?;
    installer.program(helper, Path::new(PROGRAM), packaged.is_some())?;
    installer.group()?;
    installer.close_config_dir()?;
    // One that is there is root's to change.
    if !Path::new(CONFIG).exists() {
        installer.file(Path::new(CONFIG), 0o644, &mut config::DEFAULT.as_bytes())?;
    }
    installer.invite()?;
    let has_adm = groups.split(|b| *b == b'\n').any(|line| line.starts_with(b"adm:"));
    for (path, mode, text) in files {
        let text = match has_adm {
            true => text.to_string(),
            false => text.replace("Group=adm\n", "").replace("root adm", "root root"),
        };
        installer.file(Path::new(path), mode, &mut text.as_bytes())?;
    }
    let by_hand = if systemd {
        let socket = packaged.unwrap_or(Path::new("..")).join(SOCKET_UNIT);
        installer.link(Path::new(WANTED), &socket)?;
        let start = || {
            systemd::call("Reload", &[])?;
            // One that failed too often would not be started again.
            for unit in [SOCKET_UNIT, SERVICE_UNIT] {
                let _ = systemd::call("ResetFailedUnit", &[unit]);
            }
            // An older helper hands over to this one; its tunnels go on.
            systemd::call("TryRestartUnit", &[SERVICE_UNIT, "replace"])?;
            systemd::call("StartUnit", &[SOCKET_UNIT, "replace"])?;
            // One that listens since before this release is for the group alone; one that systemd
            // has yet to make, as its queue has it, is made by the unit.
            match fs::set_permissions(SOCKET, Permissions::from_mode(0o666)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            }
        };
        let begun = Instant::now();
        match installer.tell("start", Path::new(SOCKET_UNIT)).then(start) {
            None => return Ok(()),
            Some(Ok(())) => return answers(begun, SOCKET),
            Some(Err(e)) => {
                say!("systemd: {e}");
                "systemctl daemon-reload && systemctl enable --now hop-helper.socket".to_string()
            }
        }
    } else if openrc {
        "rc-update add hop-helper && rc-service hop-helper start".to_string()
    } else {
        format!("{PROGRAM} --listen --state {STATE_DIR} --audit {AUDIT_DIR}/audit.log")
    };
    if !dry {
        say!("now start it, as root:\n  {by_hand}");
    }
    Ok(())
}

/// systemd only queues what it is told: it is done when a helper speaks that was started after
/// `begun`. The one before answers until it has been stopped.
pub(super) fn answers(begun: Instant, socket: &str) -> Outcome<()> {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.write_all(proto::request_line("1", "daemon.health", json!({})).as_bytes())?;
        let mut reply = String::new();
        BufReader::new(stream.take(proto::MAX_REPLY as u64)).read_line(&mut reply)?;
        let asked: Value = serde_json::from_str(&reply).map_err(|_| io::Error::other(reply))?;
        match asked["result"]["uptime_s"].as_u64() {
            Some(uptime_s) if uptime_s <= begun.elapsed().as_secs() => Ok(()),
            Some(_) => Err(io::Error::other("the one before still runs")),
            None => Err(io::Error::other(asked.to_string())),
        }
    };
    loop {
        match ask() {
            Ok(()) => return Ok(()),
            Err(_) if begun.elapsed() < WITHIN => std::thread::sleep(PAUSE),
            // One line: over SSH the last is what the user sees.
            Err(why) => {
                return Err(format!(
                    "it does not answer ({why}): journalctl -u 'hop-helper*' -n 20"
                ));
            }
        }
    }
}

pub fn uninstall(dry: bool) -> Outcome<()> {
    let installer = Installer { dry };
    if Path::new("/run/systemd/system").is_dir() {
        for unit in [SOCKET_UNIT, SERVICE_UNIT] {
            let dirs = [Some(Path::new("/etc/systemd/system")), packaged()];
            if dirs.iter().flatten().any(|dir| dir.join(unit).exists())
                && installer.tell("stop", Path::new(unit))
            {
                // One that does not run, or is not known, is what we want.
                let _ = systemd::call("StopUnit", &[unit, "replace"]);
            }
        }
    }
    installer.take_back()?;
    let files = SYSTEMD_FILES.iter().chain([&OPENRC, &LOGROTATE]).map(|file| file.0);
    // What a package has put there goes with the package.
    let packaged = packaged().is_some();
    let ours = [Path::new(WANTED), Path::new(SOCKET)];
    let beside = Path::new(PROGRAM).with_file_name(INSTALLER);
    let programs = [Path::new(PROGRAM), &beside];
    for file in files.map(Path::new).chain(programs).filter(|_| !packaged).chain(ours) {
        installer.remove(file)?;
    }
    // Where our unit mounts the settings, and nothing afterwards.
    installer.remove_dir(Path::new(IPV6_SETTINGS[0]));
    for dir in [STATE_DIR, RUN_DIR, AUDIT_DIR] {
        installer.remove_own(Path::new(dir))?;
    }
    if fs::read_to_string(CONFIG).is_ok_and(|text| text == config::DEFAULT) {
        installer.remove(Path::new(CONFIG))?;
    }
    installer.remove(&invite::path())?;
    for dir in [CONFIG_DIR, "/run/hopbox", "/usr/libexec/hopbox"] {
        installer.remove_dir(Path::new(dir));
    }
    if !packaged {
        installer.remove_group()?;
    }
    if let Some(wants) = Path::new(WANTED).parent().filter(|_| !dry) {
        // Not every system has it; one that is in use is not empty.
        let _ = fs::remove_dir(wants);
    }
    if Path::new("/run/systemd/system").is_dir() && !dry {
        let _ = systemd::call("Reload", &[]);
    }
    Ok(())
}

/// Where a package has installed our units; then program, units and group are its own.
pub(super) fn packaged() -> Option<&'static Path> {
    PACKAGED.map(Path::new).into_iter().find(|dir| dir.join(SERVICE_UNIT).exists())
}

/// A table of groups with our group. Bytes that are not ours stay as they are.
fn with_group(text: &[u8], shadow: bool) -> Vec<u8> {
    let lines = || text.split(|b| *b == b'\n');
    if lines().any(|line| line.starts_with(GROUP.as_bytes())) {
        return text.to_vec();
    }
    let taken = |id: &u32| lines().any(|line| invited::number(line) == Some(*id));
    let id = GROUPS.rev().find(|id| !taken(id)).unwrap_or(*GROUPS.end());
    let line = if shadow { format!("{GROUP}!::\n") } else { format!("{GROUP}x:{id}:\n") };
    let end: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    [text, end, line.as_bytes()].concat()
}

/// Whether a login or a service has the group. Its number would be another group's one day.
fn has_members(id: u32) -> bool {
    let number = id.to_string();
    let is_member = |process: fs::DirEntry| {
        let status = fs::read(process.path().join("status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let groups = status.lines().filter(|l| l.starts_with("Gid:") || l.starts_with("Groups:"));
        groups.flat_map(str::split_whitespace).any(|word| word == number)
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().any(is_member)
}

/// A link would become a file, and what is not root's is not ours to make root's.
fn table_is_roots(path: &Path) -> Outcome<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(meta) if meta.is_file() && meta.uid() == 0 => Ok(()),
        Ok(_) => Err(format!("{} is not a plain file of root", path.display())),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

impl Installer {
    pub(super) fn program(&self, mut image: File, path: &Path, packaged: bool) -> Outcome<()> {
        let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let running = image.metadata().map(id).ok();
        if running.is_some() && running == fs::metadata(path).map(id).ok() {
            return Ok(());
        }
        if packaged {
            let why = "belongs to a package; upgrade that, or remove it first";
            return Err(format!("{} {why}; nothing was installed", path.display()));
        }
        self.file(path, 0o755, &mut image)
    }

    pub(super) fn link(&self, path: &Path, target: &Path) -> Outcome<()> {
        if fs::read_link(path).is_ok_and(|old| old == target) {
            return Ok(());
        }
        self.dir(path.parent().unwrap_or(Path::new("/")))?;
        match self.tell("link", path) {
            true => symlink(target, path).map_err(|e| format!("{}: {e}", path.display())),
            false => Ok(()),
        }
    }

    fn group(&self) -> Outcome<()> {
        self.table(Path::new("/etc/group"), |text| with_group(text, false))?;
        self.table(Path::new("/etc/gshadow"), |text| with_group(text, true))
    }

    fn remove_group(&self) -> Outcome<()> {
        let groups = fs::read("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
        if config::group(&groups).is_some_and(has_members) {
            say!("the group hopbox stays, for logins that are in it: groupdel hopbox");
            return Ok(());
        }
        TABLES.map(Path::new).into_iter().try_for_each(|table| {
            self.table(table, |text| {
                let lines = text.split_inclusive(|b| *b == b'\n');
                let others = lines.filter(|line| !line.starts_with(GROUP.as_bytes()));
                others.flatten().copied().collect()
            })
        })
    }

    /// A release before this one let an agent's user add files beside the configuration.
    fn close_config_dir(&self) -> Outcome<()> {
        let dir = Path::new(CONFIG_DIR);
        let fine =
            files::root_dir(dir).map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |_| true);
        if fine || !self.tell("close to all but root", dir) {
            return Ok(());
        }
        let held = sys::open_at(None, dir, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW);
        held.and_then(|held| {
            fchown(&held, Some(0), Some(0))?;
            held.set_permissions(Permissions::from_mode(0o755))
        })
        .map_err(|e| format!("{}: {e}", dir.display()))?;
        // What that user made counted for nothing then, and shall not count now.
        let lock = dir.join(lockdown::NAME);
        match fs::symlink_metadata(&lock) {
            Ok(found) if found.uid() != 0 => self.remove(&lock),
            _ => Ok(()),
        }
    }

    /// Changes a table that other programs change, too, under their lock.
    fn table(&self, path: &Path, change: impl Fn(&[u8]) -> Vec<u8>) -> Outcome<()> {
        let failed = |e: io::Error| format!("{}: {e}", path.display());
        let lock = match self.dry {
            true => None,
            false => {
                let lock = files::create(Path::new("/etc/.pwd.lock"), false).map_err(failed)?;
                sys::lock_record(&lock).map_err(|e| format!("/etc/.pwd.lock: {e}"))?;
                Some(lock)
            }
        };
        table_is_roots(path)?;
        let text = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(failed)?,
        };
        let new = change(&text);
        let mode = fs::metadata(path).map_err(failed)?.mode() & 0o7777;
        let result = if new == text { Ok(()) } else { self.file(path, mode, &mut &*new) };
        drop(lock);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_added_once() {
        let text = b"root:x:0:\nadm:x:999:\nusers:x:998:gandalf\n";
        let once = with_group(text, false);
        assert_eq!(once, [&text[..], b"hopbox:x:997:\n"].concat());
        assert_eq!(with_group(&once, false), once);
        let member = [&text[..], b"hopbox:x:997:gandalf"].concat();
        assert_eq!(with_group(&member, false), member);
        assert_eq!(with_group(b"root:*::", true), b"root:*::\nhopbox:!::\n");
        assert_eq!(with_group(b"", false), b"hopbox:x:999:\n");
    }

    #[test]
    fn bytes_of_others_in_a_table_stay() {
        for odd in [&b"r\xe9seau:x:7:\xff\n"[..], b"crlf:x:8:\r\n", b"\n\n", b"+:::\n", b"\0\n"] {
            let text = [b"root:x:0:\n", odd, b"hopbox:x:990:\n", odd].concat();
            assert_eq!(with_group(&text, false), text);
            assert_eq!(with_group(odd, false), [odd, b"hopbox:x:999:\n"].concat());
        }
    }

    #[test]
    fn a_group_that_a_process_has_is_seen() {
        let own = fs::metadata("/proc/self").unwrap().gid();
        assert!(has_members(own) && !has_members(4_123_456_789));
    }
}
