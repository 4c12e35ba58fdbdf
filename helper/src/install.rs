//! `--install` and `--uninstall`: the helper as a service of this machine, and gone again.
//!
//! Copies its own running image, never a path from the command line, and only to where nobody but
//! root can replace it. Tells every file it touches; `--dry-run` tells and touches nothing. Runs
//! no program. Must not know: requests, the sandbox.

use crate::lease::Book;
use crate::link_linux::Links;
use crate::state::{self, Store};
use crate::{AUDIT_DIR, RUN_DIR, STATE_DIR, socket, sys, systemd};
use hop_helper::proto;
use serde_json::json;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink,
};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper";
const CONFIG_DIR: &str = "/etc/hopbox";
const GROUP: &str = "hopbox";
/// Numbers for groups of the system, the highest free one first.
const GROUPS: std::ops::RangeInclusive<u32> = 100..=999;
const SOCKET_UNIT: &str = "hop-helper.socket";
const SERVICE_UNIT: &str = "hop-helper.service";
/// Where packages of the distribution put units, never `--install`.
const PACKAGED: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
const WANTED: &str = "/etc/systemd/system/sockets.target.wants/hop-helper.socket";
/// How long a helper that was told to start or to stop may take, and how often to look.
const WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// What to write besides the program: path, mode, text.
const SYSTEMD_FILES: [(&str, u32, &str); 3] = [
    ("/etc/systemd/system/hop-helper.socket", 0o644, include_str!("../unit/hop-helper.socket")),
    ("/etc/systemd/system/hop-helper.service", 0o644, include_str!("../unit/hop-helper.service")),
    ("/etc/modules-load.d/hopbox.conf", 0o644, include_str!("../unit/modules-load.conf")),
];
const LOGROTATE: (&str, u32, &str) =
    ("/etc/logrotate.d/hopbox", 0o644, include_str!("../unit/logrotate.conf"));
const OPENRC: (&str, u32, &str) = ("/etc/init.d/hop-helper", 0o755, include_str!("../unit/openrc"));

/// As `println`, but that nobody listens does not stop us half-way.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = writeln!(io::stdout(), $($words)*);
    }};
}

type Outcome<T> = Result<T, String>;

/// Does what it is told, or only tells.
struct Hand {
    dry: bool,
}

pub fn install(dry: bool) -> Outcome<()> {
    let image = File::open("/proc/self/exe").map_err(|e| format!("/proc/self/exe: {e}"))?;
    let hand = Hand { dry };
    let systemd = Path::new("/run/systemd/system").is_dir();
    let openrc = Path::new("/run/openrc").is_dir();
    let groups = fs::read_to_string("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
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
    paths.map(Path::new).try_for_each(check_parents)?;
    hand.program(image, packaged.is_some())?;
    hand.group(invited().as_deref())?;
    hand.dir(Path::new(CONFIG_DIR))?;
    let has_adm = groups.lines().any(|line| line.starts_with("adm:"));
    for (path, mode, text) in files {
        let text = match has_adm {
            true => text.to_string(),
            false => text.replace("Group=adm\n", "").replace("root adm", "root root"),
        };
        hand.file(Path::new(path), mode, &mut text.as_bytes())?;
    }
    let by_hand = if systemd {
        let socket = packaged.unwrap_or(Path::new("..")).join(SOCKET_UNIT);
        hand.link(Path::new(WANTED), &socket)?;
        let start = || {
            systemd::call("Reload", &[])?;
            // One that failed too often would not be started again.
            for unit in [SOCKET_UNIT, SERVICE_UNIT] {
                let _ = systemd::call("ResetFailedUnit", &[unit]);
            }
            // An older helper hands over to this one; its tunnels go on.
            systemd::call("TryRestartUnit", &[SERVICE_UNIT, "replace"])?;
            systemd::call("StartUnit", &[SOCKET_UNIT, "replace"])
        };
        match hand.tell("start", Path::new(SOCKET_UNIT)).then(start) {
            None => return Ok(()),
            Some(Ok(())) => return answers(),
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
    say!("now start it, as root:\n  {by_hand}");
    Ok(())
}

/// systemd only queues what it is told: it is done when the helper speaks.
fn answers() -> Outcome<()> {
    let ask = || {
        let mut stream = UnixStream::connect(socket::DEFAULT)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.write_all(proto::request_line("1", "daemon.version", json!({})).as_bytes())?;
        let mut reply = [0; 1024];
        let count = stream.read(&mut reply)?;
        Ok(String::from_utf8_lossy(reply.get(..count).unwrap_or_default()).into_owned())
    };
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(reply) if reply.contains("\"ok\":true") => return Ok(()),
            Err(_) if begun.elapsed() < WITHIN => std::thread::sleep(PAUSE),
            said => {
                let said: io::Result<String> = said;
                let why = said.unwrap_or_else(|e| e.to_string());
                return Err(format!(
                    "it does not answer ({why})\n  journalctl -u hop-helper -n 20"
                ));
            }
        }
    }
}

pub fn uninstall(dry: bool) -> Outcome<()> {
    let hand = Hand { dry };
    if Path::new("/run/systemd/system").is_dir() {
        for unit in [SOCKET_UNIT, SERVICE_UNIT] {
            let dirs = [Some(Path::new("/etc/systemd/system")), packaged()];
            if dirs.iter().flatten().any(|dir| dir.join(unit).exists())
                && hand.tell("stop", Path::new(unit))
            {
                // One that does not run, or is not known, is what we want.
                let _ = systemd::call("StopUnit", &[unit, "replace"]);
            }
        }
    }
    for dir in [STATE_DIR, RUN_DIR] {
        if Path::new(dir).join("state.json").exists()
            && hand.tell("take back all of", Path::new(dir))
        {
            take_back(Path::new(dir))?;
        }
    }
    let files = SYSTEMD_FILES.iter().chain([&OPENRC, &LOGROTATE]).map(|file| file.0);
    // What a package has put there goes with the package.
    let packaged = packaged().is_some();
    let files = files.chain([PROGRAM]).filter(|_| !packaged);
    let ours = [WANTED, "/run/hopbox/helper.sock", "/run/hopbox/helper.sock.lock"];
    for file in files.chain(ours) {
        hand.remove(Path::new(file))?;
    }
    // Only what is ours by its name; whatever else is there keeps its directory.
    let ours = |name: &str| {
        let known = ["lock", "epoch", "running"].contains(&name);
        known || name.starts_with("state.json") || name.starts_with("audit.log")
    };
    for dir in [STATE_DIR, RUN_DIR, AUDIT_DIR] {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| ours(&entry.file_name().to_string_lossy())) {
            hand.remove(&entry.path())?;
        }
    }
    for dir in [STATE_DIR, RUN_DIR, AUDIT_DIR, CONFIG_DIR, "/run/hopbox", "/usr/libexec/hopbox"] {
        hand.remove_dir(Path::new(dir));
    }
    for table in ["/etc/group", "/etc/gshadow"].into_iter().filter(|_| !packaged) {
        hand.table(Path::new(table), |text| {
            text.split_inclusive('\n').filter(|line| !line.starts_with("hopbox:")).collect()
        })?;
    }
    if Path::new("/run/systemd/system").is_dir() && !dry {
        let _ = systemd::call("Reload", &[]);
    }
    Ok(())
}

