//! Where a browser writes, for as long as it lives.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::host::paths::ensure_private;
use crate::session::log::log;
use crate::sys::{process, random};

const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(50);

/// Where sockets are, followed by 16 digits.
const SOCKETS: &str = "/tmp/hopbox-";

/// What is thrown away with it: its profile, and where it makes its sockets. The system bounds the
/// length of their paths, a home may be longer than that, and it aborts then. A link beside the
/// profile, where the browser cannot write, says where they are: what a process that was killed has
/// left in a directory of everybody's is found by it.
pub struct Dirs {
    pub profile: PathBuf,
    pub sockets: PathBuf,
}

impl Dirs {
    pub fn make(profile: PathBuf) -> Result<Dirs, String> {
        let mut name = [0; 8];
        random::fill(&mut name).map_err(said)?;
        let sockets = format!("{SOCKETS}{:016x}", u64::from_ne_bytes(name)).into();
        throw_away(&profile);
        let dirs = Dirs { profile, sockets };
        ensure_private(&dirs.profile).map_err(|failure| failure.why)?;
        symlink(&dirs.sockets, link(&dirs.profile)).map_err(said)?;
        DirBuilder::new().mode(0o700).create(&dirs.sockets).map_err(said)?;
        Ok(dirs)
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        throw_away(&self.profile);
    }
}

/// A profile and its sockets, or what was left of them when this process was killed.
pub fn throw_away(profile: &Path) {
    let link = link(profile);
    if let Ok(sockets) = fs::read_link(&link) {
        if is_ours(&sockets) {
            remove(&sockets);
        }
        let _ = fs::remove_file(&link);
    }
    remove(profile);
}

fn link(profile: &Path) -> PathBuf {
    // No host is called so.
    let name = profile.file_name().unwrap_or_default().to_string_lossy();
    profile.with_file_name(format!(".{name}.sockets"))
}

/// A directory of this user's that is called so: whoever could write the link has another's not
/// removed by it.
fn is_ours(sockets: &Path) -> bool {
    let name = sockets.to_str().and_then(|text| text.strip_prefix(SOCKETS));
    let is_called_so =
        name.is_some_and(|name| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_of_this_user = |meta: fs::Metadata| meta.is_dir() && meta.uid() == process::uid();
    is_called_so && fs::symlink_metadata(sockets).is_ok_and(is_of_this_user)
}

/// Processes of a browser that was killed may write their last at this moment.
fn remove(dir: &Path) {
    for left in (0..TRIES).rev() {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Ok(()) => return,
            Err(_) if left > 0 => thread::sleep(AGAIN),
            Err(error) => {
                let at = dir.display();
                log(&format!("bridges: what the browser had in {at} stays: {error}"));
            }
        }
    }
}

fn said(error: io::Error) -> String {
    format!("where the browser writes: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_thrown_away_and_nothing_else() {
        let home = std::env::temp_dir().join(format!("hopbox-profile-{}", std::process::id()));
        let profile = home.join("mybox");
        let left = Dirs::make(profile.clone()).unwrap();
        let sockets = left.sockets.clone();
        fs::write(sockets.join("socket"), "").unwrap();
        // As if it had been killed.
        std::mem::forget(left);
        throw_away(&profile);
        assert!(!sockets.exists() && !profile.exists() && !link(&profile).is_symlink());
        let other = home.join("other");
        fs::create_dir_all(&other).unwrap();
        for leads in [&other, &PathBuf::from("/tmp/hopbox-0123456789abcdeg/.."), &home] {
            symlink(leads, link(&profile)).unwrap();
            throw_away(&profile);
            assert!(other.exists() && !link(&profile).is_symlink(), "{}", leads.display());
        }
        // A link of somebody's in the place of what was there.
        symlink(&other, &sockets).unwrap();
        symlink(&sockets, link(&profile)).unwrap();
        throw_away(&profile);
        assert!(sockets.is_symlink() && other.exists());
        fs::remove_file(&sockets).unwrap();
        fs::remove_dir_all(&home).unwrap();
    }
}
