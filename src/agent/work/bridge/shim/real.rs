//! The program that is called so without us: the next one on the search path that is not this one.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whichever way it is written: another name of this file is this file, too.
pub fn find(name: &str) -> Option<PathBuf> {
    let own = env::current_exe().ok().and_then(|own| identity(&own));
    let all = env::var_os("PATH")?;
    let mut there = env::split_paths(&all).map(|dir| dir.join(name));
    there.find(|path| is_program(path) && identity(path) != own)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn is_program(path: &Path) -> bool {
    let found = fs::metadata(path);
    found.is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

/// Becomes it; comes back only if that cannot be. A browser that is a shim of ours would have it
/// call us again.
pub fn become_it(path: &Path, name: &str, line: &[OsString]) -> std::io::Error {
    let mut command = Command::new(path);
    command.arg0(name).args(line);
    if env::var_os("BROWSER").is_some_and(|browser| is_ours(Path::new(&browser))) {
        command.env_remove("BROWSER");
    }
    command.exec()
}

pub fn is_ours(browser: &Path) -> bool {
    let own = env::current_exe().ok().and_then(|own| identity(&own));
    own.is_some() && identity(browser) == own
}
