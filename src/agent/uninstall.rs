//! `hop-agent uninstall`: what install, setup and start put on the machine, gone again.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::config::{KEY_FILE, NEW_KEY_FILE, OLD_KEY_FILE};
use super::exec::{need_root, systemctl, user, warn};
use super::firewall::NotDone;
use super::front::endpoints;
use super::install::{
    DIR, HELPER_PREVIOUS, PORT_DIR, PORT_FILE, PREVIOUS, PROGRAM, UNIT, UNIT_FILE, UNVERIFIED,
    WANTED, WORK_UNIT, WORK_UNIT_FILE, leftovers, need_systemd, remove, unit_user,
};
use super::location::{self, FILE};
use super::{firewall, joint, linger, log, mounts, moved, names, reserve, sites};
use crate::base::failure::Failure;

/// Everything that install and start put on the machine; with `purge` also keys, configuration and
/// state. What is not ours keeps its directory.
pub fn uninstall(file: &Path, purge: bool) -> Result<Value, Failure> {
    need_root()?;
    if need_systemd().is_ok() && Path::new(UNIT_FILE).exists() {
        for words in [&["disable", "--now", UNIT][..], &["stop", WORK_UNIT]] {
            if let Err(failure) = systemctl(words) {
                warn(&failure);
            }
        }
    }
    let login = unit_user().and_then(|name| user(&name).ok());
    given_back("ports are open", firewall::close_all());
    given_back("sites are served", sites::end_all());
    if let Err(failure) = reserve::give_back() {
        warn(&failure);
    }
    let mut removed = Vec::new();
    linger::take_back(&mut removed)?;
    // Nobody runs in them any more.
    if let Some((uid, _)) = login {
        given_back("directories are mounted", mounts::end_all(uid));
    }
    for path in [WANTED, PORT_FILE, UNIT_FILE, WORK_UNIT_FILE, PROGRAM, PREVIOUS, HELPER_PREVIOUS] {
        remove(Path::new(path), &mut removed)?;
    }
    let _ = fs::remove_dir(PORT_DIR);
    if fs::remove_dir_all(UNVERIFIED).is_ok() {
        removed.push(UNVERIFIED.to_owned());
    }
    if need_systemd().is_ok() {
        let _ = systemctl(&["daemon-reload"]);
        let _ = systemctl(&["reset-failed", UNIT, WORK_UNIT]);
    }
    let state = location::state_of(file);
    if purge {
        for dir in [file.parent().unwrap_or(Path::new("/")), Path::new(location::OLD_DIR)] {
            for name in [FILE, KEY_FILE, OLD_KEY_FILE, NEW_KEY_FILE] {
                remove(&dir.join(name), &mut removed)?;
            }
            leftovers(dir, &mut removed)?;
        }
        for name in [
            "agent.stamp",
            "agent.stamp-new",
            endpoints::FILE,
            names::FILE,
            "agent.sock",
            joint::FILE,
        ] {
            remove(&state.join(name), &mut removed)?;
        }
        remove_dir(&state, &mut removed);
        moved::forget_group();
    }
    moved::close();
    remove_dir(Path::new(location::OLD_DIR), &mut removed);
    remove_dir(Path::new(DIR), &mut removed);
    let dirs = [Path::new(location::OLD_DIR), Path::new(DIR), &state];
    let left = dirs.iter().filter(|dir| dir.exists());
    let left: Vec<String> = left.map(|dir| dir.display().to_string()).collect();
    Ok(json!({"version": 1, "removed": removed, "left": left}))
}

/// What the helper held for the agent. Where there is none, it holds nothing.
fn given_back(what: &str, done: firewall::Done<()>) {
    match done {
        Ok(()) | Err(NotDone::Absent(_)) => {}
        Err(not) => log(&format!("still {what}: {}", not.why())),
    }
}

/// If nothing else is in it.
fn remove_dir(dir: &Path, removed: &mut Vec<String>) {
    if fs::remove_dir(dir).is_ok() {
        removed.push(dir.display().to_string());
    }
}
