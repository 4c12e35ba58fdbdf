//! As on Linux, in two steps: nothing that depends on it runs on this system.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

pub fn to_free(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}
