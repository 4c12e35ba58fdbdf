//! The programs of this version that lie on this machine: hop itself, what it would install here
//! or send to servers, and its self test.

use std::path::{Path, PathBuf};

use super::artifacts;
use crate::ssh::upload::Upload;

/// A file, and what it is.
pub struct Program {
    pub name: &'static str,
    pub path: PathBuf,
    /// In hexadecimal, as b2sum(1) prints it; why it could not be read, if so.
    pub digest: Result<String, String>,
}

/// All that are there, each file once.
pub fn programs() -> Vec<Program> {
    let own = std::env::current_exe().ok();
    let dirs = own.as_deref().and_then(Path::parent).map(artifacts::all_dirs).unwrap_or_default();
    let names = ["hop-helper", "hop-helper-server", "hop-agent", "hop-install", "hop-selftest"];
    let beside = dirs.iter().flat_map(|dir| names.map(|name| (name, dir.join(name))));
    let mut found: Vec<Program> = Vec::new();
    for (name, path) in own.iter().map(|own| ("hop", own.clone())).chain(beside) {
        let Some(path) = path.canonicalize().ok().filter(|path| path.is_file()) else { continue };
        if found.iter().all(|known| known.path != path) {
            let digest = Upload::load(name, &path).map(|program| program.hash);
            found.push(Program { name, path, digest: digest.map_err(|error| error.to_string()) });
        }
    }
    found
}
