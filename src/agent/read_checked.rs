//! How the agent's files are read. They lie where the agent's user may put what it likes, and root
//! reads them, too: no link is followed, nothing is waited for, and what belongs to neither of the
//! two is refused.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::failure::{Failure, Fault};
use crate::base::file;
use crate::base::key::{self, Secret};
use crate::fix;
use crate::sys;
use crate::text::fix::Fix;

/// The text of a file and the user who has it: root, `owner`, or anybody if `owner` is `None`.
pub fn read(path: &Path, owner: Option<u32>) -> Result<(Zeroizing<String>, u32), Failure> {
    let fail = |error: std::io::Error| Failure::io("read", path, &error);
    let refuse = |why: String, next: Fix| {
        Failure::new(Fault::Config, format!("{} cannot be used", path.display()), why, next)
    };
    if std::fs::symlink_metadata(path).map_err(fail)?.is_symlink() {
        return Err(refuse("it is a link".to_owned(), fix!("ls -l {}", path)));
    }
    let file = sys::open_no_link(path).map_err(fail)?;
    let uid = file.metadata().map_err(fail)?.uid();
    if let Some(owner) = owner.filter(|owner| uid != 0 && uid != *owner) {
        let why = format!("it belongs to user {uid}, and the agent's user is {owner}");
        return Err(refuse(why, fix!("sudo chown {} {}", owner, path)));
    }
    file::read_opened(file, path).map(|text| (text, uid))
}

/// The private key in a file of root's or `owner`'s.
pub fn key(path: &Path, owner: u32) -> Result<Secret, Failure> {
    key::parse(&read(path, Some(owner))?.0, path)
}
