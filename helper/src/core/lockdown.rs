//! Whether root has locked the helper down: by a file beside the configuration.
//!
//! What is doubtful counts as locked, and says why: neither is a lock passed over because somebody
//! could have touched it, nor does anybody but root decide. Must not know: requests.

use crate::core::files;
use crate::sys;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const NAME: &str = "lockdown";

pub struct Lockdown {
    /// What is the matter, with the command that ends it if it is not root's plain word.
    pub why: String,
    pub doubtful: bool,
}

pub fn look(config: &Path) -> Option<Lockdown> {
    let doubt = |why: String| Some(Lockdown { why, doubtful: true });
    let dir = config.parent().unwrap_or(Path::new("/"));
    let path = dir.join(NAME);
    let found = files::root_dir(dir).and_then(|held| {
        let flags = sys::LOOK | libc::O_NOFOLLOW;
        sys::open_at(Some(&held), Path::new(NAME), flags)?.metadata()
    });
    let path = path.display();
    match found {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => doubt(format!("{path}: {e}")),
        Ok(meta) if meta.is_file() && meta.uid() == 0 && meta.nlink() == 1 => {
            let why = format!("root has locked the helper down ({path})");
            Some(Lockdown { why, doubtful: false })
        }
        Ok(_) => doubt(format!("{path} is no plain file of root with one name: sudo rm {path}")),
    }
}
