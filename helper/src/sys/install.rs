//! What installing takes besides: the lock of the group tables, and what belongs to a file besides
//! its bytes.

use super::{check, open_at};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Takes the lock of a file that lckpwdf(3) and shadow's programs take; without waiting.
pub fn lock_record(file: &File) -> io::Result<()> {
    // SAFETY: flock is plain data, for which all zeroes is a value: the whole file.
    let mut lock: libc::flock = unsafe { zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: the descriptor is open for the duration of the call, and lock readable.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) }).map(|_| ())
}

/// Most bytes of all names, or of one value, of the attributes of a file.
const ATTRIBUTE_MAX: usize = 65_536;
/// What the kernel says of a file's bytes, or lets a program do for them: worth nothing for others.
const OF_THE_BYTES: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];

/// Gives `to` the attributes of the file at `from`, labels and access lists among them. One that
/// cannot be carried over is an error.
pub fn copy_attributes(from: &Path, to: &File) -> io::Result<()> {
    let from = open_at(None, from, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK)?;
    let (mut names, mut value) = (vec![0; ATTRIBUTE_MAX], vec![0; ATTRIBUTE_MAX]);
    // SAFETY: names is writable for its length.
    let len = unsafe { libc::flistxattr(from.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let len = match check_size(len) {
        Err(e) if e.raw_os_error() == Some(libc::ENOTSUP) => 0,
        len => len?,
    };
    let names = names.get(..len).unwrap_or_default().split(|b| *b == 0);
    for name in names.filter(|name| !name.is_empty() && !OF_THE_BYTES.contains(name)) {
        let name = CString::new(name)?;
        // SAFETY: name is a string of C, and value writable for its length.
        let len = check_size(unsafe {
            let room = value.as_mut_ptr().cast();
            libc::fgetxattr(from.as_raw_fd(), name.as_ptr(), room, value.len())
        })?;
        // SAFETY: as above, and the kernel has filled len bytes of value.
        check(unsafe {
            libc::fsetxattr(to.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), len, 0)
        })?;
    }
    Ok(())
}

fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
