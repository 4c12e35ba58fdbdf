//! Where a browser writes, for as long as it lives.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::host::paths::ensure_private;
use crate::session::log::log;
use crate::sys::random;

const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(50);

/// What is thrown away with it: its profile, and where it makes its sockets. The system bounds the
/// length of their paths, a home may be longer than that, and it aborts then.
pub struct Dirs {
    pub profile: PathBuf,
    pub sockets: PathBuf,
}

impl Dirs {
    pub fn make(profile: PathBuf) -> Result<Dirs, String> {
        let mut name = [0; 8];
        random::fill(&mut name).map_err(said)?;
        let sockets = format!("/tmp/hopbox-{:016x}", u64::from_ne_bytes(name)).into();
        throw_away(&profile);
        let dirs = Dirs { profile, sockets };
        ensure_private(&dirs.profile).map_err(|failure| failure.why)?;
        DirBuilder::new().mode(0o700).create(&dirs.sockets).map_err(said)?;
        Ok(dirs)
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        [&self.profile, &self.sockets].into_iter().for_each(|dir| throw_away(dir));
    }
}

/// A profile, or what was left of one when this process was killed. Processes of a browser that
/// was killed may write their last at this moment.
pub fn throw_away(dir: &Path) {
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
