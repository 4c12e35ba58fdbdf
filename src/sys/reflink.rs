//! Files that share their blocks until one of them is written to (XFS, btrfs, bcachefs, ZFS): as
//! many bytes as there are, in no time.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

nix::ioctl_write_int!(
    /// ioctl_ficlone(2)
    ficlone, 0x94, 9
);

/// All of `from` becomes the content of `to`, which is empty: one that is longer keeps its tail, or
/// it is EINVAL. Holes stay holes, and what is reserved for the file (fallocate) becomes one. Where
/// the file system cannot, or they are on two of them, it is an error for which [`cannot`] says so,
/// and `to` is as it was. See `findings/ficlone-makes-no-twin-of-a-file.sh`.
pub fn clone(from: &File, to: &File) -> io::Result<()> {
    let from = u64::try_from(from.as_raw_fd()).unwrap_or(u64::MAX);
    // SAFETY: takes numbers only; both descriptors are open, as they are borrowed.
    let done = unsafe { ficlone(to.as_raw_fd(), from as nix::sys::ioctl::ioctl_param_type) };
    done.map(drop).map_err(io::Error::from)
}

/// The file system has no such thing, or none between these two.
pub fn cannot(error: &io::Error) -> bool {
    let numbers = [libc::EOPNOTSUPP, libc::ENOTTY, libc::EXDEV, libc::EINVAL, libc::ENOSYS];
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}
