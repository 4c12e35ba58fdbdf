//! What a daemon still needs of the file system once it serves.

use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A file, or all below a directory.
    Read,
    /// Read, and what is in its directories.
    Look,
    /// Read, and run as programs.
    Run,
    Write,
    /// In its place.
    Edit,
    Device,
    Remove,
    /// A directory in which files are made, replaced and removed.
    Own,
}

pub type SandboxPaths = Vec<(PathBuf, Access)>;