/// Where a package has installed our units; then program, units and group are its own.
fn packaged() -> Option<&'static Path> {
    PACKAGED.map(Path::new).into_iter().find(|dir| dir.join(SERVICE_UNIT).exists())
}

/// Ends what a helper left standing; waits for one that is just ending.
fn take_back(dir: &Path) -> Outcome<()> {
    let begun = Instant::now();
    let store = loop {
        match Store::open(dir) {
            Err(_) if begun.elapsed() < WITHIN => std::thread::sleep(PAUSE),
            outcome => break outcome,
        }
    };
    let store = store.map_err(|e| format!("{e}: stop the helper first"))?;
    let links = Links::open().map_err(|e| format!("open netlink: {e}"))?;
    let mut book = Book::open(links, store, state::epoch(Path::new(RUN_DIR))?)?;
    book.end_all().map_err(|e| e.message)?;
    book.take_changes().iter().for_each(|change| say!("{change}"));
    Ok(())
}

/// The user behind sudo, by number; a name from the environment would be anybody's claim.
fn invited() -> Option<String> {
    let uid: u32 = std::env::var("SUDO_UID").ok()?.parse().ok().filter(|uid| *uid != 0)?;
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':'));
    let name = fields.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    });
    name.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
}

/// Every directory above `path` that exists must be root's and writable by nobody else: whoever
/// can rename a directory can replace what is in it.
fn check_parents(path: &Path) -> Outcome<()> {
    let existing = path.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let real = fs::canonicalize(existing).map_err(|e| format!("{}: {e}", existing.display()))?;
    for dir in real.ancestors() {
        let meta = fs::symlink_metadata(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        if !meta.is_dir() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            let why = "others than root could replace what is in it";
            return Err(format!("{}: {why}; nothing was installed", dir.display()));
        }
    }
    Ok(())
}

