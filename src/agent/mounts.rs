//! Directories that hop-helper-server mounts below this login's home. Must not know: for which
//! service.

use super::firewall::{Done, NotDone};
use crate::helper::HelperError;
use crate::helper::mounts::Mounts;
use crate::workspace::manifest::{Mount, Mounted};

fn why(error: HelperError) -> String {
    NotDone::from(error).why()
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

/// Ends all that is mounted for this user; by root, when there is no agent any more.
pub fn end_all(uid: u32) -> Done<()> {
    let mut helper = Mounts::connect()?;
    let of_user = helper.list()?.into_iter().filter(|(of, _)| *of == uid);
    Ok(of_user.map(|(_, target)| target).try_for_each(|target| helper.unmount(&target))?)
}

pub fn unmount(path: &str) -> Result<(), String> {
    Mounts::connect().and_then(|mut helper| helper.unmount(path)).map_err(why)
}
