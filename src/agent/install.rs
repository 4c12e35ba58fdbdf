//! `hop-agent install` and `uninstall`: the program and its unit in their places, and gone again.
//!
//! Copies its own running image, never a path from the command line. The program before stays
//! beside it until the next install, for `rollback`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exec::{need_root, run, systemctl, warn};
use crate::base::failure::{Failure, Fault};
use crate::base::file::Beside;
use crate::fix;
use crate::rpc::VERSION;
use crate::sys::bounded;

/// Far more than a program of ours has.
const PROGRAM_BYTES: u64 = 256 * 1024 * 1024;
pub const DIR: &str = "/usr/libexec/hopbox";
pub const PROGRAM: &str = "/usr/libexec/hopbox/hop-agent";
pub const PREVIOUS: &str = "/usr/libexec/hopbox/hop-agent.previous";
/// Kept by an upgrade, as is what it has not proven yet.
pub const UNVERIFIED: &str = "/usr/libexec/hopbox/unverified";
pub const HELPER_PREVIOUS: &str = "/usr/libexec/hopbox/hop-helper.previous";
pub const UNIT: &str = "hop-agent.service";
/// The process with the login's rights; systemd starts and stops it with the other.
pub const WORK_UNIT: &str = "hop-agent-work.service";
pub const UNIT_FILE: &str = "/etc/systemd/system/hop-agent.service";
pub const WORK_UNIT_FILE: &str = "/etc/systemd/system/hop-agent-work.service";
const UNITS: [(&str, &str); 2] = [
    (WORK_UNIT_FILE, include_str!("unit/hop-agent-work.service")),
    (UNIT_FILE, include_str!("unit/hop-agent.service")),
];
/// What the agent's unit gets besides, where it listens at a port below 1024.
pub const PORT_DIR: &str = "/etc/systemd/system/hop-agent.service.d";
pub const PORT_FILE: &str = "/etc/systemd/system/hop-agent.service.d/second-port.conf";
pub const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/hop-agent.service";

/// The version of the installed program; `None` if there is none that runs.
pub fn installed() -> Option<String> {
    version_of(PROGRAM)
}

/// Root may ask: what others could have put there is not run.
fn version_of(program: &str) -> Option<String> {
    if others_could_replace(Path::new(program)).ok()?.is_some() {
        return None;
    }
    let said = run(program, &["version"]).ok()?;
    said.trim().strip_prefix("hop-agent ").map(str::to_owned)
}

/// Puts this program in its place.
pub fn install() -> Result<Value, Failure> {
    need_root()?;
    let own = Path::new("/proc/self/exe");
    let image = bounded::read(own, PROGRAM_BYTES);
    let image = image.map_err(|error| super::io("read", own, &error))?;
    place_dir()?;
    let previous = version_of(PROGRAM);
    let old = bounded::read(PROGRAM, PROGRAM_BYTES).ok();
    if old.as_ref() == Some(&image) {
        return Ok(json!({
            "version": 1, "installed": VERSION, "previous": previous, "changed": false,
        }));
    }
    if let Some(old) = &old {
        put(Path::new(PREVIOUS), 0o755, old)?;
    }
    put(Path::new(PROGRAM), 0o755, &image)?;
    Ok(json!({"version": 1, "installed": VERSION, "previous": previous, "changed": true}))
}

/// The program before takes the place of this one.
pub fn put_back() -> Result<(), Failure> {
    let previous = Path::new(PREVIOUS);
    let failed = |error: io::Error| super::io("put back", previous, &error);
    if let Some(open) = others_could_replace(previous).map_err(failed)? {
        let why = format!("others than root could replace {}", open.display());
        let next = fix!("ls -ld {}", open);
        return Err(Failure::new(Fault::Usage, "nothing was put back", why, next));
    }
    let knows_work = run("grep", &["-q", WORK_UNIT, PREVIOUS]).is_ok();
    fs::rename(previous, PROGRAM).map_err(failed)?;
    if knows_work {
        return Ok(());
    }
    // One of an older release cannot be run as that unit says.
    let _ = systemctl(&["stop", WORK_UNIT]);
    remove(Path::new(WORK_UNIT_FILE), &mut Vec::new())
}

/// The directory of the programs, in which nobody but root may replace anything.
fn place_dir() -> Result<(), Failure> {
    let dir = Path::new(DIR);
    let failed = |error: io::Error| super::io("prepare", dir, &error);
    DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
    if let Some(open) = others_could_replace(dir).map_err(failed)? {
        let why = format!("others than root could replace what is in {}", open.display());
        let next = fix!("ls -ld {}", open);
        return Err(Failure::new(Fault::Usage, "nothing was installed", why, next));
    }
    Ok(())
}

/// What of a path others than root can change: itself, or a directory on the way there.
fn others_could_replace(path: &Path) -> io::Result<Option<PathBuf>> {
    let real = fs::canonicalize(path)?;
    for part in path.ancestors().chain(real.ancestors()) {
        let found = fs::metadata(part)?;
        if found.uid() != 0 || found.mode() & 0o022 != 0 {
            return Ok(Some(part.to_owned()));
        }
    }
    Ok(None)
}

/// Puts a file of root's in its place as a whole.
pub fn put(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
    let put = Beside::write(path, bytes, mode, None).and_then(Beside::replace);
    put.map_err(|error| super::io("write", path, &error))
}

