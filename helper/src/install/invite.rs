//! Whoever calls `--install` may use the helper from then on, in the login that it was called from.
//! Must not know: who else may.

use super::files::{Installer, Outcome, say};
use crate::core::files;
use crate::core::paths::CONFIG;
use crate::core::peer_cred::is_nobody;
use crate::net::{config, invited};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub fn path() -> PathBuf {
    Path::new(CONFIG).with_file_name(invited::NAME)
}

impl Installer {
    pub fn invite(&self) -> Outcome<()> {
        let users = fs::read(invited::USERS).unwrap_or_default();
        let Some(uid) = caller(&users) else {
            say!("its users call hop-helper --install with sudo, or are in the group hopbox");
            return Ok(());
        };
        let old = match files::read(&path(), config::SIZE_MAX) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            old => old.map_err(|e| format!("{}: {e}", path().display()))?,
        };
        let name =
            invited::users(&users).find(|user| user.0 == uid).map_or(&b""[..], |user| user.1);
        let is_there = invited::users(&old).any(|user| user == (uid, name));
        if !is_there {
            self.file(&path(), 0o644, &mut &*invited::with(&old, uid, name))?;
            if !self.dry {
                say!("user {uid} ({}) may use it from now on", String::from_utf8_lossy(name));
            }
        }
        Ok(())
    }
}

/// Who called sudo, pkexec or doas, by what these say to root; with su, who has logged in, by the
/// kernel's own record. Root needs no invitation.
fn caller(users: &[u8]) -> Option<u32> {
    let said = |name: &str| std::env::var(name).ok();
    let number = |text: String| text.trim().parse::<u32>().ok();
    let known = |name: String| {
        invited::users(users).find(|user| user.1 == name.as_bytes()).map(|user| user.0)
    };
    let kernel = || fs::read_to_string("/proc/self/loginuid").ok().and_then(number);
    let claimed = [
        said("SUDO_UID").and_then(number),
        said("PKEXEC_UID").and_then(number),
        said("DOAS_USER").and_then(known),
        kernel(),
    ];
    claimed.into_iter().flatten().find(|uid| *uid != 0 && !is_nobody(*uid))
}
