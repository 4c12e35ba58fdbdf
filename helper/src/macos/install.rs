//! `--install` and `--uninstall` on macOS: the helper as a job of launchd, and gone again.
//!
//! Writes only to where nobody but root can replace it. Tells every file it touches; `--dry-run`
//! tells and touches nothing. hop-install itself stays where it was brought, and is run from there.
//! launchd has no documented door but launchctl(1): that, by its absolute path and with an empty
//! environment, is the one program that is run here. The daemon runs none. Must not know:
//! requests, the sandbox.

use crate::core::files::check_parents;
use crate::core::paths::{AUDIT_DIR, CONFIG, OWN_SOCKET, PROGRAM, RUN_DIR, SOCKET, STATE_DIR};
use crate::install::{Installer, Outcome, invited, say};
use crate::net::config;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const PLIST: &str = "/Library/LaunchDaemons/dev.hopbox.helper.plist";
const PLIST_TEXT: &str = include_str!("../../unit/dev.hopbox.helper.plist");
const JOB: &str = "system/dev.hopbox.helper";
const ERRORS: &str = "/var/log/hopbox/helper.log";

pub fn install(dry: bool, mut image: File) -> Outcome<()> {
    let installer = Installer { dry };
    // All of it is checked before any of it is written.
    let refused = |why| format!("{why}; nothing was installed");
    config::check(Path::new(CONFIG)).map_err(refused)?;
    let paths = [PROGRAM, PLIST, CONFIG, AUDIT_DIR];
    paths.map(Path::new).into_iter().try_for_each(check_parents).map_err(refused)?;
    let same_job = fs::read(PLIST).is_ok_and(|old| old == PLIST_TEXT.as_bytes());
    installer.file(Path::new(PROGRAM), 0o755, &mut image)?;
    installer.dir(Path::new(AUDIT_DIR))?;
    installer.invite()?;
    installer.file(Path::new(PLIST), 0o644, &mut PLIST_TEXT.as_bytes())?;
    if !installer.tell("start", Path::new(JOB)) {
        return Ok(());
    }
    let loaded = launchctl(&["print", JOB]).is_ok();
    let started = if loaded && same_job {
        // An older helper hands over to this one, whom the next client starts; its tunnels go on.
        // That none runs is fine, too.
        let _ = launchctl(&["kill", "SIGQUIT", JOB]);
        Ok(())
    } else {
        if loaded {
            let _ = launchctl(&["bootout", JOB]);
        }
        launchctl(&["bootstrap", "system", PLIST])
    };
    started.or_else(|why| {
        say!("{why}\nnow start it:\n  sudo launchctl bootstrap system {PLIST}");
        Ok(())
    })
}

pub fn uninstall(dry: bool) -> Outcome<()> {
    let installer = Installer { dry };
    // A job that is not loaded is what we want.
    if Path::new(PLIST).exists() && installer.tell("stop", Path::new(JOB)) {
        let _ = launchctl(&["bootout", JOB]);
    }
    installer.take_back()?;
    for file in [PLIST, PROGRAM, ERRORS, SOCKET, OWN_SOCKET] {
        installer.remove(Path::new(file))?;
    }
    Path::new(OWN_SOCKET).parent().into_iter().for_each(|dir| installer.remove_dir(dir));
    for dir in [STATE_DIR, RUN_DIR, AUDIT_DIR].map(Path::new) {
        installer.remove_own(dir)?;
    }
    // The configuration is root's.
    installer.remove(&invited())?;
    let config_dir = Path::new(CONFIG).parent();
    config_dir.into_iter().for_each(|dir| installer.remove_dir(dir));
    Ok(())
}

fn launchctl(arguments: &[&str]) -> Outcome<()> {
    let mut command = Command::new("/bin/launchctl");
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.stderr(Stdio::null()).status();
    let what = arguments.first().copied().unwrap_or_default();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("launchctl {what}: {status}")),
        Err(e) => Err(format!("launchctl {what}: {e}")),
    }
}
