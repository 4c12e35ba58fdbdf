//! A rename that replaces nothing.

use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

/// As rename(2), with an error of `AlreadyExists` where something is at `to`. A file system that
/// cannot do both in one (EINVAL: some of FUSE and the network) is looked at before.
pub fn to_free(from: &Path, to: &Path) -> io::Result<()> {
    match no_replace(from, to) {
        Err(Errno::EINVAL | Errno::ENOSYS) if fs::symlink_metadata(to).is_ok() => {
            Err(ErrorKind::AlreadyExists.into())
        }
        Err(Errno::EINVAL | Errno::ENOSYS) => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

/// renameat2(2) by its number: nix and libc offer it for glibc alone, and agents are linked with
/// musl.
fn no_replace(from: &Path, to: &Path) -> nix::Result<()> {
    let path = |of: &Path| CString::new(of.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    let (from, to, at) = (path(from)?, path(to)?, libc::AT_FDCWD);
    // SAFETY: the call takes two descriptors, two strings that end with a zero and live beyond it,
    // and a number, and writes no memory.
    let done = unsafe {
        let (from, to) = (from.as_ptr(), to.as_ptr());
        libc::syscall(libc::SYS_renameat2, at, from, at, to, libc::RENAME_NOREPLACE)
    };
    Errno::result(done).map(drop)
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
