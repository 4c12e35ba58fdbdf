//! As on Linux. Nothing is kept on this system, so none are looked at.

use std::ffi::CString;
use std::io;
use std::path::Path;

pub fn all(_: &Path) -> io::Result<Vec<(CString, Vec<u8>)>> {
    Ok(Vec::new())
}

pub fn set(_: &Path, _: &CString, _: &[u8]) -> io::Result<()> {
    Ok(())
}

pub fn remove(_: &Path, _: &CString) -> io::Result<()> {
    Ok(())
}
