//! hop-helper-server as a service of this machine, and gone again, its rules with it. Group,
//! configuration and who may connect are the helper's, which comes first and goes last. Runs no
//! program but visudo(8). Must not know: requests.

use super::files::{Installer, Outcome, say};
use super::linux::{PAUSE, WITHIN, answers, packaged};
use super::systemd;
use super::{invite, sudoers};
use crate::core::files::check_parents;
use crate::core::paths as helper;
use crate::net::invited;
use crate::net::linux::forget_server_table;
use crate::server::paths::{AUDIT_DIR, NGINX_DIR, NGINX_FILE, PROGRAM, RUN_DIR, SOCKET, STATE_DIR};
use crate::server::unmount_all;
use crate::{core, proto};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the helper may take to look at nginx's configuration.
const NGINX_WITHIN: Duration = Duration::from_secs(20);
const SIZE_MAX: u64 = 64 * 1024;

/// Of all processes that have limits.
const SLICE: &str = "hopbox.slice";
const UNITS: [&str; 2] = ["hop-helper-server.socket", "hop-helper-server.service"];
/// By which systemd starts them with the machine: rules have to be made then, whoever connects.
const WANTED: [&str; 2] = [
    "/etc/systemd/system/sockets.target.wants/hop-helper-server.socket",
    "/etc/systemd/system/multi-user.target.wants/hop-helper-server.service",
];
/// What to write besides the program: path and text.
const SYSTEMD_FILES: [(&str, &str); 2] = [
    (
        "/etc/systemd/system/hop-helper-server.socket",
        include_str!("../../unit/hop-helper-server.socket"),
    ),
    (
        "/etc/systemd/system/hop-helper-server.service",
        include_str!("../../unit/hop-helper-server.service"),
    ),
];
const LOGROTATE: (&str, &str) =
    ("/etc/logrotate.d/hopbox-server", include_str!("../../unit/logrotate-server.conf"));

/// Where nginx reads files of sites. Ours shall be the last: the first server of a port gets
/// what is for nobody's name, and which one that is the others say.
const NGINX_DIRS: [&str; 3] =
    ["/etc/nginx/sites-enabled", "/etc/nginx/http.d", "/etc/nginx/conf.d"];