/// The text of a group table with the group, and `user` in it.
fn with_group(text: &str, user: Option<&str>, shadow: bool) -> String {
    let taken = |id: u32| text.lines().any(|line| line.split(':').nth(2) == Some(&id.to_string()));
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let at = lines.iter().position(|line| line.split(':').next() == Some(GROUP));
    let at = at.unwrap_or_else(|| {
        let id = GROUPS.rev().find(|id| !taken(*id)).unwrap_or(*GROUPS.end());
        lines.push(if shadow { format!("{GROUP}:!::") } else { format!("{GROUP}:x:{id}:") });
        lines.len() - 1
    });
    if let (Some(line), Some(user)) = (lines.get_mut(at), user) {
        let members = line.rsplit(':').next().unwrap_or_default().to_string();
        if !members.split(',').any(|member| member == user) {
            line.push_str(if members.is_empty() { "" } else { "," });
            line.push_str(user);
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

impl Hand {
    /// Whether to do it.
    fn tell(&self, what: &str, path: &Path) -> bool {
        let would = if self.dry { "would " } else { "" };
        say!("{would}{what} {}", path.display());
        !self.dry
    }

    fn dir(&self, path: &Path) -> Outcome<()> {
        if path.is_dir() || !self.tell("make", path) {
            return Ok(());
        }
        let mask = sys::umask(0o022);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
        sys::umask(mask);
        made.map_err(|e| format!("{}: {e}", path.display()))
    }

    fn program(&self, mut image: File, packaged: bool) -> Outcome<()> {
        let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let running = image.metadata().map(id).ok();
        if running.is_some() && running == fs::metadata(PROGRAM).map(id).ok() {
            return Ok(());
        }
        if packaged {
            let why = "belongs to a package; upgrade that, or remove it first";
            return Err(format!("{PROGRAM} {why}; nothing was installed"));
        }
        self.file(Path::new(PROGRAM), 0o755, &mut image)
    }

    /// Puts a file in its place as a whole.
    fn file(&self, path: &Path, mode: u32, from: &mut dyn Read) -> Outcome<()> {
        let failed = |e: io::Error| format!("{}: {e}", path.display());
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(failed)?;
        let old = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
        let same = old.as_ref().is_some_and(|old| old.mode() & 0o7777 == mode && old.uid() == 0);
        if same && fs::read(path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(Path::new("/"));
        self.dir(dir)?;
        if !self.tell("write", path) {
            return Ok(());
        }
        let temporary = dir.join(format!(".hopbox-{:016x}", sys::random().map_err(failed)?));
        let written = || {
            let flags = libc::O_NOFOLLOW;
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).custom_flags(flags);
            let mut file = options.open(&temporary)?;
            file.write_all(&bytes)?;
            // A table of groups may belong to a group itself.
            fchown(&file, Some(0), Some(old.as_ref().map_or(0, fs::Metadata::gid)))?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(dir)?.sync_all()
        };
        written().map_err(|e| {
            let _ = fs::remove_file(&temporary);
            failed(e)
        })
    }

    fn link(&self, path: &Path, target: &Path) -> Outcome<()> {
        if fs::read_link(path).is_ok_and(|old| old == target) {
            return Ok(());
        }
        self.dir(path.parent().unwrap_or(Path::new("/")))?;
        match self.tell("link", path) {
            true => symlink(target, path).map_err(|e| format!("{}: {e}", path.display())),
            false => Ok(()),
        }
    }

    fn group(&self, user: Option<&str>) -> Outcome<()> {
        self.table(Path::new("/etc/group"), |text| with_group(text, user, false))?;
        self.table(Path::new("/etc/gshadow"), |text| with_group(text, user, true))?;
        match user {
            Some(user) if !self.dry => {
                say!("{user} is in the group {GROUP}: log in again, or use `newgrp {GROUP}`");
            }
            Some(_) => {}
            None => say!("users of hopbox must be in the group {GROUP}"),
        }
        Ok(())
    }

    /// Changes a table that other programs change, too, under their lock.
    fn table(&self, path: &Path, change: impl Fn(&str) -> String) -> Outcome<()> {
        let failed = |e: io::Error| format!("{}: {e}", path.display());
        let lock = match self.dry {
            true => None,
            false => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600);
                let lock = options.custom_flags(libc::O_NOFOLLOW).open("/etc/.pwd.lock");
                let lock = lock.map_err(failed)?;
                sys::lock_record(&lock).map_err(|e| format!("/etc/.pwd.lock: {e}"))?;
                Some(lock)
            }
        };
        let Ok(text) = fs::read_to_string(path) else {
            return Ok(());
        };
        let new = change(&text);
        let mode = fs::metadata(path).map_err(failed)?.mode() & 0o7777;
        let result = if new == text { Ok(()) } else { self.file(path, mode, &mut new.as_bytes()) };
        drop(lock);
        result
    }

    fn remove(&self, path: &Path) -> Outcome<()> {
        if fs::symlink_metadata(path).is_err() || !self.tell("remove", path) {
            return Ok(());
        }
        fs::remove_file(path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// If nothing else is in it.
    fn remove_dir(&self, path: &Path) {
        if path.is_dir() && self.tell("remove", path) {
            if let Err(e) = fs::remove_dir(path) {
                say!("{} stays: {e}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_added_once_and_a_member_once() {
        let text = "root:x:0:\nadm:x:999:\nusers:x:998:gandalf\n";
        let once = with_group(text, Some("gandalf"), false);
        assert_eq!(once, format!("{text}hopbox:x:997:gandalf\n"));
        assert_eq!(with_group(&once, Some("gandalf"), false), once);
        assert_eq!(with_group(&once, None, false), once);
        let two = with_group(&once, Some("frodo"), false);
        assert_eq!(two, format!("{text}hopbox:x:997:gandalf,frodo\n"));
        assert_eq!(with_group("root:*::", Some("a"), true), "root:*::\nhopbox:!::a\n");
    }

    #[test]
    fn a_place_that_others_can_write_is_refused() {
        assert!(check_parents(Path::new("/tmp/x/y")).is_err());
    }
}
