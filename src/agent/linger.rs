//! What root gives the login for its services: a manager of systemd's that is there without a
//! session (linger), and that may limit CPU time. Both are taken back by `uninstall`, linger only
//! if it was given here: the file that says so is root's.

use std::fs;
use std::path::{Path, PathBuf};

use super::exec::{self, run, systemctl, warn};
use super::install::{self, put, remove};
use crate::base::failure::Failure;
use crate::sys::bounded;

const SYSTEM: &str = "/etc/systemd/system";
const FILE: &str = "hopbox.conf";
const HEAD: &str = "# Of hop-agent, for the services of workspaces; gone with it.\n";
const GIVEN: &str = "# The login lingers because of it.\n";
const DELEGATE: &str = "[Service]\nDelegate=cpu memory pids\n";

fn dir_of(uid: u32) -> PathBuf {
    Path::new(SYSTEM).join(format!("user@{uid}.service.d"))
}

/// For the login that the agent runs as. Where it cannot be had, services say what is missing.
pub fn give(user: &str) {
    let _ = try_give(user).map_err(|failure| warn(&failure));
}

fn try_give(user: &str) -> Result<(), Failure> {
    install::need_systemd()?;
    let (uid, _) = exec::user(user)?;
    if uid == 0 {
        return Ok(());
    }
    // An error where it neither lingers nor is logged in.
    let words = ["show-user", "--property=Linger", "--value", user];
    let lingers = run("loginctl", &words).is_ok_and(|said| said.trim() == "yes");
    let unit = format!("user@{uid}.service");
    let words = ["show", "--property=DelegateControllers", "--value", &unit];
    let delegates = systemctl(&words)?.split_whitespace().any(|word| word == "cpu");
    let file = dir_of(uid).join(FILE);
    let old = bounded::text(&file).unwrap_or_default();
    let given = if lingers && !old.contains(GIVEN) { "" } else { GIVEN };
    let more = if delegates && !old.contains(DELEGATE) { "" } else { DELEGATE };
    let text = format!("{HEAD}{given}{more}");
    if text != HEAD && text != old {
        fs::create_dir_all(dir_of(uid)).map_err(|error| super::io("prepare", &file, &error))?;
        put(&file, 0o644, text.as_bytes())?;
        systemctl(&["daemon-reload"])?;
    }
    if !lingers {
        run("loginctl", &["enable-linger", user])?;
    }
    Ok(())
}

/// The services of the login that the agent ran as end, and so does what was given.
pub fn take_back(removed: &mut Vec<String>) -> Result<(), Failure> {
    if install::need_systemd().is_err() {
        return Ok(());
    }
    let user = install::unit_user().and_then(|user| exec::user(&user).ok());
    if let Some((uid, _)) = user {
        let _ = stop_services(uid).map_err(|failure| warn(&failure));
    }
    for entry in fs::read_dir(SYSTEM).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let uid = name.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service.d"));
        let Some(uid) = uid.and_then(|uid| uid.parse::<u32>().ok()) else { continue };
        let file = dir_of(uid).join(FILE);
        let Ok(text) = bounded::text(&file) else { continue };
        if text.contains(GIVEN) {
            let taken = run("loginctl", &["disable-linger", &uid.to_string()]);
            let _ = taken.map_err(|failure| warn(&failure));
        }
        remove(&file, removed)?;
        if fs::remove_dir(dir_of(uid)).is_ok() {
            removed.push(dir_of(uid).display().to_string());
        }
    }
    Ok(())
}

/// Each has time of its own to end, which is not waited for.
fn stop_services(uid: u32) -> Result<(), Failure> {
    let stop = ["systemctl", "--no-block", "stop", "hopbox-*.service"];
    if uid == 0 {
        return run(stop[0], &stop[1..]).map(drop);
    }
    let runtime = format!("/run/user/{uid}");
    if !Path::new(&runtime).is_dir() {
        return Ok(());
    }
    let name = exec::user_name(uid)?;
    let runtime = format!("XDG_RUNTIME_DIR={runtime}");
    let words = ["-u", &name, "--", "env", &runtime, "systemctl", "--user"];
    run("runuser", &[&words[..], &stop[1..]].concat()).map(drop)
}
