//! What an entry of a tree has beside its content: mode, owner, time, attributes. Read of one, and
//! put on another.

use std::ffi::CString;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use crate::agent::work::snap::tree::{MODE, is_kept};
use crate::sys::{file_times, xattr};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// When its content was changed.
    pub changed: (i64, i64),
    pub all: Vec<(CString, Vec<u8>)>,
}

impl Attributes {
    pub const MODE: u32 = MODE;

    /// Which of them cross.
    pub fn is_kept(name: &CString) -> bool {
        is_kept(name.as_bytes())
    }

    /// Of what is opened as `seen`.
    pub fn of(seen: &Path, found: &Metadata) -> io::Result<Attributes> {
        let mut all = Vec::new();
        if !found.file_type().is_symlink() {
            all = xattr::all(seen)?;
            all.retain(|(name, _)| Attributes::is_kept(name));
        }
        let (uid, gid) = (found.uid(), found.gid());
        let changed = (found.mtime(), found.mtime_nsec());
        Ok(Attributes { mode: found.mode() & MODE, uid, gid, changed, all })
    }

    /// What is at `to` has these and no others. Owners where `are_owners_kept`, by root alone.
    pub fn put(&self, to: &Path, are_owners_kept: bool) -> io::Result<()> {
        let found = fs::symlink_metadata(to)?;
        if are_owners_kept {
            lchown(to, Some(self.uid), Some(self.gid))?;
        }
        if !found.file_type().is_symlink() {
            for (name, _) in xattr::all(to)? {
                let is_wanted = self.all.iter().any(|(wanted, _)| *wanted == name);
                if Attributes::is_kept(&name) && !is_wanted {
                    xattr::remove(to, &name)?;
                }
            }
            for (name, value) in &self.all {
                xattr::set(to, name, value)?;
            }
            // After a list of rights, whose mask it is.
            fs::set_permissions(to, Permissions::from_mode(self.mode))?;
        }
        file_times::set(to, (found.atime(), found.atime_nsec()), self.changed)
    }
}