const INCLUDE: &str = "zzz-hopbox.conf";
const INCLUDED: &str = "\
# Sites that hop-helper-server(8) has nginx answer for.
include /etc/hopbox/nginx/*.conf;
";

pub fn install(dry: bool, image: File) -> Outcome<()> {
    let installer = Installer { dry };
    let refused = |why: String| format!("{why}; nothing was installed");
    if !Path::new(helper::PROGRAM).exists() {
        return Err(refused("first: sudo hop-helper --install".to_owned()));
    }
    let (systemd, packaged) = (Path::new("/run/systemd/system").is_dir(), packaged());
    let mut files: Vec<(&str, &str)> = Vec::new();
    if systemd && packaged.is_none() {
        files.extend(SYSTEMD_FILES);
    }
    if Path::new("/etc/logrotate.d").is_dir() && packaged.is_none() {
        files.push(LOGROTATE);
    }
    let paths = files.iter().map(|file| file.0).chain([PROGRAM]).chain(WANTED);
    paths.map(Path::new).try_for_each(check_parents).map_err(refused)?;
    installer.program(image, Path::new(PROGRAM), packaged.is_some())?;
    let groups = std::fs::read("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
    let has_adm = groups.split(|b| *b == b'\n').any(|line| line.starts_with(b"adm:"));
    for (path, text) in files {
        let text = match has_adm {
            true => text.to_owned(),
            false => text.replace("Group=adm\n", "").replace("root adm", "root root"),
        };
        installer.file(Path::new(path), 0o644, &mut text.as_bytes())?;
    }
    if let Some(dir) = NGINX_DIRS.map(Path::new).into_iter().find(|dir| dir.is_dir()) {
        check_parents(&dir.join(INCLUDE)).map_err(refused)?;
        installer.file(&dir.join(INCLUDE), 0o644, &mut INCLUDED.as_bytes())?;
    }
    if !systemd {
        if !dry {
            let audit = format!("{AUDIT_DIR}/audit.log");
            say!(
                "now start it, as root:\n  {PROGRAM} --listen --state {STATE_DIR} --audit {audit}"
            );
        }
        return Ok(());
    }
    for (wanted, unit) in WANTED.iter().zip(UNITS) {
        installer.link(Path::new(wanted), &packaged.unwrap_or(Path::new("..")).join(unit))?;
    }
    let begun = Instant::now();
    match installer.tell("start", Path::new(UNITS[0])) {
        false => Ok(()),
        true => start().map_err(|e| format!("systemd: {e}")).and_then(|()| answers(begun, SOCKET)),
    }?;
    installer.retire_sudoers()
}

impl Installer {
    /// What users of the helper were let by sudo, where the helper does it.
    fn retire_sudoers(&self) -> Outcome<()> {
        let text = core::files::read(&invite::path(), SIZE_MAX).unwrap_or_default();
        let users: Vec<String> = invited::users(&text)
            .map(|(_, name)| String::from_utf8_lossy(name).into_owned())
            .collect();
        let found = sudoers::find(&users);
        if found.is_empty() {
            return Ok(());
        }
        if let Err(why) = if self.dry { Ok(()) } else { does_nginx() } {
            say!("what sudo lets users do with nginx stays: {why}");
            return Ok(());
        }
        found.iter().try_for_each(|fragment| self.retire(fragment))
    }
}

/// Whether the helper looks at nginx's configuration when it is asked. One that is just ending for
/// the new one is asked in vain.
fn does_nginx() -> Outcome<()> {
    let begun = Instant::now();
    loop {
        match refusal() {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => return Err(format!("the helper says: {why}")),
            Err(_) if begun.elapsed() < WITHIN => std::thread::sleep(PAUSE),
            Err(e) => return Err(format!("{SOCKET}: {e}")),
        }
    }
}

/// What it has against it.
fn refusal() -> io::Result<Option<String>> {
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(NGINX_WITHIN))?;
    let shake = json!({"client_version": env!("CARGO_PKG_VERSION"), "client_protocol_version": 1});
    let lines = [("daemon.handshake", shake), ("nginx.validate_config", json!({}))];
    let mut replies = BufReader::new(stream.try_clone()?);
    for (op, args) in lines {
        stream.write_all(proto::request_line("1", op, args).as_bytes())?;
        let mut reply = String::new();
        replies.by_ref().take(proto::MAX_REPLY as u64).read_line(&mut reply)?;
        let reply: Value = serde_json::from_str(&reply).map_err(io::Error::other)?;
        if reply["ok"] != true {
            let why = reply["error"]["message"].as_str().unwrap_or_default();
            return Ok(Some(why.to_owned()));
        }
    }
    Ok(None)
}

fn start() -> io::Result<()> {
    systemd::call("Reload", &[])?;
    // One that failed too often would not be started again.
    for unit in UNITS {
        let _ = systemd::call("ResetFailedUnit", &[unit]);
    }
    // Rules stay meanwhile, and so do connections that wait at the socket.
    systemd::call("StartUnit", &[UNITS[0], "replace"])?;
    systemd::call("RestartUnit", &[UNITS[1], "replace"])
}

/// Closes what was opened: nobody is left who could.
pub fn uninstall(dry: bool) -> Outcome<()> {
    let installer = Installer { dry };
    let systemd = Path::new("/run/systemd/system").is_dir();
    let packaged = packaged();
    for unit in UNITS.iter().filter(|_| systemd) {
        let dirs = [Some(Path::new("/etc/systemd/system")), packaged];
        if dirs.iter().flatten().any(|dir| dir.join(unit).exists())
            && installer.tell("stop", Path::new(unit))
        {
            // One that does not run, or is not known, is what we want.
            let _ = systemd::call("StopUnit", &[unit, "replace"]);
        }
    }
    if [STATE_DIR, RUN_DIR].iter().any(|dir| Path::new(dir).join("state.json").exists())
        && installer.tell("close all of", Path::new(STATE_DIR))
    {
        gone_within().map_err(|e| format!("delete the table inet hopbox: {e}"))?;
    }
    for dir in [STATE_DIR, RUN_DIR].map(|dir| Path::new(dir).join("mounts")) {
        if dir.join("state.json").exists() && installer.tell("unmount all of", &dir) {
            unmount_all(&dir).map_err(|e| format!("unmount: {}", e.message))?;
        }
        installer.remove_own(&dir)?;
    }
    let limited = Path::new("/sys/fs/cgroup").join(SLICE).exists();
    if systemd && limited && installer.tell("stop", Path::new(SLICE)) {
        let _ = systemd::call("StopUnit", &[SLICE, "replace"]);
    }
    let had_sites = std::fs::read_to_string(NGINX_FILE).is_ok_and(|text| text.contains("server {"));
    for dir in NGINX_DIRS {
        installer.remove(&Path::new(dir).join(INCLUDE))?;
    }
    installer.remove_own(Path::new(NGINX_DIR))?;
    if had_sites && systemd && installer.tell("reload", Path::new("nginx.service")) {
        // One that does not run answers for nothing.
        let _ = systemd::call("ReloadUnit", &["nginx.service", "replace"]);
    }
    let files = SYSTEMD_FILES.iter().chain([&LOGROTATE]).map(|file| file.0).chain([PROGRAM]);
    // What a package has put there goes with the package.
    for file in files.filter(|_| packaged.is_none()).chain(WANTED).chain([SOCKET]) {
        installer.remove(Path::new(file))?;
    }
    for dir in [STATE_DIR, RUN_DIR] {
        installer.remove_own(&Path::new(dir).join("nginx"))?;
    }
    for dir in [STATE_DIR, RUN_DIR, AUDIT_DIR] {
        installer.remove_own(Path::new(dir))?;
    }
    if systemd && !dry {
        let _ = systemd::call("Reload", &[]);
    }
    Ok(())
}

/// One that is just ending would make it again.
fn gone_within() -> io::Result<()> {
    let begun = Instant::now();
    while crate::core::start::alone(Path::new(RUN_DIR)).is_err() && begun.elapsed() < WITHIN {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    forget_server_table()
}
