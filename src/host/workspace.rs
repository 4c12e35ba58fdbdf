//! Finds a project's `hopbox.yaml` and the `.env` files beside it. What they say is `workspace`'s.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::failure::{Failure, Fault};
use crate::base::yaml;
use crate::fix;
use crate::sys::bounded;
use crate::workspace::dotenv;
use crate::workspace::env::Env;
use crate::workspace::manifest::{Desired, Manifest};
use crate::workspace::read;
use crate::workspace::wrong::Wrong;

pub const FILE: &str = "hopbox.yaml";
/// The later wins.
const ENV_FILES: [&str; 2] = [".env", ".env.local"];

/// Reads `hopbox.yaml` in `dir`; `None` when there is none. A file that cannot be read or does
/// not parse is an error: to skip it would choose another host in silence.
pub fn load(dir: &Path) -> Result<Option<Manifest>, Failure> {
    let path = dir.join(FILE);
    let Some(text) = text(&path, yaml::TEXT_BYTES)? else { return Ok(None) };
    read::manifest(&text).map(Some).map_err(|wrongs| fault(&path, &wrongs))
}

/// What a server is asked for: the manifest over the variables of the files.
pub fn desired(dir: &Path, manifest: &Manifest) -> Result<Desired, Failure> {
    let mut files: Vec<Env> = Vec::new();
    for name in ENV_FILES {
        let path = dir.join(name);
        if let Some(text) = text(&path, dotenv::TEXT_BYTES)? {
            files.push(dotenv::parse(&text).map_err(|wrongs| fault(&path, &wrongs))?);
        }
    }
    let whole = manifest.desired.clone().over(&files);
    whole.map_err(|wrong| fault(&dir.join(FILE), &[wrong]))
}

fn text(path: &Path, most: usize) -> Result<Option<String>, Failure> {
    match bounded::read(path, most as u64) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(broken(path, "it is not UTF-8".to_owned())),
        },
        Err(error) if is_absent(path, &error) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::FileTooLarge | ErrorKind::InvalidInput) => {
            Err(broken(path, error.to_string()))
        }
        Err(error) => Err(Failure::io("read", path, &error)),
    }
}

fn is_absent(path: &Path, error: &io::Error) -> bool {
    // A directory that this user may not enter is not where they work: su(1) leaves one there.
    let closed =
        || fs::symlink_metadata(path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    error.kind() == ErrorKind::NotFound || closed()
}

/// The first mistake is why, the others follow.
fn fault(path: &Path, wrongs: &[Wrong]) -> Failure {
    let mut all = wrongs.iter().map(Wrong::to_string);
    let first = all.next().unwrap_or_else(|| "it cannot be read".to_owned());
    Failure { also: all.collect(), ..broken(path, first) }
}

fn broken(path: &Path, why: String) -> Failure {
    let shown: PathBuf = path.strip_prefix(".").unwrap_or(path).to_owned();
    let what = format!("{} is not valid", shown.display());
    Failure::new(Fault::Config, what, why, fix!("${EDITOR:-vi} {}", shown))
}
