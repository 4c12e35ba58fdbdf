//! Directories that hop-helper-server mounts below this login's home. Must not know: for which
//! service.

use crate::helper::HelperError;
use crate::helper::mounts::Mounts;
use crate::workspace::manifest::{Mount, Mounted};

fn why(error: HelperError) -> String {
    match error {
        HelperError::Missing { .. } => format!("there is no hop-helper-server: {error}"),
        _ => error.to_string(),
    }
}

/// Returns whether it was not there before.
pub fn mount(mount: &Mount) -> Result<bool, String> {
    let mut helper = Mounts::connect().map_err(why)?;
    let made = match &mount.what {
        Mounted::Tmpfs { bytes } => helper.tmpfs(&mount.path, *bytes),
        Mounted::Volume { source, read_only } => helper.bind(&mount.path, source, *read_only),
    };
    made.map_err(why)
}

pub fn unmount(path: &str) -> Result<(), String> {
    Mounts::connect().and_then(|mut helper| helper.unmount(path)).map_err(why)
}
