//! Extended attributes (xattr(7)) of what is at a path; no link is followed in its last part.
//!
//! Bounds: 64 KiB of names and 64 KiB of a value, which is what the kernel takes.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BYTES: usize = 64 * 1024;

fn text(path: &OsStr) -> io::Result<CString> {
    CString::new(path.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A file system without any has none.
fn length(told: isize) -> io::Result<usize> {
    match usize::try_from(told) {
        Ok(length) => Ok(length),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(0),
            error => Err(error),
        },
    }
}

/// Names and values, in the order of names.
pub fn all(path: &Path) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let path = text(path.as_os_str())?;
    let mut names = vec![0_u8; BYTES];
    // SAFETY: the path ends with a zero, and the buffer is writable for its length.
    let told = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(length(told)?);
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = text(OsStr::from_bytes(name))?;
        let mut value = vec![0_u8; BYTES];
        let (into, room) = (value.as_mut_ptr().cast(), value.len());
        // SAFETY: both texts end with a zero, and the buffer is writable for its length.
        let told = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), into, room) };
        value.truncate(length(told)?);
        found.push((name, value));
    }
    found.sort();
    Ok(found)
}

pub fn set(path: &Path, name: &CString, value: &[u8]) -> io::Result<()> {
    let path = text(path.as_os_str())?;
    let (from, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: both texts end with a zero, and the value is readable for its length.
    match unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), from, length, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub fn remove(path: &Path, name: &CString) -> io::Result<()> {
    let path = text(path.as_os_str())?;
    // SAFETY: both texts end with a zero.
    match unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
