//! Times of files that can be trusted to tell of later writes.
//!
//! A store through a shared mapping sets a file's times only where it makes a clean page dirty. A
//! page that was dirty when its file was read stays writable: what is stored into it later is told
//! by nothing, not when it is written back either (`findings/restic-skips-what-a-mapping-wrote`).
//! Once all has been written back, the next store to any page is told again, but for file systems
//! in memory, which never write back.

use std::fs::File;
use std::io;
use std::path::Path;

/// Whether the times of the files there tell of whatever is written from now on; what has been
/// written is on its way out then. Waits for the device.
pub fn settle(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    #[cfg(target_os = "linux")]
    {
        use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
        use std::os::fd::AsRawFd;
        if fstatfs(&file)?.filesystem_type() == TMPFS_MAGIC {
            return Ok(false);
        }
        // SAFETY: takes a number only; the descriptor is open, as `file` is.
        nix::errno::Errno::result(unsafe { libc::syncfs(file.as_raw_fd()) })?;
    }
    #[cfg(not(target_os = "linux"))]
    {
        drop(file);
        nix::unistd::sync();
    }
    Ok(true)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_in_memory_tells_of_nothing() {
        assert!(!settle(Path::new("/dev/shm")).unwrap());
        assert!(settle(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap());
        assert!(settle(Path::new("/nothing/there")).is_err());
    }
}
