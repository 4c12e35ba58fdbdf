//! A program that is confined: this system has nothing that a user could ask for it.

use std::io;
use std::path::Path;
use std::process::Command;

/// What may be reached.
pub struct Reach<'a> {
    pub read: &'a [&'a Path],
    pub write: &'a [&'a Path],
    pub port: u16,
}

/// `Unsupported`.
pub fn confine<'a>(_: &'a mut Command, _: &Reach<'_>) -> io::Result<&'a mut Command> {
    let why = "this system cannot confine a browser";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}
