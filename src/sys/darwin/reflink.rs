//! As on Linux. Nothing is kept on this system: it cannot.

use std::fs::File;
use std::io;

pub fn clone(_: &File, _: &File) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOTSUP))
}

pub fn cannot(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTSUP)
}
