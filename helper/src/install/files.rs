//! Puts files in their place and takes them away, telling each; what installing shares on all
//! platforms. Must not know: which files, service managers.

use crate::core::files;
use crate::sys;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// As `println`, but that nobody listens does not stop us half-way.
macro_rules! say {
    ($($words:tt)*) => {{
        for line in format!($($words)*).lines() {
            let _ = writeln!(io::stdout(), "{}", crate::core::say::plain(line));
        }
    }};
}

pub type Outcome<T> = Result<T, String>;
pub(crate) use say;

/// Does what it is told, or only tells.
pub struct Installer {
    pub dry: bool,
}

impl Installer {
    /// Whether to do it.
    pub fn tell(&self, what: &str, path: &Path) -> bool {
        let would = if self.dry { "would " } else { "" };
        say!("{would}{what} {}", path.display());
        !self.dry
    }

    pub fn dir(&self, path: &Path) -> Outcome<()> {
        if path.is_dir() || !self.tell("make", path) {
            return Ok(());
        }
        let mask = sys::umask(0o022);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
        sys::umask(mask);
        made.map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Puts a file in its place as a whole.
    pub fn file(&self, path: &Path, mode: u32, from: &mut dyn Read) -> Outcome<()> {
        let failed = |e: io::Error| format!("{}: {e}", path.display());
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(failed)?;
        let old = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
        let same = old.as_ref().is_some_and(|old| old.mode() & 0o7777 == mode && old.uid() == 0);
        if same && fs::read(path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(Path::new("/"));
        self.dir(dir)?;
        if !self.tell("write", path) {
            return Ok(());
        }
        let prepare = |file: &File| {
            // A table of groups may belong to a group itself.
            fchown(file, Some(0), Some(old.as_ref().map_or(0, fs::Metadata::gid)))?;
            file.set_permissions(Permissions::from_mode(mode))?;
            old.as_ref().map_or(Ok(()), |_| sys::copy_attributes(path, file))
        };
        let temporary = format!(".hopbox-{:016x}", sys::random().map_err(failed)?);
        files::replace(path, &temporary, &bytes, prepare).map_err(failed)
    }

    pub fn remove(&self, path: &Path) -> Outcome<()> {
        if fs::symlink_metadata(path).is_err() || !self.tell("remove", path) {
            return Ok(());
        }
        fs::remove_file(path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// What the helper keeps in a directory of its own; whatever else is there keeps the directory.
    pub fn remove_own(&self, dir: &Path) -> Outcome<()> {
        let ours = |name: &str| {
            let known = ["lock", "epoch", "running"].contains(&name);
            known
                || name.starts_with("sites.")
                || name.starts_with("state.json")
                || name.starts_with("audit.log")
        };
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| ours(&entry.file_name().to_string_lossy())) {
            self.remove(&entry.path())?;
        }
        self.remove_dir(dir);
        Ok(())
    }

    /// If nothing else is in it.
    pub fn remove_dir(&self, path: &Path) {
        if path.is_dir() && self.tell("remove", path) {
            if let Err(e) = fs::remove_dir(path) {
                say!("{} stays: {e}", path.display());
            }
        }
    }
}
