//! Trees that go, whatever their modes say.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Directories in one another, with room for those of ours.
const DEPTH: usize = 300;

/// A file, or a directory with all that is in it, also where its modes forbid that to its owner.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => match fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                allow(path, DEPTH)?;
                fs::remove_dir_all(path)
            }
            removed => removed,
        },
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Directories that nobody may write to, as caches of modules are, can be emptied.
fn allow(dir: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(ErrorKind::InvalidInput.into());
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            allow(&entry.path(), depth - 1)?;
        }
    }
    Ok(())
}
