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
    let held = match files::root_dir(dir) {
        Ok(held) => held,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => return doubt(e.to_string()),
    };
    let path = dir.join(NAME);
    let found = sys::open_at(Some(&held), Path::new(NAME), sys::LOOK | libc::O_NOFOLLOW);
    match found.and_then(|file| file.metadata()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => doubt(format!("{}: {e}", path.display())),
        Ok(meta) if meta.is_file() && meta.uid() == 0 && meta.nlink() == 1 => {
            let why = format!("root has locked the helper down ({})", path.display());
            Some(Lockdown { why, doubtful: false })
        }
        Ok(_) => {
            let path = path.display();
            doubt(format!("{path} is no plain file of root with one name: sudo rm {path}"))
        }
    }
}
