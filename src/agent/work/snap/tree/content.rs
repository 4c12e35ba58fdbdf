//! What a tree is, entry by entry, as it goes into a digest.

use std::fs::{self, FileType, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::entry::{MODE, is_kept, open_file};
use crate::sys::{process, xattr};
use crate::workspace::digest::Digesting;

const PIECE: usize = 256 * 1024;

/// With its length, so that no two lists of pieces are one.
pub fn put(digesting: &mut Digesting, piece: &[u8]) {
    digesting.add(&(piece.len() as u64).to_be_bytes());
    digesting.add(piece);
}

/// What an entry of a tree is, in a digest.
pub fn word(kind: FileType) -> &'static [u8] {
    match () {
        () if kind.is_dir() => b"dir",
        () if kind.is_symlink() => b"symlink",
        () if kind.is_fifo() => b"fifo",
        () => b"file",
    }
}

pub fn put_head(
    digesting: &mut Digesting,
    name: &Path,
    found: &Metadata,
    seen: &Path,
) -> io::Result<()> {
    let kind = found.file_type();
    put(digesting, name.as_os_str().as_bytes());
    put(digesting, word(kind));
    let number = |number: i64| number.to_be_bytes();
    if !kind.is_symlink() {
        digesting.add(&(found.mode() & MODE).to_be_bytes());
        for (name, value) in xattr::all(seen)?.iter().filter(|(name, _)| is_kept(name.as_bytes())) {
            put(digesting, name.as_bytes());
            put(digesting, value);
        }
    }
    if process::is_root() {
        digesting.add(&[found.uid().to_be_bytes(), found.gid().to_be_bytes()].concat());
    }
    digesting.add(&[number(found.mtime()), number(found.mtime_nsec())].concat());
    Ok(())
}

pub fn digest_one(
    digesting: &mut Digesting,
    seen: &Path,
    found: &Metadata,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<()> {
    if found.file_type().is_symlink() {
        put(digesting, fs::read_link(seen)?.as_os_str().as_bytes());
    } else if found.is_file() {
        digesting.add(&found.len().to_be_bytes());
        let (mut file, mut piece) = (open_file(seen)?, vec![0; PIECE]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                count => digesting.add(piece.get(..count).unwrap_or_default()),
            }
            if !is_wanted() {
                return Err(ErrorKind::Interrupted.into());
            }
        }
    }
    Ok(())
}
