//! A rename that replaces nothing.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// As rename(2), with an error of `AlreadyExists` where something is at `to`. A file system that
/// cannot do both in one (EINVAL: some of FUSE and the network) is looked at before.
pub fn to_free(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL | Errno::ENOSYS) if fs::symlink_metadata(to).is_ok() => {
            Err(ErrorKind::AlreadyExists.into())
        }
        Err(Errno::EINVAL | Errno::ENOSYS) => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let dir = std::env::temp_dir().join(format!("hopbox-rename-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (from, to) = (dir.join("from"), dir.join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "").unwrap();
        let refused = to_free(&from, &to).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"");
        fs::remove_file(&to).unwrap();
        to_free(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        fs::remove_dir_all(&dir).unwrap();
    }
}