/// A login as systemd takes it: by its number where it refuses the name or reads more in it.
pub fn user_of(login: &str, uid: u32) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let begins = login.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match begins && login.len() <= 31 && login.bytes().all(plain) {
        true => login.to_owned(),
        false => uid.to_string(),
    }
}

/// The units, for an agent that runs as `user`. Where there is no systemd they are left out.
pub fn units(user: &str) -> Result<(), Failure> {
    for (path, text) in UNITS.map(|(path, text)| (Path::new(path), text.replace("@USER@", user))) {
        let has_systemd = path.parent().is_some_and(Path::is_dir);
        if has_systemd && bounded::text(path).is_ok_and(|old| old == text) {
            continue;
        }
        if has_systemd {
            put(path, 0o644, text.as_bytes())?;
        }
    }
    Ok(())
}

/// The right to listen at a second port, and nothing where there is none.
pub fn allow_port(port: Option<u16>) -> Result<(), Failure> {
    let (dir, file) = (Path::new(PORT_DIR), Path::new(PORT_FILE));
    if port.is_none() {
        remove(file, &mut Vec::new())?;
        // Others may have put something there.
        let _ = fs::remove_dir(dir);
        return Ok(());
    }
    let has_systemd = Path::new(UNIT_FILE).exists();
    let text = include_str!("unit/second-port.conf");
    if !has_systemd || bounded::text(file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o755).create(dir);
    made.map_err(|error| super::io("make", dir, &error))?;
    put(file, 0o644, text.as_bytes())
}

/// The units of this version, for whom the one that is there is. An upgrade brings no others.
pub fn renew_units() -> Result<(), Failure> {
    let Ok(text) = bounded::text(UNIT_FILE) else { return Ok(()) };
    let user = text.lines().find_map(|line| line.strip_prefix("User=")).map(str::trim);
    user.map_or(Ok(()), units)
}

/// A running agent begins anew, with the unit and the files that are there now.
pub fn restart() {
    if need_systemd().is_ok() {
        let told = systemctl(&["daemon-reload"]).and(systemctl(&["try-restart", UNIT]));
        let _ = told.map_err(|failure| warn(&failure));
    }
}

/// Whom the unit runs the agent as.
pub fn unit_user() -> Option<String> {
    let text = bounded::text(UNIT_FILE).ok()?;
    text.lines().find_map(|line| line.strip_prefix("User=")).map(|user| user.trim().to_owned())
}

pub fn need_systemd() -> Result<(), Failure> {
    if Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    let why = "this machine was not started by systemd";
    let next = "sudo -u <login> /usr/libexec/hopbox/hop-agent serve";
    Err(Failure::new(Fault::Failed, "the agent cannot be a service here", why, next))
}

/// Temporary files of writes that were cut off.
pub fn leftovers(dir: &Path, removed: &mut Vec<String>) -> Result<(), Failure> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".agent.") && name.ends_with(".tmp") {
            remove(&entry.path(), removed)?;
        }
    }
    Ok(())
}

pub fn remove(path: &Path, removed: &mut Vec<String>) -> Result<(), Failure> {
    // Nothing of ours is a directory. The agent's user may have made one to keep us from the rest.
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Ok(()) => removed.push(path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(super::io("remove", path, &error)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn a_login_that_systemd_would_not_take_goes_by_its_number() {
        for plain in ["root", "dev", "_agent", "a-b_9", &"a".repeat(31)] {
            assert_eq!(user_of(plain, 7), plain);
        }
        let long = "a".repeat(32);
        for odd in
            ["alice@corp.example.com", r"CORP\bob", "müller", "svc$", "a b", "9", "%u", "a.b"]
        {
            assert_eq!(user_of(odd, 7), "7", "{odd}");
        }
        assert_eq!(user_of(&long, 0), "0");
    }

    #[test]
    fn what_others_can_replace_is_found_wherever_it_is_on_the_way() {
        if !crate::sys::process::is_root() {
            return eprintln!("SKIP what_others_can_replace: needs root");
        }
        let name = format!("hopbox-chain-{}", std::process::id());
        let base = Path::new("/root").join(&name);
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("a/b")).unwrap();
        let program = base.join("a/b/program");
        fs::write(&program, "").unwrap();
        let open = |path: &Path| others_could_replace(path).unwrap();
        fs::set_permissions(&base, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(open(&program), None);
        for part in [&program, &base.join("a/b"), &base.join("a"), &base] {
            let mode = fs::metadata(part).unwrap().mode();
            for bad in [mode | 0o020, mode | 0o002] {
                fs::set_permissions(part, Permissions::from_mode(bad)).unwrap();
                assert_eq!(open(&program).as_ref(), Some(part), "{bad:o}");
            }
            fs::set_permissions(part, Permissions::from_mode(mode)).unwrap();
            chown(part, Some(4243), None).unwrap();
            assert_eq!(open(&program).as_ref(), Some(part));
            chown(part, Some(0), None).unwrap();
        }
        // A link of root's that leads to where others write.
        let there = std::env::temp_dir().join(&name);
        fs::write(&there, "").unwrap();
        symlink(&there, base.join("link")).unwrap();
        assert!(open(&base.join("link")).is_some());
        fs::remove_file(&there).unwrap();
        assert!(others_could_replace(&base.join("link")).is_err(), "it leads nowhere");
        fs::remove_dir_all(&base).unwrap();
    }
}
